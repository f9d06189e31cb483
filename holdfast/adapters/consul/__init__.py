"""Consul as registry and as store of parameters; needs the extra ``consul``."""

from holdfast.adapters.consul.client import ConsulClient, parse_index
from holdfast.adapters.consul.parameters import ConsulParameters
from holdfast.adapters.consul.registry import ConsulRegistry

__all__ = ["ConsulClient", "ConsulParameters", "ConsulRegistry", "parse_index"]
