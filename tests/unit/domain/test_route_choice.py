from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping

import pytest

from holdfast.domain.route_choice import RouteChoice, RoutingConfig, RoutingStrategy, check_weights
from holdfast.ports.errors import ConfigurationError
from holdfast.testing import ManualClock

THREE = ("a", "b", "c")
KEYS = [f"session {number}" for number in range(10_000)]


def chosen_by(
    strategy: RoutingStrategy,
    *backends: str,
    weights: Mapping[str, float] | None = None,
    seed: int = 1,
    clock: ManualClock | None = None,
) -> RouteChoice:
    config = RoutingConfig(strategy=strategy, weights=weights or {})
    return RouteChoice(backends or THREE, config, clock=clock or ManualClock(), random=random.Random(seed).random)


def firsts(choice: RouteChoice, keys: list[str] = KEYS) -> Counter[str]:
    return Counter(choice.order(key)[0] for key in keys)


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_order_holds_every_backend_once(strategy: RoutingStrategy) -> None:
    choice = chosen_by(strategy)

    assert {tuple(sorted(choice.order(key))) for key in KEYS[:300]} == {THREE}


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_order_of_one_backend_is_that_backend(strategy: RoutingStrategy) -> None:
    assert list(chosen_by(strategy, "only").order("key")) == ["only"]


def test_ordered_is_always_the_order_of_the_settings() -> None:
    assert {tuple(chosen_by(RoutingStrategy.ORDERED).order(key)) for key in KEYS} == {THREE}


@pytest.mark.parametrize("strategy", [RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY])
def test_weights_are_the_shares_in_which_backends_come_first(strategy: RoutingStrategy) -> None:
    counted = firsts(chosen_by(strategy, weights={"a": 6, "b": 3, "c": 1}))

    assert counted["a"] == pytest.approx(6000, abs=150)
    assert counted["b"] == pytest.approx(3000, abs=150)
    assert counted["c"] == pytest.approx(1000, abs=100)


@pytest.mark.parametrize("strategy", [RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY])
def test_weights_decide_among_those_that_are_fallen_back_to_as_well(strategy: RoutingStrategy) -> None:
    choice = chosen_by(strategy, weights={"a": 6, "b": 3, "c": 1})
    seconds = Counter(order[1] for key in KEYS if (order := choice.order(key))[0] == "a")

    assert seconds["b"] / seconds.total() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("strategy", [RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY])
def test_backends_without_a_weight_weigh_one(strategy: RoutingStrategy) -> None:
    counted = firsts(chosen_by(strategy, weights={"a": 2}))

    assert counted["a"] == pytest.approx(5000, abs=150)
    assert counted["b"] == pytest.approx(2500, abs=150)


@pytest.mark.parametrize("strategy", [RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY])
def test_backends_that_weigh_nothing_come_last_in_the_order_of_the_settings(strategy: RoutingStrategy) -> None:
    choice = chosen_by(strategy, weights={"a": 0, "b": 0})

    assert {tuple(choice.order(key)) for key in KEYS[:100]} == {("c", "a", "b")}


def test_weighted_by_chance_that_is_zero_is_an_order_too() -> None:
    config = RoutingConfig(strategy=RoutingStrategy.WEIGHTED)

    assert sorted(RouteChoice(THREE, config, clock=ManualClock(), random=lambda: 0.0).order("")) == list(THREE)


def test_sticky_same_key_gives_the_same_order_whatever_chance_says() -> None:
    one, other = chosen_by(RoutingStrategy.STICKY, seed=1), chosen_by(RoutingStrategy.STICKY, seed=2)

    assert all(one.order(key) == one.order(key) == other.order(key) for key in KEYS[:500])


def test_sticky_order_is_the_same_in_a_process_with_another_hash_seed() -> None:
    ask = (
        "from holdfast.domain.route_choice import *; from holdfast.testing import ManualClock;"
        "choice = RouteChoice(['a', 'b', 'c'], RoutingConfig(strategy=RoutingStrategy.STICKY),"
        " clock=ManualClock(), random=lambda: 0.5);"
        "print(''.join(choice.order(f'session {number}')[0] for number in range(100)))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", ask], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    ]

    assert told == ["".join(chosen_by(RoutingStrategy.STICKY).order(key)[0] for key in KEYS[:100])] * 2


def test_sticky_choices_are_those_of_every_version_before() -> None:
    chosen = "".join(chosen_by(RoutingStrategy.STICKY).order(key)[0] for key in KEYS[:30])

    assert chosen == "cbabaabaacbcbcababcbbcaacabaac"  # another rule would move the sessions of everyone who upgrades


def test_sticky_backend_added_moves_only_the_keys_that_it_takes_over() -> None:
    before, after = chosen_by(RoutingStrategy.STICKY, "a", "b"), chosen_by(RoutingStrategy.STICKY, "a", "b", "new")
    moved = [after.order(key)[0] for key in KEYS if before.order(key)[0] != after.order(key)[0]]

    assert set(moved) == {"new"}
    assert len(moved) == pytest.approx(len(KEYS) / 3, abs=150)


def test_sticky_backend_taken_away_moves_its_keys_to_what_they_would_have_fallen_back_to() -> None:
    before, after = chosen_by(RoutingStrategy.STICKY), chosen_by(RoutingStrategy.STICKY, "a", "b")
    orphans = [key for key in KEYS if before.order(key)[0] == "c"]

    assert all(after.order(key)[0] == before.order(key)[1] for key in orphans)
    assert all(after.order(key)[0] == before.order(key)[0] for key in set(KEYS) - set(orphans))


def test_sticky_weight_raised_moves_keys_to_that_backend_only() -> None:
    before = chosen_by(RoutingStrategy.STICKY, weights={"a": 1})
    after = chosen_by(RoutingStrategy.STICKY, weights={"a": 2})

    assert {after.order(key)[0] for key in KEYS if before.order(key)[0] != after.order(key)[0]} == {"a"}


@pytest.mark.parametrize("key", ["", "\0", "ключ", "\ud800"])
def test_sticky_any_text_is_a_key(key: str) -> None:
    assert sorted(chosen_by(RoutingStrategy.STICKY).order(key)) == list(THREE)


def test_fastest_tries_those_that_are_not_known_first() -> None:
    choice = chosen_by(RoutingStrategy.FASTEST, "known", "new")
    choice.loads["known"].observe(0.001, is_answer=True)

    assert {tuple(choice.order("")) for _ in range(50)} == {("new", "known")}


def test_fastest_of_two_is_the_one_that_costs_less() -> None:
    choice = chosen_by(RoutingStrategy.FASTEST, "slow", "fast")
    choice.loads["slow"].observe(1.0, is_answer=True)
    choice.loads["fast"].observe(0.1, is_answer=True)

    assert firsts(choice, KEYS[:100]) == {"fast": 100}


def test_fastest_with_many_in_flight_gives_way_to_the_slower_one() -> None:
    choice = chosen_by(RoutingStrategy.FASTEST, "slow", "fast")
    choice.loads["slow"].observe(1.0, is_answer=True)
    choice.loads["fast"].observe(0.1, is_answer=True)
    choice.loads["fast"].in_flight = 10

    assert firsts(choice, KEYS[:100]) == {"slow": 100}


def test_fastest_of_many_compares_two_taken_by_chance_and_falls_back_by_load() -> None:
    backends = ("a", "b", "c", "d")
    choice = chosen_by(RoutingStrategy.FASTEST, *backends)
    for number, name in enumerate(backends, start=1):
        choice.loads[name].observe(float(number), is_answer=True)
    orders = [choice.order("") for _ in range(6000)]
    counted = Counter(order[0] for order in orders)

    # Of the six pairs, "a" is the lesser of three, "b" of two, "c" of one.
    assert counted["a"] == pytest.approx(3000, abs=150)
    assert counted["b"] == pytest.approx(2000, abs=150)
    assert counted["d"] == 0
    assert {tuple(order) for order in orders} == {("a", "b", "c", "d"), ("b", "a", "c", "d"), ("c", "a", "b", "d")}


def test_fastest_slow_backend_that_nobody_asks_is_tried_again_after_a_while() -> None:
    clock = ManualClock()
    choice = chosen_by(RoutingStrategy.FASTEST, "slow", "fast", clock=clock)
    choice.loads["slow"].observe(1.0, is_answer=True)
    for _ in range(23):
        choice.loads["fast"].observe(0.1, is_answer=True)
        assert choice.order("")[0] == "fast"
        clock.advance(1.0)
    clock.advance(1.0)
    choice.loads["fast"].observe(0.1, is_answer=True)

    assert choice.order("")[0] == "slow"


@pytest.mark.parametrize("strategy", [RoutingStrategy.ORDERED, RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY])
def test_strategies_that_go_by_no_load_measure_nothing(strategy: RoutingStrategy) -> None:
    choice = chosen_by(strategy)

    assert (choice.loads, choice.depart()) == ({}, None)


def test_depart_under_fastest_counts_the_request_at_the_backend_it_turns_to() -> None:
    choice = chosen_by(RoutingStrategy.FASTEST)
    journey = choice.depart()
    assert journey is not None

    journey.turn_to("b")

    assert [load.in_flight for load in choice.loads.values()] == [0, 1, 0]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_config_weight_that_is_none_is_refused_with_its_path_and_its_backend(weight: float) -> None:
    with pytest.raises(ConfigurationError, match=r"routing\.weights: 'b' must weigh .* at least 0") as caught:
        RoutingConfig(strategy=RoutingStrategy.WEIGHTED, weights={"a": 1.0, "b": weight})

    assert caught.value.path == "routing.weights"


@pytest.mark.parametrize("strategy", [RoutingStrategy.ORDERED, RoutingStrategy.FASTEST])
def test_config_weights_that_nothing_reads_are_refused_with_both_paths(strategy: RoutingStrategy) -> None:
    with pytest.raises(ConfigurationError, match=rf"routing\.weights: .*routing\.strategy is {strategy}"):
        RoutingConfig(strategy=strategy, weights={"a": 1.0})


def test_config_decay_out_of_its_range_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigurationError, match=r"routing\.ewma_decay_s"):
        RoutingConfig(ewma_decay_s=0.0)


def test_check_weights_for_a_backend_that_is_none_is_refused_with_both_paths() -> None:
    config = RoutingConfig(strategy=RoutingStrategy.WEIGHTED, weights={"z": 1.0})

    with pytest.raises(ConfigurationError, match=r"routing\.weights: names 'z'.*backends: 'a', 'b', 'c'"):
        check_weights(config, THREE)


def test_check_weights_that_are_all_zero_are_refused_with_both_paths() -> None:
    config = RoutingConfig(strategy=RoutingStrategy.STICKY, weights=dict.fromkeys(THREE, 0.0))

    with pytest.raises(ConfigurationError, match=r"routing\.weights: all of the backends weigh 0"):
        RouteChoice(THREE, config, clock=ManualClock(), random=lambda: 0.5)


def discovering(strategy: RoutingStrategy, *, weights: Mapping[str, float] | None = None) -> RouteChoice:
    """Return a choice between `fleet`, whose instances come and go, and `other`."""
    config = RoutingConfig(strategy=strategy, weights=weights or {})
    return RouteChoice(
        ["fleet", "other"], config, discovered=["fleet"], clock=ManualClock(), random=random.Random(1).random
    )


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_order_holds_each_instance_that_is_there_and_no_other(strategy: RoutingStrategy) -> None:
    choice = discovering(strategy)
    orders = [sorted(choice.order("key"))]
    for instance in ("fleet@1", "fleet@2"):
        choice.add("fleet", instance)
        orders.append(sorted(choice.order("key")))
    choice.remove("fleet", "fleet@1")
    orders.append(sorted(choice.order("key")))

    assert orders == [["other"], ["fleet@1", "other"], ["fleet@1", "fleet@2", "other"], ["fleet@2", "other"]]
    assert choice.names == ["fleet@2", "other"]


@pytest.mark.parametrize("strategy", RoutingStrategy)
def test_order_with_nothing_there_is_empty(strategy: RoutingStrategy) -> None:
    choice = RouteChoice(
        ["fleet"],
        RoutingConfig(strategy=strategy),
        discovered=["fleet"],
        clock=ManualClock(),
        random=random.Random(1).random,
    )

    assert list(choice.order("key")) == []
    assert choice.discovered == ("fleet",)


def test_ordered_instances_of_one_backend_take_turns_by_chance_before_the_next_backend() -> None:
    choice = discovering(RoutingStrategy.ORDERED)
    for number in range(4):
        choice.add("fleet", f"fleet@{number}")
    orders = [choice.order("") for _ in range(2000)]

    assert {order[-1] for order in orders} == {"other"}
    assert min(Counter(order[0] for order in orders).values()) == pytest.approx(500, abs=100)


@pytest.mark.parametrize("strategy", [RoutingStrategy.WEIGHTED, RoutingStrategy.STICKY])
def test_weights_are_shared_by_the_instances_of_a_backend(strategy: RoutingStrategy) -> None:
    choice = discovering(strategy, weights={"fleet": 1, "other": 3})
    for number in range(5):
        choice.add("fleet", f"fleet@{number}")
    counted = firsts(choice)

    assert counted["other"] == pytest.approx(7500, abs=150)
    assert all(counted[f"fleet@{number}"] == pytest.approx(500, abs=100) for number in range(5))


def test_sticky_instance_added_or_removed_moves_only_the_keys_that_it_takes_or_had() -> None:
    choice = discovering(RoutingStrategy.STICKY)
    for number in range(4):
        choice.add("fleet", f"fleet@{number}")
    before = {key: choice.order(key)[0] for key in KEYS}
    choice.add("fleet", "fleet@4")
    with_more = {key: choice.order(key)[0] for key in KEYS}
    choice.remove("fleet", "fleet@0")
    with_less = {key: choice.order(key)[0] for key in KEYS}

    assert {with_more[key] for key in KEYS if with_more[key] != before[key]} == {"fleet@4"}
    assert {with_more[key] for key in KEYS if with_less[key] != with_more[key]} == {"fleet@0"}
    assert [key for key in KEYS if (before[key] == "other") != (with_less[key] == "other")] == []


def test_fastest_knows_nothing_of_an_instance_that_came_back() -> None:
    choice = discovering(RoutingStrategy.FASTEST)
    choice.add("fleet", "fleet@1")
    choice.loads["fleet@1"].observe(5.0, is_answer=True)
    choice.remove("fleet", "fleet@1")
    choice.add("fleet", "fleet@1")

    assert choice.loads["fleet@1"].cost_s() is None


def test_fastest_request_under_way_at_an_instance_that_vanished_is_counted_out_and_disturbs_nobody() -> None:
    choice = discovering(RoutingStrategy.FASTEST)
    choice.add("fleet", "fleet@1")
    journey = choice.depart()
    assert journey is not None
    journey.turn_to("fleet@1")
    load = choice.loads["fleet@1"]
    choice.remove("fleet", "fleet@1")
    choice.add("fleet", "fleet@1")

    journey.end(is_answer=True)

    assert load.in_flight == 0
    assert (choice.loads["fleet@1"].in_flight, choice.loads["fleet@1"].cost_s()) == (0, None)
