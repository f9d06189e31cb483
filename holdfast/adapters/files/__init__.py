"""Files on the local disk: replaced as a whole, or read as secrets."""

from holdfast.adapters.files.atomic_writer import AtomicFileWriter
from holdfast.adapters.files.parameters import FileParameters
from holdfast.adapters.files.registry import FileRegistry
from holdfast.adapters.files.secret_file import read_secret_file

__all__ = ["AtomicFileWriter", "FileParameters", "FileRegistry", "read_secret_file"]
