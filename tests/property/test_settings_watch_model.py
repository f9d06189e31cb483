"""Any history of a store of parameters: what is in force is what was valid last, and each change is counted once."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.adapters.memory import MemoryParameters
from holdfast.application.live_settings import LiveSettings
from holdfast.application.settings import Settings
from holdfast.application.settings_sources import LoadedSettings
from holdfast.application.settings_watch import SettingsWatch
from holdfast.domain.blocking_query import QueryConfig
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError
from holdfast.ports.events import (
    ParametersApplied,
    ParametersRefused,
    ParameterStoreLost,
    ParameterStoreRejoined,
)
from holdfast.testing import ManualClock
from tests.fakes.events import Listener

GOOD = st.fixed_dictionaries(
    {},
    optional={
        "timeout_s": st.sampled_from(["1", "2"]),
        "max_in_flight": st.sampled_from(["3", 3, "4"]),
        "guard": st.sampled_from([{"retry": {"max_attempts": "2"}}, {"pool": {"max_size": "7"}}, {}]),
    },
)
BROKEN: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{"timeout_s": "-1"}, {"timeout": "1"}, {"max_memory_bytes": "1048576"}, {"parameters": {}}, {"guard": "none"}]
)


@dataclass
class Change:
    values: dict[str, object]
    is_broken: bool


@dataclass
class Absence:
    error: Exception


CHANGES = st.one_of(
    GOOD.map(lambda values: Change(values, is_broken=False)),
    st.tuples(GOOD, BROKEN).map(lambda both: Change({**both[0], **both[1]}, is_broken=True)),
    st.sampled_from(
        [
            Absence(StoreUnavailableError("is down", store="memory")),
            Absence(StoreRefusedError("wrong token", store="memory")),
        ]
    ),
)


@settings(max_examples=60)
@given(st.lists(CHANGES, max_size=12))
def test_any_history_leaves_in_force_what_was_valid_last_and_counts_each_change_once(
    history: list[Change | Absence],
) -> None:
    base, events = LoadedSettings(settings=Settings(), sources={}), Listener()
    live = LiveSettings(base.settings, without_parameters=base.settings)
    watch = SettingsWatch(
        base,
        MemoryParameters(),
        live,
        backends=None,
        config=QueryConfig(),
        clock=ManualClock(),
        random=lambda: 0.5,
        events=events,
    )
    heard: list[Settings] = []
    expected, refused, last = base.settings, 0, base

    with live.followed_by(heard.append):
        for step in history:
            match step:
                case Change(is_broken=True):
                    watch.changed(step.values)
                    refused += 1
                case Change():
                    watch.changed(step.values)
                    last = last.with_parameters(step.values)
                    expected = last.settings
                case Absence():
                    watch.lost(step.error)
                    watch.rejoined(1.0)
            assert live.settings == expected

    counted = watch.statistics()
    changes = sum(isinstance(step, Change) for step in history)
    absences = len(history) - changes
    kinds = [type(event) for event in events.heard]
    assert counted.applied + counted.refused + counted.unused == changes
    assert counted.refused == refused == kinds.count(ParametersRefused)
    assert counted.applied == len(heard) == kinds.count(ParametersApplied)
    assert absences == kinds.count(ParameterStoreLost) == kinds.count(ParameterStoreRejoined)


@given(GOOD, GOOD)
def test_layer_is_replaced_as_a_whole(first: dict[str, object], second: dict[str, object]) -> None:
    base = LoadedSettings(settings=Settings(), sources={})

    assert base.with_parameters(first).with_parameters(second).settings == base.with_parameters(second).settings
