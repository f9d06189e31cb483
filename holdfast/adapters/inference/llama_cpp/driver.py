"""What is used of llama-cpp-python.

Responsibility: load the driver when a model is loaded, and say what of it the adapter relies on.
Guarantees: importing this module loads nothing; a missing driver is an ImportError that names the extra.
Not responsible for: what the driver does with a model: see `holdfast.adapters.inference.llama_cpp.backend`.
Source: llama-cpp-python 0.3.36. It is built from source, for one kind of machine, so it may be missing where the other
    extras are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Llama", "open_llama", "require_llama_cpp"]

_DRIVER = "llama_cpp"


class Llama(Protocol):
    """A loaded model with one context: for one call at a time, from any thread."""

    generate: Callable[..., Iterator[int]]
    """Yields the tokens of an answer to those of a prompt; every way to ask for an answer goes through it."""

    def create_chat_completion(
        self, messages: Sequence[Mapping[str, str]], *, stream: bool, **sampling: object
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the answer in chunks as of OpenAI's API."""
        ...

    def reset(self) -> None:
        """Forget what is in the context."""
        ...

    def close(self) -> None:
        """Free model and context; a call after that ends the process."""
        ...


def require_llama_cpp() -> None:
    """See to it that the driver is installed.

    Raises:
        ImportError: it is not.
    """
    if sys.modules.get(_DRIVER) is None and not _is_installed():
        raise ImportError(
            "holdfast.adapters.inference.llama_cpp needs llama-cpp-python: pip install 'holdfast[llama]'", name=_DRIVER
        )


def _is_installed() -> bool:
    try:
        return find_spec(_DRIVER) is not None
    except (ImportError, ValueError):  # kept out by an import hook, or by None in place of the module
        return False


def open_llama(
    path: Path, *, n_gpu_layers: int, threads: int | None, context_tokens: int, is_unwanted: Callable[[], bool]
) -> tuple[Llama, object]:
    """Load a model; in a worker thread, for it reads gigabytes.

    Args:
        path: the GGUF file.
        n_gpu_layers: how many layers the GPU takes; -1 for all.
        threads: that compute; None leaves it to the driver.
        context_tokens: room for prompt and answer.
        is_unwanted: asked while it computes, in the thread that asked for it; True ends that.

    Returns:
        The model, and what has to live as long.

    Raises:
        ImportError: the driver is not installed.
        Exception: as the driver raises it.
    """
    require_llama_cpp()
    driver: Any = import_module(_DRIVER)
    llama = driver.Llama(
        model_path=str(path),
        n_gpu_layers=n_gpu_layers,
        n_ctx=context_tokens,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )

    def stop(_: object) -> bool:
        return is_unwanted()

    hook = driver.ggml_abort_callback(stop)
    driver.llama_set_abort_callback(llama.ctx, hook, None)
    return llama, hook
