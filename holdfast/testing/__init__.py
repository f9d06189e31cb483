"""What a test of a service that embeds Holdfast needs; shipped with the library."""

from holdfast.testing.cancellation import cancel_at_checkpoint, sweep_cancellation
from holdfast.testing.clock import ManualClock, VirtualClock, VirtualTimeLoop, virtual_backend
from holdfast.testing.faults import FaultInjector, FaultPlan, InjectedFault

__all__ = [
    "FaultInjector",
    "FaultPlan",
    "InjectedFault",
    "ManualClock",
    "VirtualClock",
    "VirtualTimeLoop",
    "cancel_at_checkpoint",
    "sweep_cancellation",
    "virtual_backend",
]
