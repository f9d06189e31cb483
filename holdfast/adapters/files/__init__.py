"""Files on the local disk, replaced as a whole."""

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.files.parameters import FileParameters
from holdfast.adapters.files.registry import FileRegistry

__all__ = ["AtomicFileWriter", "FileParameters", "FileRegistry"]
