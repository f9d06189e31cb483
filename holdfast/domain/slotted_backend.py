"""A backend whose model is loaded when it is asked.

Responsibility: `InferenceBackend` and `StreamingBackend` over a model in `ModelSlots`.
Guarantees: the model is in use exactly as long as a call goes on; an error that a call leaves behind does not keep the
    model in memory, however long somebody keeps the error.
Not responsible for: when it is loaded and unloaded: see `holdfast.domain.model_slot`.
"""

from __future__ import annotations

import sys
import traceback
from typing import Final

from holdfast.domain.model_slot import ModelSlots
from holdfast.domain.stream_attempt import stream_through
from holdfast.ports.inference import Completion, Deliver, Prompt, StreamingBackend
from holdfast.ports.model import ModelLoader

__all__ = ["SlottedBackend"]

_RAISED_IN: Final = "raised in"


class SlottedBackend:
    """Uses the model for each call; any number of calls at once.

    Args:
        loader: brings the model.
        slots: where it is kept; whoever opened them closes them.
    """

    def __init__(self, loader: ModelLoader, slots: ModelSlots) -> None:
        self._loader = loader
        self._slots = slots

    async def complete(self, prompt: Prompt) -> Completion:
        """Return the whole answer, once the model is there.

        Raises:
            RefusedError: the model does not fit, too many wait for one, or the slots are closed.
            BackendError: it cannot be loaded, or the call failed.

        Cancellation: as `ModelSlots.use`, or ends the call.
        """
        handled = sys.exception()
        async with self._slots.use(self._loader) as backend:
            try:
                return await backend.complete(prompt)
            except Exception as error:
                _let_go_of_frames(error, but_not_of=handled)
                raise
            finally:
                del backend, handled

    async def stream(self, prompt: Prompt, deliver: Deliver) -> Completion:
        """Give the answer in the pieces that the model makes, or in one if it makes none; otherwise as `complete`."""
        handled = sys.exception()
        async with self._slots.use(self._loader) as backend:
            try:
                return await stream_through(backend, prompt, deliver)
            except Exception as error:
                _let_go_of_frames(error, but_not_of=handled)
                raise
            finally:
                del backend, handled


def _let_go_of_frames(error: BaseException, *, but_not_of: BaseException | None) -> None:
    """Drop the frames of the call, which hold the model, from `error` and from those that led to it.

    What the caller was handling when it called is none of these. A note says where each was raised.
    `traceback.clear_frames` would keep the frames and only empty them, but before Python 3.13 it also ends a coroutine
    that still runs, if another task had raised the same object.
    """
    seen = {id(but_not_of)}
    left: list[BaseException | None] = [error]
    while left:
        current = left.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        left += [current.__cause__, current.__context__]
        frames = traceback.extract_tb(current.__traceback__)
        current.__traceback__ = None
        if frames and not any(note.startswith(_RAISED_IN) for note in getattr(current, "__notes__", ())):
            last = frames[-1]
            file = last.filename.replace("\\", "/").rpartition("/")[2]
            current.add_note(f"{_RAISED_IN} {last.name} ({file}, line {last.lineno})")


_: type[StreamingBackend] = SlottedBackend
