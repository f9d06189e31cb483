"""One failure, told to several callers.

Responsibility: give each caller that shares a failure an exception of its own.
Guarantees: the copy has the type, arguments, attributes and notes of the original, which is its `__cause__`; adding to
    one changes no other. An error that cannot be copied comes as `SharedFailureError`.
Not responsible for: deciding who shares a failure.
"""

from __future__ import annotations

import copy

from holdfast.ports.errors import SharedFailureError

__all__ = ["copy_failure"]


def copy_failure(error: Exception) -> Exception:
    """Return an exception to raise in the place of `error`, new with each call.

    Example:
        >>> original = ConnectionResetError("gone")
        >>> copied = copy_failure(original)
        >>> copied, copied is original, copied.__cause__ is original
        (ConnectionResetError('gone'), False, True)
    """
    copied = _copied(error)
    copied.__cause__ = error
    return copied


def _copied(error: Exception) -> Exception:
    try:
        copied = copy.copy(error)
        # A constructor that makes its message from its arguments would make it again, from the message.
        faithful = type(copied) is type(error) and copied is not error and copied.args == error.args
    except Exception:  # noqa: BLE001 - a constructor that does not take its own `args` may raise anything
        return SharedFailureError(error)
    if not faithful:
        return SharedFailureError(error)
    if hasattr(error, "__notes__"):
        copied.__notes__ = list(error.__notes__)
    return copied
