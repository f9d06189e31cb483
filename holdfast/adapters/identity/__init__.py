"""Identities: Ed25519 keys, their files, and the list of who is trusted. Needs the extra ``identity``."""

from holdfast.adapters.identity.ed25519 import Ed25519Signer, Ed25519Verifier

__all__ = ["Ed25519Signer", "Ed25519Verifier"]
