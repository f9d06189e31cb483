"""What SQLite keeps: the batch journal, the full-text index of documents, sessions, and what processes share."""

from holdfast.adapters.sqlite.answers import SqliteAnswers
from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.adapters.sqlite.sessions import SqliteSessions
from holdfast.adapters.sqlite.shared_store import SqliteStore

__all__ = [
    "FtsRetriever",
    "SqliteAnswers",
    "SqliteJournal",
    "SqliteSessions",
    "SqliteStore",
]
