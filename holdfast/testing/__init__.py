"""What a test of a service that embeds Holdfast needs; shipped with the library."""

from holdfast.testing.cancellation import cancel_at_checkpoint, sweep_cancellation
from holdfast.testing.clock import ManualClock, VirtualClock, VirtualTimeLoop, virtual_backend
from holdfast.testing.faults import FaultInjector, FaultPlan, InjectedFault
from holdfast.testing.identity import ForgeableSigner, ForgeableVerifier

__all__ = [
    "FaultInjector",
    "FaultPlan",
    "ForgeableSigner",
    "ForgeableVerifier",
    "InjectedFault",
    "ManualClock",
    "VirtualClock",
    "VirtualTimeLoop",
    "cancel_at_checkpoint",
    "sweep_cancellation",
    "virtual_backend",
]
