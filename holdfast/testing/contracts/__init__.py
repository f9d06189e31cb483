"""One contract suite for each driven port, as a pytest base class; an adapter is right when its subclass passes.

Needs the extra ``testing``.
"""

from pkgutil import iter_modules

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "holdfast.testing.contracts needs pytest: pip install 'holdfast[testing]'", name=error.name
    ) from error

# Before they are imported: pytest then shows what an assertion in them compared, as it does for the user's own.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

from holdfast.testing.contracts.answer_store import AnswerStoreContract
from holdfast.testing.contracts.breaker_store import BreakerStoreContract
from holdfast.testing.contracts.budget_store import BudgetStoreContract
from holdfast.testing.contracts.clock import ClockContract
from holdfast.testing.contracts.event_sink import EventSinkContract
from holdfast.testing.contracts.files import FileWriterContract
from holdfast.testing.contracts.host_memory import HostMemoryContract
from holdfast.testing.contracts.identity import SignerVerifierContract, TrustListContract
from holdfast.testing.contracts.inference_backend import InferenceBackendContract
from holdfast.testing.contracts.journal import JournalContract
from holdfast.testing.contracts.model_loader import ModelLoaderContract
from holdfast.testing.contracts.output import OutputValidatorContract
from holdfast.testing.contracts.parameters import ParameterStoreContract
from holdfast.testing.contracts.rate_store import RateStoreContract
from holdfast.testing.contracts.recorder import RecorderContract
from holdfast.testing.contracts.registry import ServiceRegistryContract
from holdfast.testing.contracts.resource import ResourceProviderContract
from holdfast.testing.contracts.retriever import RetrieverContract
from holdfast.testing.contracts.retry_strategy import RetryStrategyContract
from holdfast.testing.contracts.session_store import SessionStoreContract
from holdfast.testing.contracts.shared_store import SharedStoreContract
from holdfast.testing.contracts.trip_policy import TripPolicyContract

__all__ = [
    "AnswerStoreContract",
    "BreakerStoreContract",
    "BudgetStoreContract",
    "ClockContract",
    "EventSinkContract",
    "FileWriterContract",
    "HostMemoryContract",
    "InferenceBackendContract",
    "JournalContract",
    "ModelLoaderContract",
    "OutputValidatorContract",
    "ParameterStoreContract",
    "RateStoreContract",
    "RecorderContract",
    "ResourceProviderContract",
    "RetrieverContract",
    "RetryStrategyContract",
    "ServiceRegistryContract",
    "SessionStoreContract",
    "SharedStoreContract",
    "SignerVerifierContract",
    "TripPolicyContract",
    "TrustListContract",
]
