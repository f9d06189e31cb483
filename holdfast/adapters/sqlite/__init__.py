"""What SQLite keeps: the batch journal and the full-text index of documents."""

from holdfast.adapters.sqlite.fts_retriever import FtsRetriever
from holdfast.adapters.sqlite.journal import SqliteJournal

__all__ = [
    "FtsRetriever",
    "SqliteJournal",
]
