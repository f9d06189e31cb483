"""Identities: Ed25519 keys, their files, and the list of who is trusted. Needs the extra ``identity``."""

from holdfast.adapters.identity.ed25519 import Ed25519Signer, Ed25519Verifier
from holdfast.adapters.identity.key_file import create_key_file, read_key_file
from holdfast.adapters.identity.trust_file import FileTrustList

__all__ = ["Ed25519Signer", "Ed25519Verifier", "FileTrustList", "create_key_file", "read_key_file"]
