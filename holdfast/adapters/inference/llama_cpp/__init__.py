"""Models of llama.cpp in this process; needs the extra ``llama``."""

from holdfast.adapters.inference.llama_cpp.backend import LlamaCppBackend
from holdfast.adapters.inference.llama_cpp.driver import Llama, require_llama_cpp
from holdfast.adapters.inference.llama_cpp.loader import LlamaCppOptions, llama_cpp_loader

__all__ = ["Llama", "LlamaCppBackend", "LlamaCppOptions", "llama_cpp_loader", "require_llama_cpp"]
