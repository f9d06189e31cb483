from __future__ import annotations

import copy
import pickle

import pytest

from holdfast.ports import errors
from holdfast.ports.authentication import Disbelief
from holdfast.ports.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    BackendAuthenticationError,
    BackendError,
    BackendProtocolError,
    BackendRequestError,
    BackendThrottledError,
    BackendTimeoutError,
    BackendUnavailableError,
    BackpressureError,
    BatchChangedError,
    BatchError,
    BatchInputError,
    BreakerOpenError,
    BufferFullError,
    ClosedError,
    ConfigurationError,
    DeadlineExceededError,
    DidError,
    HoldfastError,
    HostMemoryError,
    IdentityError,
    JournalLockedError,
    JournalSchemaError,
    JournalWriteError,
    KeyFileError,
    MemoryCeilingError,
    NoInstanceError,
    OutputError,
    OutputRejectedError,
    PoolExhaustedError,
    PoolTimeoutError,
    RateLimitedError,
    RefusedError,
    RequestError,
    RetrievalError,
    SessionConflictError,
    SessionError,
    SessionNotFoundError,
    SessionStoreError,
    SessionTooLargeError,
    SharedFailureError,
    SlowReaderError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    StreamInterruptedError,
    TrustChangeError,
    TrustStoreError,
    ValidatorError,
)

EXAMPLES: list[tuple[HoldfastError, str]] = [
    (HoldfastError("something of ours"), "something of ours"),
    (
        ConfigurationError("must be at least 1, not 0", path="pool.max_size"),
        "pool.max_size: must be at least 1, not 0",
    ),
    (
        ConfigurationError("is unknown", path="pool.max_sise", nearest="pool.max_size"),
        "pool.max_sise: is unknown; did you mean 'pool.max_size'?",
    ),
    (RequestError("messages: send at least one"), "messages: send at least one"),
    (RefusedError("not now"), "not now"),
    (RefusedError("not now", retry_after_s=1800.0), "not now; try again in 1800 s"),
    (BreakerOpenError(breaker="b", retry_after_s=None), "circuit breaker 'b' is open; call another backend"),
    (
        BreakerOpenError(breaker="b", retry_after_s=2.5),
        "circuit breaker 'b' is open; call another backend; try again in 2.5 s",
    ),
    (
        BackpressureError(depth=3, capacity=10, retry_after_s=None, reason="full"),
        "full (3 of 10 entries waiting); send less at once",
    ),
    (
        BackpressureError(depth=3, capacity=10, retry_after_s=0.25, reason="full"),
        "full (3 of 10 entries waiting); send less at once; try again in 0.25 s",
    ),
    (
        MemoryCeilingError(needed_bytes=5, used_bytes=8, max_bytes=10, retry_after_s=2.0),
        "5 bytes do not fit: 8 of 10 are in use; send less at once; try again in 2 s",
    ),
    (
        NoInstanceError(backends=("a", "b"), retry_after_s=1.0),
        "no instance of 'a', 'b' is known; start one; try again in 1 s",
    ),
    (
        BufferFullError(items=2, size_bytes=9, item_bytes=2, max_bytes=10),
        "buffer is full: 2 items, 9 bytes; drain it or choose an evicting policy",
    ),
    (
        BufferFullError(items=2, size_bytes=9, item_bytes=11, max_bytes=10),
        "an item of 11 bytes does not fit into a buffer of 10; split it or raise max_bytes",
    ),
    (PoolExhaustedError(pool="p", waiters=100), "pool 'p': 100 callers already wait; raise max_size or send less"),
    (
        PoolTimeoutError(pool="p", timeout_s=5.0),
        "pool 'p': no resource within 5 s; raise max_size or acquire_timeout_s",
    ),
    (
        RateLimitedError(scope="tenant 'a'", quantity="requests", retry_after_s=6.0),
        "the limit of tenant 'a' on requests is reached; send less; try again in 6 s",
    ),
    (
        RateLimitedError(scope="backend 'b'", quantity="tokens", retry_after_s=None, most=1000.0),
        "the limit of backend 'b' takes 1000 tokens at once at most; ask for less, or raise its burst",
    ),
    (
        HostMemoryError(model="m", needed_bytes=20, available_bytes=10),
        "model 'm' needs 20 bytes and 10 are free; unload another or choose a smaller one",
    ),
    (ClosedError("the pool"), "the pool is closed; open a new one"),
    (DeadlineExceededError(), "the deadline has passed; give the request more time or send less at once"),
    (
        DeadlineExceededError(timeout_s=0.5),
        "the deadline of 0.5 s has passed; give the request more time or send less at once",
    ),
    (AttemptTimeoutError(timeout_s=30.0), "no answer within 30 s; allow an attempt more time or ask for less"),
    (
        SharedFailureError(ConnectionError("secret")),
        "the shared call failed with ConnectionError; see its cause, then call again",
    ),
    (SessionError("cannot be read", session_id="s"), "session 's': cannot be read"),
    (SessionError("cannot be read", session_id=None), "cannot be read"),
    (SessionNotFoundError(session_id="s"), "session 's': not found; it may have expired: create one"),
    (
        SessionConflictError(session_id="s", expected_version=3, found_version=5),
        "session 's': version 3 was read and 5 is there now; read it and try again",
    ),
    (
        SessionConflictError(session_id="s", expected_version=0, found_version=5),
        "session 's': there is one of that name already; read it, or choose another name",
    ),
    (
        SessionTooLargeError(session_id="s", size_bytes=11, max_bytes=10),
        "session 's': 11 bytes or more do not fit into the 10 of a session; send less",
    ),
    (SessionStoreError("cannot be written", path="s.db"), "s.db: cannot be written"),
    (SessionStoreError("cannot be written", path="s.db", session_id="s"), "session 's': s.db: cannot be written"),
    (StoreError("m", store="redis"), "redis: m"),
    (StoreUnavailableError("is loading its data; wait", store="redis"), "redis: is loading its data; wait"),
    (StoreRefusedError("does not accept the password", store="redis"), "redis: does not accept the password"),
    (
        StreamInterruptedError(backend="b", text_sent="secret"),
        "the stream of backend 'b' was cut after 6 characters; ask again",
    ),
    (
        SlowReaderError(stalled_s=10.0),
        "nothing was read for 10 s; read faster, or raise streaming.stall_timeout_s",
    ),
    (OutputError("cannot be delivered", validator="v"), "validator 'v': cannot be delivered"),
    (
        OutputRejectedError(validator="v", backend="b", problem="lacks the field 'total'"),
        "validator 'v': the answer of backend 'b' lacks the field 'total'; ask again or ask otherwise",
    ),
    (
        ValidatorError(validator="v"),
        "validator 'v': failed while it checked an answer; see its cause, and mend it",
    ),
    (BackendError("failed", backend="b"), "backend 'b': failed"),
    (BackendUnavailableError("not reachable", backend="b"), "backend 'b': not reachable"),
    (
        BackendTimeoutError(backend="b", phase="first byte", timeout_s=30.0),
        "backend 'b': the first byte time of 30 s is over; allow it more, or look at the server",
    ),
    (BackendThrottledError(backend="b"), "backend 'b': pushed back; wait before the next call"),
    (BackendThrottledError(backend="b", retry_after_s=7.0), "backend 'b': pushed back; wait 7 s"),
    (
        BackendThrottledError(backend="b", retry_after_s=7.0, retry_allowed=False),
        "backend 'b': pushed back; do not retry this call",
    ),
    (BackendProtocolError("no JSON", backend="b"), "backend 'b': no JSON"),
    (BackendRequestError("too long", backend="b"), "backend 'b': too long"),
    (BackendAuthenticationError("bad key", backend="b"), "backend 'b': bad key"),
    (RetrievalError("no such folder", path="docs"), "docs: no such folder"),
    (IdentityError("cannot be used"), "cannot be used"),
    (DidError("its length is 3, not 56"), "not the did:key of an Ed25519 key: its length is 3, not 56"),
    (KeyFileError("can be read by others; chmod 600 it", path="id.pem"), "id.pem: can be read by others; chmod 600 it"),
    (TrustStoreError("is no JSON", path="trust.json"), "trust.json: is no JSON"),
    (TrustChangeError("the old identity is not trusted"), "the old identity is not trusted"),
    (
        AuthenticationError(Disbelief.SIGNATURE),
        "not authenticated; check the identities, the list of who is trusted, and the clocks",
    ),
    (BatchError("cannot start"), "cannot start"),
    (BatchInputError("no such file", path="in.jsonl"), "in.jsonl: no such file"),
    (BatchInputError("no id", path="in.jsonl", line=3), "in.jsonl:3: no id"),
    (
        BatchChangedError(what="input", recorded="aa", found="bb"),
        "the input changed since this run began: recorded aa, found bb; restore it, or choose another output folder",
    ),
    (
        JournalLockedError(path="out"),
        "out: another process is writing this run; wait for it to end, or stop it",
    ),
    (
        JournalSchemaError(path="j.db", found=3, supported=2),
        "j.db: journal schema 3 is newer than 2; upgrade holdfast to read it",
    ),
    (
        JournalWriteError("disk is full", path="j.db"),
        "j.db: disk is full; earlier results are intact, run again to resume",
    ),
]


def test_examples_here_cover_every_error() -> None:
    assert {type(error).__name__ for error, _ in EXAMPLES} == set(errors.__all__)


@pytest.mark.parametrize(("error", "message"), EXAMPLES)
def test_message_says_what_and_what_to_do(error: HoldfastError, message: str) -> None:
    assert str(error) == message


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES])
def test_copy_has_type_message_and_attributes_of_the_original(error: HoldfastError) -> None:
    copied = copy.copy(error)

    assert copied is not error
    assert (type(copied), str(copied), copied.args, vars(copied)) == (type(error), str(error), error.args, vars(error))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES])
def test_pickle_has_type_message_and_attributes_of_the_original(error: HoldfastError, protocol: int) -> None:
    loaded = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - made on the same line

    assert (type(loaded), str(loaded), loaded.args, vars(loaded)) == (type(error), str(error), error.args, vars(error))


def test_copy_of_an_error_with_attempts_noted_keeps_the_notes() -> None:
    error = BackendUnavailableError("not reachable", backend="b")
    error.add_note("after 3 attempts")

    assert copy.copy(error).__notes__ == ["after 3 attempts"]


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (ConfigurationError("m", path="a.b", nearest="a.c"), {"path": "a.b", "nearest": "a.c"}),
        (RefusedError("m", retry_after_s=1.0), {"retry_after_s": 1.0}),
        (BreakerOpenError(breaker="b", retry_after_s=2.0), {"breaker": "b", "retry_after_s": 2.0}),
        (
            BackpressureError(depth=3, capacity=4, retry_after_s=0.5, reason="r"),
            {"depth": 3, "capacity": 4, "retry_after_s": 0.5, "reason": "r"},
        ),
        (
            MemoryCeilingError(needed_bytes=5, used_bytes=8, max_bytes=10, retry_after_s=None),
            {"needed_bytes": 5, "used_bytes": 8, "max_bytes": 10, "retry_after_s": None},
        ),
        (
            BufferFullError(items=1, size_bytes=2, item_bytes=3, max_bytes=4),
            {"items": 1, "size_bytes": 2, "item_bytes": 3, "max_bytes": 4, "retry_after_s": None},
        ),
        (PoolExhaustedError(pool="p", waiters=5), {"pool": "p", "waiters": 5, "retry_after_s": None}),
        (PoolTimeoutError(pool="p", timeout_s=5.0), {"pool": "p", "timeout_s": 5.0, "retry_after_s": None}),
        (
            RateLimitedError(scope="backend 'b'", quantity="tokens", retry_after_s=None, most=9.0),
            {"scope": "backend 'b'", "quantity": "tokens", "retry_after_s": None, "most": 9.0},
        ),
        (ClosedError("the pool"), {"component": "the pool", "retry_after_s": None}),
        (DeadlineExceededError(timeout_s=0.5), {"timeout_s": 0.5}),
        (AttemptTimeoutError(timeout_s=0.5), {"timeout_s": 0.5}),
        (
            BackendThrottledError(backend="b", retry_after_s=7.0, retry_allowed=False),
            {"backend": "b", "retry_after_s": 7.0, "retry_allowed": False},
        ),
        (SessionNotFoundError(session_id="s"), {"session_id": "s"}),
        (
            SessionConflictError(session_id="s", expected_version=3, found_version=5),
            {"session_id": "s", "expected_version": 3, "found_version": 5},
        ),
        (
            SessionTooLargeError(session_id="s", size_bytes=11, max_bytes=10),
            {"session_id": "s", "size_bytes": 11, "max_bytes": 10},
        ),
        (SessionStoreError("m", path="s.db"), {"session_id": None, "path": "s.db"}),
        (StoreUnavailableError("m", store="redis"), {"store": "redis"}),
        (StoreRefusedError("m", store="redis"), {"store": "redis"}),
        (StreamInterruptedError(backend="b", text_sent="half a"), {"backend": "b", "text_sent": "half a"}),
        (SlowReaderError(stalled_s=10.0), {"stalled_s": 10.0}),
        (
            OutputRejectedError(validator="v", backend="b", problem="p"),
            {"validator": "v", "backend": "b", "problem": "p"},
        ),
        (ValidatorError(validator="v"), {"validator": "v"}),
        (RetrievalError("m", path="docs"), {"path": "docs"}),
        (DidError("p"), {"problem": "p"}),
        (KeyFileError("m", path="id.pem"), {"path": "id.pem"}),
        (TrustStoreError("m", path="trust.json"), {"path": "trust.json"}),
        (AuthenticationError(Disbelief.TRUST), {"reason": Disbelief.TRUST}),
        (BatchInputError("m", path="in", line=3), {"path": "in", "line": 3}),
        (
            BatchChangedError(what="input", recorded="aa", found="bb"),
            {"what": "input", "recorded": "aa", "found": "bb"},
        ),
        (JournalLockedError(path="out"), {"path": "out"}),
        (JournalSchemaError(path="j", found=3, supported=2), {"path": "j", "found": 3, "supported": 2}),
        (JournalWriteError("m", path="j"), {"path": "j"}),
    ],
)
def test_error_carries_its_numbers_as_attributes(error: HoldfastError, attributes: dict[str, object]) -> None:
    assert vars(error) == attributes


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError("m", path="p"), ValueError),
        (RequestError("m"), ValueError),
        (BreakerOpenError(breaker="b", retry_after_s=None), ConnectionError),
        (PoolTimeoutError(pool="p", timeout_s=1.0), TimeoutError),
        (DeadlineExceededError(), TimeoutError),
        (AttemptTimeoutError(timeout_s=1.0), TimeoutError),
        (StreamInterruptedError(backend="b", text_sent=""), ConnectionError),
        (SlowReaderError(stalled_s=1.0), TimeoutError),
        (BackendUnavailableError("m", backend="b"), ConnectionError),
        (BackendRequestError("m", backend="b"), ValueError),
        (BackendAuthenticationError("m", backend="b"), PermissionError),
        (SessionNotFoundError(session_id="s"), LookupError),
        (SessionTooLargeError(session_id="s", size_bytes=2, max_bytes=1), ValueError),
        (SessionStoreError("m", path="p"), OSError),
        (StoreUnavailableError("m", store="s"), ConnectionError),
        (StoreRefusedError("m", store="s"), PermissionError),
        (OutputRejectedError(validator="v", backend="b", problem="p"), ValueError),
        (ValidatorError(validator="v"), RuntimeError),
        (RetrievalError("m", path="p"), OSError),
        (DidError("p"), ValueError),
        (KeyFileError("m", path="p"), OSError),
        (TrustStoreError("m", path="p"), OSError),
        (TrustChangeError("m"), ValueError),
        (AuthenticationError(Disbelief.SIZE), PermissionError),
        (JournalLockedError(path="p"), BlockingIOError),
    ],
)
def test_error_is_caught_as_the_builtin_that_callers_know(error: HoldfastError, builtin: type[Exception]) -> None:
    assert isinstance(error, builtin)


@pytest.mark.parametrize("reason", Disbelief)
def test_refused_authentication_has_the_same_message_whatever_the_reason(reason: Disbelief) -> None:
    assert str(AuthenticationError(reason)) == str(AuthenticationError(Disbelief.SIGNATURE))


def test_shared_failure_with_a_payload_in_its_cause_does_not_repeat_it() -> None:
    assert "secret" not in str(SharedFailureError(ConnectionError("secret")))
