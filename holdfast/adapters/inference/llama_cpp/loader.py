"""Models of llama.cpp, loaded from their files.

Responsibility: `ModelLoader` for a GGUF file.
Guarantees: the file is looked at when the loader is made, and read by worker threads when it is loaded; `unload` frees
    the memory at once, whoever still holds the backend.
Not responsible for: when it is loaded: see `holdfast.domain.model_slot`; whether it fits: see
    `holdfast.domain.host_guard`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.adapters.inference.llama_cpp.backend import LlamaCppBackend
from holdfast.adapters.inference.llama_cpp.driver import Llama, open_llama
from holdfast.adapters.inference.threaded_model import ThreadedModelLoader
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.inference import InferenceBackend
from holdfast.ports.model import ModelLoader

__all__ = ["LlamaCppOptions", "llama_cpp_loader"]

_BYTES_PER_CONTEXT_TOKEN: Final = 128 * 1024
"""Keys and values of 32 layers with 8 heads of 128 numbers of 16 bits: a model of 8 billion parameters."""

_ALL_LAYERS: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppOptions:
    """How a model is loaded.

    Args:
        path: the GGUF file.
        n_gpu_layers: how many of its layers the GPU takes, from 0; None for all of them. A build that knows no GPU
            leaves them to the processor.
        threads: that compute, from 1; None leaves it to the driver, which takes half of the processors.
        context_tokens: room for prompt and answer together, from 1.
        memory_bytes: what it takes of the host's memory, from 1; None for the size of its file and 128 KiB for each
            token of its context.

    Raises:
        ConfigurationError: if a number is out of its range.
    """

    path: Path
    n_gpu_layers: int | None = 0
    threads: int | None = None
    context_tokens: int = 4096
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for field, least in (("n_gpu_layers", 0), ("threads", 1), ("context_tokens", 1), ("memory_bytes", 1)):
            value: int | None = getattr(self, field)
            if value is not None and value < least:
                raise ConfigurationError(f"must be at least {least}, not {value!r}", path=field)


def llama_cpp_loader(name: str, options: LlamaCppOptions) -> ModelLoader:
    """Return the loader of a model; blocking: it looks at the file.

    Args:
        name: tells the model apart from others; errors carry it.
        options: which model, and how.

    Raises:
        ConfigurationError: there is no such file.
    """
    path = options.path
    try:
        file_bytes = path.stat().st_size if path.is_file() else 0
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}", path=f"backends.{name}.path") from error
    if not file_bytes:
        raise ConfigurationError(f"{path}: is no file with a model in it", path=f"backends.{name}.path")

    def open_model(is_unwanted: Callable[[], bool]) -> tuple[Llama, object]:
        return open_llama(
            path,
            n_gpu_layers=_ALL_LAYERS if options.n_gpu_layers is None else options.n_gpu_layers,
            threads=options.threads,
            context_tokens=options.context_tokens,
            is_unwanted=is_unwanted,
        )

    return ThreadedModelLoader(
        name,
        size_bytes=options.memory_bytes or file_bytes + options.context_tokens * _BYTES_PER_CONTEXT_TOKEN,
        load=lambda: LlamaCppBackend(name, model=path.stem, load=open_model),
        unload=_unload,
    )


def _unload(backend: InferenceBackend) -> None:
    assert isinstance(backend, LlamaCppBackend), "not what `load` returned"  # noqa: S101 - the contract of a loader
    backend.close()
