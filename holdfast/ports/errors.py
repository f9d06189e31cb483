"""Every error that Holdfast raises, in one tree.

    HoldfastError
    ├── ConfigurationError (ValueError)         a setting or an argument is wrong; nothing was started
    ├── RequestError (ValueError)               the caller's request is wrong; no backend was asked
    ├── RefusedError                            Holdfast itself said no; the work did not begin
    │   ├── BreakerOpenError (ConnectionError)  the circuit is open
    │   ├── BackpressureError                   the admission queue is full, or the entry was shed
    │   ├── BufferFullError                     a buffer with the refuse policy is at its bound, or an item exceeds it
    │   ├── PoolExhaustedError                  too many callers already wait for a resource
    │   ├── PoolTimeoutError (TimeoutError)     no resource became free in time
    │   ├── RateLimitedError                    a rate limit of a tenant or a backend is used up
    │   ├── NoInstanceError (ConnectionError)   no instance of a service that is discovered is known
    │   ├── MemoryCeilingError                  the process holds as many bytes as it may
    │   ├── HostMemoryError (MemoryError)       a model does not fit into what memory is free
    │   └── ClosedError                         the component is draining or closed
    ├── DeadlineExceededError (TimeoutError)    the caller's deadline passed
    ├── AttemptTimeoutError (TimeoutError)      one attempt took longer than it may
    ├── SharedFailureError                      another caller's flight failed with an error that cannot be copied
    ├── StreamInterruptedError (ConnectionError)    a stream was cut after its first chunk had gone out
    ├── SlowReaderError (TimeoutError)          the reader of a stream kept it waiting for too long
    ├── OutputError                             an answer came and cannot be delivered
    │   ├── OutputRejectedError (ValueError)    it did not pass a validator
    │   └── ValidatorError (RuntimeError)       a validator itself failed
    ├── SessionError                            a conversation cannot be read or saved
    │   ├── SessionNotFoundError (LookupError)  there is none of that id, or no longer
    │   ├── SessionConflictError                others kept saving it meanwhile
    │   ├── SessionTooLargeError (ValueError)   one turn alone exceeds the cap
    │   └── SessionStoreError (OSError)         the store cannot be read or written
    ├── StoreError                              what several processes share is out of reach
    │   ├── StoreUnavailableError (ConnectionError)     for now; it is tried again
    │   └── StoreRefusedError (PermissionError)         until somebody mends what the message says
    ├── BackendError                            a backend answered with a failure
    │   ├── BackendUnavailableError (ConnectionError)       not reachable, or a 5xx of its own
    │   ├── BackendTimeoutError (TimeoutError)              it kept us waiting for longer than it may
    │   ├── BackendThrottledError                           it pushed back: retry later, or never
    │   ├── BackendProtocolError                            its answer cannot be understood
    │   ├── BackendRequestError (ValueError)                it refused this request: the caller's mistake
    │   └── BackendAuthenticationError (PermissionError)    it does not accept our credentials
    ├── RetrievalError (OSError)                the documents or their index cannot be read
    ├── IdentityError                           somebody is not, or not known to be, who they say
    │   ├── DidError (ValueError)               a name is not the DID of a safe key
    │   ├── KeyFileError (OSError)              a private key cannot be read, written, or kept secret where it is
    │   ├── TrustStoreError (OSError)           the list of who is trusted cannot be read or written
    │   ├── TrustChangeError (ValueError)       who is trusted cannot be changed in that way
    │   └── AuthenticationError (PermissionError)   a message is not from somebody who is trusted to send it
    └── BatchError                              a batch cannot start, go on or be undone
        ├── BatchInputError (ValueError)        the input file is not usable
        ├── BatchChangedError (ValueError)      input or configuration differ from the run being resumed
        ├── JournalLockedError (BlockingIOError)    another process writes this run
        ├── JournalSchemaError (ValueError)     the journal was written by a newer version
        └── JournalWriteError (OSError)         a result could not be saved; earlier ones are intact

Guarantees: an error carries its numbers as attributes with the unit in the name and says what to do; it never carries a
    secret or a payload. Each one can be copied and pickled. A fresh instance is raised each time.
Not responsible for: saying what an error means for a breaker or a retry: see `holdfast.domain.outcomes`.
"""

from __future__ import annotations

from typing import Any

from holdfast.ports.authentication import Disbelief

__all__ = [
    "AttemptTimeoutError",
    "AuthenticationError",
    "BackendAuthenticationError",
    "BackendError",
    "BackendProtocolError",
    "BackendRequestError",
    "BackendThrottledError",
    "BackendTimeoutError",
    "BackendUnavailableError",
    "BackpressureError",
    "BatchChangedError",
    "BatchError",
    "BatchInputError",
    "BreakerOpenError",
    "BufferFullError",
    "ClosedError",
    "ConfigurationError",
    "DeadlineExceededError",
    "DidError",
    "HoldfastError",
    "HostMemoryError",
    "IdentityError",
    "JournalLockedError",
    "JournalSchemaError",
    "JournalWriteError",
    "KeyFileError",
    "MemoryCeilingError",
    "NoInstanceError",
    "OutputError",
    "OutputRejectedError",
    "PoolExhaustedError",
    "PoolTimeoutError",
    "RateLimitedError",
    "RefusedError",
    "RequestError",
    "RetrievalError",
    "SessionConflictError",
    "SessionError",
    "SessionNotFoundError",
    "SessionStoreError",
    "SessionTooLargeError",
    "SharedFailureError",
    "SlowReaderError",
    "StoreError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "StreamInterruptedError",
    "TrustChangeError",
    "TrustStoreError",
    "ValidatorError",
]


class HoldfastError(Exception):
    """The root: catch this to catch everything that Holdfast raises by itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take keyword arguments, so the default (class, args) would not call them correctly.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[HoldfastError], args: tuple[Any, ...]) -> HoldfastError:
    # The base whose memory layout it has: that of MemoryError refuses to make what has another one.
    layout: Any = cls.__base__
    error: HoldfastError = layout.__new__(cls, *args)
    error.args = args
    return error


class ConfigurationError(HoldfastError, ValueError):
    """A setting or a constructor's argument is wrong; nothing was started.

    Attributes:
        path: dotted path of the setting, such as ``breaker.failure_ratio``.
        nearest: the valid path most like an unknown one, if there is one.
    """

    def __init__(self, message: str, *, path: str, nearest: str | None = None) -> None:
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"{path}: {message}{hint}")
        self.path = path
        self.nearest = nearest


class RequestError(HoldfastError, ValueError):
    """The request is wrong as it stands; no backend was asked, and a retry would change nothing."""


class RefusedError(HoldfastError):
    """Holdfast itself said no before the work began.

    Attributes:
        retry_after_s: seconds after which a new try has a chance, or None when unknown.
    """

    retry_after_s: float | None

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        hint = f"; try again in {retry_after_s:g} s" if retry_after_s is not None else ""
        super().__init__(f"{message}{hint}")
        self.retry_after_s = retry_after_s


class BreakerOpenError(RefusedError, ConnectionError):
    """The circuit breaker is open, so the call was not made.

    Attributes:
        breaker: name of the breaker.
    """

    def __init__(self, *, breaker: str, retry_after_s: float | None) -> None:
        super().__init__(f"circuit breaker {breaker!r} is open; call another backend", retry_after_s=retry_after_s)
        self.breaker = breaker


class BackpressureError(RefusedError):
    """The admission queue, or the line for a model, did not take the entry, or let it go for a more urgent one.

    Attributes:
        depth: entries waiting when it was refused.
        capacity: entries that may wait.
        reason: what was short, in words.
    """

    def __init__(self, *, depth: int, capacity: int, retry_after_s: float | None, reason: str) -> None:
        super().__init__(
            f"{reason} ({depth} of {capacity} entries waiting); send less at once", retry_after_s=retry_after_s
        )
        self.depth = depth
        self.capacity = capacity
        self.reason = reason


class BufferFullError(RefusedError):
    """A buffer whose policy is to refuse is at one of its bounds, or one item alone exceeds them.

    Attributes:
        items: how many it holds.
        size_bytes: how many bytes they take.
        item_bytes: how many bytes the refused item takes.
        max_bytes: how many bytes the buffer may hold.
    """

    def __init__(self, *, items: int, size_bytes: int, item_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"an item of {item_bytes} bytes does not fit into a buffer of {max_bytes}; split it or raise max_bytes"
            if item_bytes > max_bytes
            else f"buffer is full: {items} items, {size_bytes} bytes; drain it or choose an evicting policy"
        )
        self.items = items
        self.size_bytes = size_bytes
        self.item_bytes = item_bytes
        self.max_bytes = max_bytes


class PoolExhaustedError(RefusedError):
    """As many callers as allowed already wait for a resource.

    Attributes:
        pool: name of the pool.
        waiters: callers waiting when this one was refused.
    """

    def __init__(self, *, pool: str, waiters: int) -> None:
        super().__init__(f"pool {pool!r}: {waiters} callers already wait; raise max_size or send less")
        self.pool = pool
        self.waiters = waiters


class PoolTimeoutError(RefusedError, TimeoutError):
    """No resource became free within the acquire timeout.

    Attributes:
        pool: name of the pool.
        timeout_s: how long the caller waited.
    """

    def __init__(self, *, pool: str, timeout_s: float) -> None:
        super().__init__(f"pool {pool!r}: no resource within {timeout_s:g} s; raise max_size or acquire_timeout_s")
        self.pool = pool
        self.timeout_s = timeout_s


class RateLimitedError(RefusedError):
    """A rate limit is used up, or the peer asked for a pause.

    Attributes:
        scope: whose limit, such as ``tenant 'a'`` or ``backend 'b'``.
        quantity: what is used up: ``requests`` or ``tokens``; ``pause``, when the peer asked for one; ``tenants``, when
            so many are active that there is room for no other.
        most: what is let through at once, where more was asked for, so that no waiting helps; otherwise None.
    """

    def __init__(self, *, scope: str, quantity: str, retry_after_s: float | None, most: float | None = None) -> None:
        super().__init__(
            f"the limit of {scope} on {quantity} is reached; send less"
            if most is None
            else f"the limit of {scope} takes {most:g} {quantity} at once at most; ask for less, or raise its burst",
            retry_after_s=retry_after_s,
        )
        self.scope = scope
        self.quantity = quantity
        self.most = most


class NoInstanceError(RefusedError, ConnectionError):
    """Backends are discovered, and none of them has an instance that is known.

    Attributes:
        backends: their names.
    """

    def __init__(self, *, backends: tuple[str, ...], retry_after_s: float | None) -> None:
        super().__init__(
            f"no instance of {', '.join(map(repr, backends))} is known; start one", retry_after_s=retry_after_s
        )
        self.backends = backends


class MemoryCeilingError(RefusedError):
    """What the request takes does not fit under the byte ceiling of the process.

    Attributes:
        needed_bytes: what it takes.
        used_bytes: what is in use.
        max_bytes: the ceiling.
    """

    def __init__(self, *, needed_bytes: int, used_bytes: int, max_bytes: int, retry_after_s: float | None) -> None:
        super().__init__(
            f"{needed_bytes} bytes do not fit: {used_bytes} of {max_bytes} are in use; send less at once",
            retry_after_s=retry_after_s,
        )
        self.needed_bytes = needed_bytes
        self.used_bytes = used_bytes
        self.max_bytes = max_bytes


class HostMemoryError(RefusedError, MemoryError):
    """A model was not loaded, because it does not fit into what memory is free.

    Attributes:
        model: its name.
        needed_bytes: what it takes, with the reserve that is kept free.
        available_bytes: what is free.
    """

    def __init__(self, *, model: str, needed_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"model {model!r} needs {needed_bytes} bytes and {available_bytes} are free; unload another or choose a "
            "smaller one"
        )
        self.model = model
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class ClosedError(RefusedError):
    """The component is draining or closed and takes no new work.

    Attributes:
        component: what is closed.
    """

    def __init__(self, component: str) -> None:
        super().__init__(f"{component} is closed; open a new one")
        self.component = component


class DeadlineExceededError(HoldfastError, TimeoutError):
    """The deadline that was set at the door has passed.

    Attributes:
        timeout_s: seconds that the caller had given, or None when only the absolute deadline is known.
    """

    def __init__(self, *, timeout_s: float | None = None) -> None:
        given = f" of {timeout_s:g} s" if timeout_s is not None else ""
        super().__init__(f"the deadline{given} has passed; give the request more time or send less at once")
        self.timeout_s = timeout_s


class AttemptTimeoutError(HoldfastError, TimeoutError):
    """One attempt took longer than one attempt may; counts as a failure of what was called.

    Attributes:
        timeout_s: seconds that the attempt had.
    """

    def __init__(self, *, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} s; allow an attempt more time or ask for less")
        self.timeout_s = timeout_s


class SharedFailureError(HoldfastError):
    """The flight that this caller had joined failed with an error that cannot be copied; see ``__cause__``."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the shared call failed with {type(cause).__name__}; see its cause, then call again")


class StreamInterruptedError(HoldfastError, ConnectionError):
    """A stream was cut after its first chunk had gone out, so nothing can be tried again; see ``__cause__``.

    Attributes:
        backend: name of the backend that it came from.
        text_sent: what had gone out; not part of the message.
    """

    def __init__(self, *, backend: str, text_sent: str) -> None:
        super().__init__(f"the stream of backend {backend!r} was cut after {len(text_sent)} characters; ask again")
        self.backend = backend
        self.text_sent = text_sent


class SlowReaderError(HoldfastError, TimeoutError):
    """A stream was as far ahead of its reader as it may be, and had to wait for so long that it was ended.

    Attributes:
        stalled_s: how long nothing was read.
    """

    def __init__(self, *, stalled_s: float) -> None:
        super().__init__(f"nothing was read for {stalled_s:g} s; read faster, or raise streaming.stall_timeout_s")
        self.stalled_s = stalled_s


class OutputError(HoldfastError):
    """An answer came and cannot be delivered.

    Attributes:
        validator: name of the validator that it failed at.
    """

    def __init__(self, message: str, *, validator: str) -> None:
        super().__init__(f"validator {validator!r}: {message}")
        self.validator = validator


class OutputRejectedError(OutputError, ValueError):
    """The answer did not pass a validator, nor did its repair where one was allowed.

    Attributes:
        backend: name of the backend that gave it.
        problem: what is wrong, in words that repeat none of the answer.
    """

    def __init__(self, *, validator: str, backend: str, problem: str) -> None:
        super().__init__(
            f"the answer of backend {backend!r} {problem}; ask again or ask otherwise", validator=validator
        )
        self.backend = backend
        self.problem = problem


class ValidatorError(OutputError, RuntimeError):
    """A validator itself raised; see ``__cause__``. Other requests are not affected."""

    def __init__(self, *, validator: str) -> None:
        super().__init__("failed while it checked an answer; see its cause, and mend it", validator=validator)


class SessionError(HoldfastError):
    """A conversation cannot be read or saved.

    Attributes:
        session_id: which one; None when it is not about a single one.
    """

    def __init__(self, message: str, *, session_id: str | None) -> None:
        super().__init__(message if session_id is None else f"session {session_id!r}: {message}")
        self.session_id = session_id


class SessionNotFoundError(SessionError, LookupError):
    """There is no session of that id for this tenant: it never was, expired, was evicted or deleted."""

    def __init__(self, *, session_id: str) -> None:
        super().__init__("not found; it may have expired: create one", session_id=session_id)


class SessionConflictError(SessionError):
    """The session was saved by somebody else since it was read, or there is one where a new one was to be.

    Attributes:
        expected_version: the version that was read; 0 for none.
        found_version: the version that is there now.
    """

    def __init__(self, *, session_id: str, expected_version: int, found_version: int) -> None:
        super().__init__(
            f"version {expected_version} was read and {found_version} is there now; read it and try again"
            if expected_version
            else "there is one of that name already; read it, or choose another name",
            session_id=session_id,
        )
        self.expected_version = expected_version
        self.found_version = found_version


class SessionTooLargeError(SessionError, ValueError):
    """One turn alone, or the system message, exceeds the cap of a session.

    Attributes:
        size_bytes: what it takes at least; it may not have been measured to its end.
        max_bytes: the cap.
    """

    def __init__(self, *, session_id: str, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"{size_bytes} bytes or more do not fit into the {max_bytes} of a session; send less", session_id=session_id
        )
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class SessionStoreError(SessionError, OSError):
    """The store of sessions cannot be read or written; what was saved before is intact.

    Attributes:
        path: the database.
    """

    def __init__(self, message: str, *, path: str, session_id: str | None = None) -> None:
        super().__init__(f"{path}: {message}", session_id=session_id)
        self.path = path


class StoreError(HoldfastError):
    """A store that several processes share, a registry or a store of parameters, did not do what it was asked.

    Whether a change was made that it was asked for is not known.

    Attributes:
        store: what it is called, such as ``redis``; no address, which may hold a password.
    """

    def __init__(self, message: str, *, store: str) -> None:
        super().__init__(f"{store}: {message}")
        self.store = store


class StoreUnavailableError(StoreError, ConnectionError):
    """It is not reachable, too slow, or not able to for now: what passes by itself, so that asking again can help."""


class StoreRefusedError(StoreError, PermissionError):
    """It refuses, and will until somebody mends it: wrong credentials, a missing permission, a key of another type."""


class BackendError(HoldfastError):
    """A backend answered with a failure, or not at all.

    Attributes:
        backend: name of the backend.
    """

    def __init__(self, message: str, *, backend: str) -> None:
        super().__init__(f"backend {backend!r}: {message}")
        self.backend = backend


class BackendUnavailableError(BackendError, ConnectionError):
    """The backend cannot be reached or failed by itself; another try, or another backend, may succeed."""


class BackendTimeoutError(BackendError, TimeoutError):
    """The backend kept us waiting for longer than it may; another try, or another backend, may succeed.

    Attributes:
        phase: what took too long: ``connect``, ``first byte`` of the answer, ``idle`` between two parts of it, or
            ``total``, the whole exchange.
        timeout_s: seconds that it had.
    """

    def __init__(self, *, backend: str, phase: str, timeout_s: float) -> None:
        super().__init__(
            f"the {phase} time of {timeout_s:g} s is over; allow it more, or look at the server", backend=backend
        )
        self.phase = phase
        self.timeout_s = timeout_s


class BackendThrottledError(BackendError):
    """The backend pushed back.

    Attributes:
        retry_after_s: seconds that it asked us to wait, or None when it did not say.
        retry_allowed: False when it said never to retry this call.
    """

    def __init__(self, *, backend: str, retry_after_s: float | None = None, retry_allowed: bool = True) -> None:
        wait = f"wait {retry_after_s:g} s" if retry_after_s is not None else "wait before the next call"
        super().__init__(f"pushed back; {wait if retry_allowed else 'do not retry this call'}", backend=backend)
        self.retry_after_s = retry_after_s
        self.retry_allowed = retry_allowed


class BackendProtocolError(BackendError):
    """The backend's answer cannot be understood."""


class BackendRequestError(BackendError, ValueError):
    """The backend refused this very request: the caller's mistake, so no retry, no fallback and no breaker."""


class BackendAuthenticationError(BackendError, PermissionError):
    """The backend does not accept our credentials; retrying cannot help until they are changed."""


class RetrievalError(HoldfastError, OSError):
    """The documents or their index cannot be read.

    Attributes:
        path: the file or folder.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class IdentityError(HoldfastError):
    """Somebody is not, or not known to be, who they say; or an identity of ours cannot be used."""


class DidError(IdentityError, ValueError):
    """A name is not the one canonical did:key of an Ed25519 public key that is safe to use.

    Attributes:
        problem: what is wrong with it, in words that repeat nothing of it.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"not the did:key of an Ed25519 key: {problem}")
        self.problem = problem


class KeyFileError(IdentityError, OSError):
    """A private key cannot be read or written, or would not be secret where it is.

    Attributes:
        path: the key file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class TrustStoreError(IdentityError, OSError):
    """The list of who is trusted cannot be read or written; until it can, nobody is.

    Attributes:
        path: the list.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class TrustChangeError(IdentityError, ValueError):
    """Who is trusted cannot be changed in that way; the list is as it was."""


class AuthenticationError(IdentityError, PermissionError):
    """A message is not from somebody who is trusted to send it; nothing was done with it.

    The message is the same whatever the reason, so that whoever is refused learns nothing.

    Attributes:
        reason: why; for counters and events on this side, and never to be sent.
    """

    def __init__(self, reason: Disbelief) -> None:
        super().__init__("not authenticated; check the identities, the list of who is trusted, and the clocks")
        self.reason = reason


class BatchError(HoldfastError):
    """A batch cannot start, go on or be undone; what was saved before is intact."""


class BatchInputError(BatchError, ValueError):
    """The input file, or an id in it, is not usable; nothing was called.

    Attributes:
        path: the input file.
        line: number of the offending line, from 1, or None when it is the file as a whole.
    """

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        super().__init__(f"{path}{f':{line}' if line is not None else ''}: {message}")
        self.path = path
        self.line = line


class BatchChangedError(BatchError, ValueError):
    """Input or configuration differ from those the run began with, so it is not resumed.

    Attributes:
        what: ``input`` or ``configuration``.
        recorded: fingerprint that the run began with.
        found: fingerprint now.
    """

    def __init__(self, *, what: str, recorded: str, found: str) -> None:
        super().__init__(
            f"the {what} changed since this run began: recorded {recorded}, found {found}; "
            f"restore it, or choose another output folder"
        )
        self.what = what
        self.recorded = recorded
        self.found = found


class JournalLockedError(BatchError, BlockingIOError):
    """Another process writes this run; wait for it, or stop it.

    Attributes:
        path: the output folder.
    """

    def __init__(self, *, path: str) -> None:
        super().__init__(f"{path}: another process is writing this run; wait for it to end, or stop it")
        self.path = path


class JournalSchemaError(BatchError, ValueError):
    """The journal was written by a newer version of Holdfast.

    Attributes:
        path: the journal.
        found: its schema version.
        supported: the newest version that this installation reads.
    """

    def __init__(self, *, path: str, found: int, supported: int) -> None:
        super().__init__(f"{path}: journal schema {found} is newer than {supported}; upgrade holdfast to read it")
        self.path = path
        self.found = found
        self.supported = supported


class JournalWriteError(BatchError, OSError):
    """A result could not be saved, for example because the disk is full; earlier results are intact.

    Attributes:
        path: the journal.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(f"{path}: {message}; earlier results are intact, run again to resume")
        self.path = path
