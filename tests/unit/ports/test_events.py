from __future__ import annotations

import pytest

from holdfast.ports import events
from holdfast.ports.events import BreakerOpened, Event, RateLimited

KINDS = [kind for name in events.__all__ if issubclass(kind := getattr(events, name), Event) and kind is not Event]


@pytest.mark.parametrize(("kind", "name"), [(BreakerOpened, "breaker_opened"), (RateLimited, "rate_limited")])
def test_name_of_an_event_is_its_class_in_snake_case(kind: type[Event], name: str) -> None:
    assert kind.name == name


def test_name_of_each_event_is_its_own() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_name_of_an_event_of_ones_own_is_made_alike() -> None:
    class TeaSteeped(Event):
        pass

    assert TeaSteeped().name == "tea_steeped"


@pytest.mark.parametrize("kind", KINDS)
def test_event_cannot_be_changed_and_holds_nothing_but_its_fields(kind: type[Event]) -> None:
    assert getattr(kind, "__dataclass_params__").frozen  # noqa: B009 - no type knows of it
    assert kind.__dictoffset__ == 0
