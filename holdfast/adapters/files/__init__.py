"""Files on the local disk, replaced as a whole."""

from holdfast.adapters.files.atomic_writer import AtomicFileWriter

__all__ = ["AtomicFileWriter"]
