"""What SQLite keeps: the batch journal, the full-text index of documents, and sessions."""

from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.adapters.sqlite.journal import SqliteJournal
from holdfast.adapters.sqlite.sessions import SqliteSessions

__all__ = [
    "FtsRetriever",
    "SqliteJournal",
    "SqliteSessions",
]
