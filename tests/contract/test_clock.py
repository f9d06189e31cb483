from __future__ import annotations

import pytest

from holdfast.adapters.system.clock import SystemClock
from holdfast.ports.clock import Clock
from holdfast.testing import ManualClock, VirtualClock
from holdfast.testing.contracts.clock import ClockContract


@pytest.mark.real_time
class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()


class TestManualClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return ManualClock()


class TestVirtualClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return VirtualClock()
