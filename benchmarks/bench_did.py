"""What it costs to look at a name, to sign and to verify, and what the checks add to cryptography's own."""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from harness import Row, measure, measure_async, report

from holdfast.adapters.identity import Ed25519Signer, Ed25519Verifier, FileTrustList
from holdfast.adapters.memory import MemoryTrustList
from holdfast.domain.signed_fields import Purpose, signed_fields
from holdfast.ports.did import Did
from holdfast.ports.identity import TrustList, TrustRecord

_CALLS = 500
_MESSAGE = signed_fields(Purpose.FILE, bytes(2000))


def _key_rows() -> list[Row]:
    key = Ed25519PrivateKey.generate()
    raw, public = key.public_key(), key.public_key().public_bytes_raw()
    signer, verifier = Ed25519Signer(key), Ed25519Verifier()
    signature = signer.sign(_MESSAGE)
    did = signer.did
    # More than are remembered, so that each comes as if for the first time.
    texts = itertools.cycle([str(Ed25519Signer.generate().did) for _ in range(1100)])
    return [
        measure("cryptography: a public key from 32 bytes", lambda: Ed25519PublicKey.from_public_bytes(public)),
        measure("Did, never seen before", lambda: Did(next(texts)), calls=_CALLS),
        measure("Did, seen before", lambda: Did(did)),
        measure("signed_fields of 2 KB", lambda: signed_fields(Purpose.FILE, _MESSAGE)),
        measure("cryptography: sign 2 KB", lambda: key.sign(_MESSAGE), calls=_CALLS),
        measure("Ed25519Signer.sign 2 KB", lambda: signer.sign(_MESSAGE), calls=_CALLS),
        measure("cryptography: verify 2 KB", lambda: raw.verify(signature, _MESSAGE), calls=_CALLS),
        measure("Ed25519Verifier.verify 2 KB", lambda: verifier.verify(did, _MESSAGE, signature), calls=_CALLS),
    ]


async def _trust_rows(folder: Path) -> list[Row]:
    records = [TrustRecord(did=Ed25519Signer.generate().did, roles=frozenset({"asks"})) for _ in range(100)]
    in_memory: TrustList = MemoryTrustList(records)
    in_a_file: TrustList = FileTrustList(folder / "trust.json")
    await in_a_file.change(lambda _: records)
    did = records[50].did
    return [
        await measure_async("MemoryTrustList.find among 100", lambda: in_memory.find(did)),
        await measure_async("FileTrustList.find among 100", lambda: in_a_file.find(did), calls=_CALLS),
    ]


def main() -> bool:
    """Print the tables; there is no budget to keep."""
    kept = report("Names and signatures", _key_rows(), packages=("cryptography",))
    with tempfile.TemporaryDirectory() as folder:
        for backend in ("asyncio", "trio"):
            rows = anyio.run(_trust_rows, Path(folder), backend=backend)
            kept &= report(f"Who is trusted, {backend}", rows, packages=("anyio", "trio"))
    return kept


if __name__ == "__main__":
    sys.exit(not main())
