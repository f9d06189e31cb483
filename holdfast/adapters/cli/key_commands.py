"""``holdfast identity new``, ``show``, ``sign``, ``verify`` and ``rotate``.

Responsibility: one call of the driving port for each, and its result as text.
Guarantees: what `new`, `show`, `sign` and `rotate` print is one line and nothing else, so that it can be kept or piped.
Not responsible for: errors: see `holdfast.adapters.cli.error_exit`.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from holdfast.adapters.cli.exit_codes import ExitCode
from holdfast.adapters.cli.streams import write_out
from holdfast.ports.did import Did
from holdfast.ports.identity_desk import KeyDesk

__all__ = ["create_key", "print_rotation", "show_did", "sign_file", "verify_file"]


def create_key(desk: KeyDesk, key: Path) -> None:
    """Make a key file and write the DID.

    Raises:
        HoldfastError: as `KeyDesk.create`.
    """
    write_out(f"{anyio.run(desk.create, key)}\n")


def show_did(desk: KeyDesk, key: Path) -> None:
    """Write the DID of a key file.

    Raises:
        HoldfastError: as `KeyDesk.show`.
    """
    write_out(f"{anyio.run(desk.show, key)}\n")


def sign_file(desk: KeyDesk, key: Path, file: Path) -> None:
    """Write the signature of a file.

    Raises:
        HoldfastError: as `KeyDesk.sign`.
    """
    write_out(f"{anyio.run(desk.sign, key, file)}\n")


def verify_file(desk: KeyDesk, did: str, file: Path, signature: Path) -> ExitCode:
    """Write whether `did` signed the file; return `ExitCode.FAILED` if not.

    Raises:
        HoldfastError: as `KeyDesk.verify`; `DidError` if `did` is none.
    """
    signer = Did(did)
    signed = anyio.run(desk.verify, signer, file, signature)
    write_out(f"{'Signed' if signed else 'NOT signed'} by {signer}\n")
    return ExitCode.COMPLETE if signed else ExitCode.FAILED


def print_rotation(desk: KeyDesk, old: Path, new: Path) -> None:
    """Write a statement of rotation.

    Raises:
        HoldfastError: as `KeyDesk.rotate`.
    """
    write_out(f"{anyio.run(desk.rotate, old, new)}\n")
