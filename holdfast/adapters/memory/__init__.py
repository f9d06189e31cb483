"""Ports kept in this process's memory: for tests, and where nothing needs to outlive the process."""

from holdfast.adapters.memory.answers import MemoryAnswers
from holdfast.adapters.memory.breakers import MemoryBreakers
from holdfast.adapters.memory.budgets import MemoryBudgets
from holdfast.adapters.memory.files import MemoryFiles
from holdfast.adapters.memory.host_memory import FixedHostMemory
from holdfast.adapters.memory.journal import MemoryJournal
from holdfast.adapters.memory.parameters import MemoryParameters
from holdfast.adapters.memory.rates import MemoryRates
from holdfast.adapters.memory.registry import MemoryRegistry
from holdfast.adapters.memory.retriever import MemoryRetriever
from holdfast.adapters.memory.sessions import MemorySessions
from holdfast.adapters.memory.shared_store import MemoryStore
from holdfast.adapters.memory.trust import MemoryTrustList

__all__ = [
    "FixedHostMemory",
    "MemoryAnswers",
    "MemoryBreakers",
    "MemoryBudgets",
    "MemoryFiles",
    "MemoryJournal",
    "MemoryParameters",
    "MemoryRates",
    "MemoryRegistry",
    "MemoryRetriever",
    "MemorySessions",
    "MemoryStore",
    "MemoryTrustList",
]
