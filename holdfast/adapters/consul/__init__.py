"""Consul as registry and as store of parameters; needs the extra ``consul``."""

from holdfast.adapters.consul.client import ConsulClient, parse_index

__all__ = ["ConsulClient", "parse_index"]
