"""A stand-in for llama-cpp-python, with the surface that the adapter uses, for where the driver cannot be built.

It answers as a model of bytes: the tokens of a text are its bytes, and every answer is the same. What ends the process
in the real one, two calls at once and a call of a closed model, is noted in `crimes`. The real driver is held to the
same by tests/integration/test_llama_cpp_as_it_is.py, where it is installed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["ANSWER", "MODEL_FILE", "StandIn", "StandInLlama"]

MODEL_FILE: Final = b"GGUF" + b"\x00" * 60
ANSWER: Final = "Because it waits."
_AS_JSON: Final = json.dumps({"answer": ANSWER})
_ABORTED: Final = "llama_decode returned 2"


@dataclass
class StandIn:
    """Stands for the module: put it into ``sys.modules``.

    Args:
        pause_s: real seconds that each token takes.
        ending: the reason that the last chunk of an answer gives.
        fault: raised by each answer, in place of its second token.
    """

    pause_s: float = 0.0
    ending: str = "stop"
    fault: Exception | None = None
    loaded: list[StandInLlama] = field(default_factory=list)
    crimes: list[str] = field(default_factory=list)

    def Llama(self, **options: Any) -> StandInLlama:  # noqa: ANN401, N802 - as the driver calls it
        llama = StandInLlama(self, **options)
        self.loaded.append(llama)
        return llama

    def ggml_abort_callback(self, hook: Callable[[object], bool]) -> Callable[[object], bool]:
        return hook

    def llama_set_abort_callback(self, ctx: StandInLlama, hook: Callable[[object], bool], data: object) -> None:
        ctx.is_unwanted = lambda: hook(data)


class StandInLlama:
    def __init__(self, module: StandIn, *, model_path: str, n_ctx: int, **options: Any) -> None:  # noqa: ANN401 - as above
        if not Path(model_path).read_bytes().startswith(b"GGUF"):
            raise ValueError(f"Failed to load model from file: {model_path}")
        self.options = options | {"model_path": model_path, "n_ctx": n_ctx}
        self.asked: list[Mapping[str, Any]] = []
        self.resets = 0
        self.is_closed = False
        self.is_unwanted: Callable[[], bool] = lambda: False
        self.generate: Callable[..., Iterator[int]] = self._generate
        self._module = module
        self._n_ctx = n_ctx
        self.computing = 0

    @property
    def ctx(self) -> StandInLlama:
        return self

    def create_chat_completion(
        self, messages: Sequence[Mapping[str, str]], *, stream: bool, **sampling: object
    ) -> Iterator[Mapping[str, Any]]:
        assert stream
        self._look("create_chat_completion")
        self.asked.append({"messages": messages} | sampling)
        tokens = [byte for message in messages for byte in message["content"].encode()]
        if len(tokens) > self._n_ctx:
            raise ValueError(f"Requested tokens ({len(tokens)}) exceed context window of {self._n_ctx}")
        return self._chunks(tokens, sampling)

    def reset(self) -> None:
        self._look("reset")
        self.resets += 1

    def close(self) -> None:
        self._look("close")
        self.is_closed = True
        self.is_unwanted = lambda: False  # the context goes, and what was hooked into it

    def _chunks(self, tokens: list[int], sampling: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield _chunk({"role": "assistant"})
        text = _AS_JSON if "response_format" in sampling else ANSWER
        for token in self.generate(tokens, text=text, top_k=40):
            yield _chunk({"content": chr(token)})
        yield _chunk({}, ending=self._module.ending)

    def _generate(self, tokens: list[int], *, text: str, top_k: int) -> Iterator[int]:
        del tokens, top_k
        for number, letter in enumerate(text):
            self._look("generate")
            self.computing += 1
            try:
                self._compute(number)
            finally:
                self.computing -= 1
            yield ord(letter)

    def _compute(self, number: int) -> None:
        if self._module.fault is not None and number == 1:
            raise self._module.fault
        began_s = time.monotonic()
        while time.monotonic() < began_s + self._module.pause_s:  # which a test may end
            if self.is_unwanted():
                raise RuntimeError(_ABORTED)
            time.sleep(0.001)
        if self.is_unwanted():
            raise RuntimeError(_ABORTED)

    def _look(self, call: str) -> None:
        if self.is_closed:
            self._module.crimes.append(f"{call} of a closed model")
        if self.computing:
            self._module.crimes.append(f"{call} while another call computes")


def _chunk(delta: Mapping[str, str], *, ending: str | None = None) -> Mapping[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": ending}]}
