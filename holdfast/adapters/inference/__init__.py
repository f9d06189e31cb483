"""Backends that need no server, and the pools' provider for backends that serve every caller at once."""
