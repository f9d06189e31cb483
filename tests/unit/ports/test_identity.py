from __future__ import annotations

import pytest

from holdfast.ports.errors import ConfigurationError
from holdfast.ports.identity import TrustRecord
from holdfast.testing import ForgeableSigner

ALICE = ForgeableSigner("alice").did


def _record(
    *roles: str, not_before_s: int | None = None, not_after_s: int | None = None, revoked: bool = False
) -> TrustRecord:
    return TrustRecord(
        did=ALICE, roles=frozenset(roles), not_before_s=not_before_s, not_after_s=not_after_s, revoked=revoked
    )


@pytest.mark.parametrize("role", ["a", "asks", "a-1_b", "a" * 64])
def test_role_of_plain_letters_is_accepted(role: str) -> None:
    assert _record(role).roles == {role}


@pytest.mark.parametrize("role", ["", "A", "1a", "-a", "a b", "a\n", "é", "aé", "a" * 65, "a,b"])
def test_role_that_is_spelled_otherwise_is_refused(role: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^trust\.roles: must be up to 64 lower-case letters"):
        _record("asks", role)


@pytest.mark.parametrize("unix_s", [-1, 253_402_300_800])
@pytest.mark.parametrize("name", ["not_before_s", "not_after_s"])
def test_time_that_is_no_date_is_refused(name: str, unix_s: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"^trust\.{name}: must be from 1970 to 9999, not {unix_s}"):
        TrustRecord(
            did=ALICE,
            roles=frozenset(),
            not_before_s=unix_s if name == "not_before_s" else None,
            not_after_s=unix_s if name == "not_after_s" else None,
        )


@pytest.mark.parametrize("not_after_s", [9, 10])
def test_end_that_is_not_after_the_beginning_is_refused_with_both_named(not_after_s: int) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^trust\.not_after_s: .* trust\.not_before_s \(10\), not {not_after_s}$"
    ):
        _record(not_before_s=10, not_after_s=not_after_s)


@pytest.mark.parametrize(
    ("not_before_s", "not_after_s", "unix_s", "trusted"),
    [
        (None, None, 0.0, True),
        (None, None, 1e12, True),
        (10, None, 9.999, False),
        (10, None, 10.0, True),
        (None, 20, 19.999, True),
        (None, 20, 20.0, False),
        (10, 20, 9.0, False),
        (10, 20, 15.0, True),
        (10, 20, 21.0, False),
        (10, 20, float("nan"), False),
    ],
)
def test_is_trusted_at_holds_from_the_first_time_to_before_the_last(
    not_before_s: int | None, not_after_s: int | None, unix_s: float, *, trusted: bool
) -> None:
    assert _record(not_before_s=not_before_s, not_after_s=not_after_s).is_trusted_at(unix_s) is trusted


@pytest.mark.parametrize("unix_s", [0.0, 15.0, 1e12])
def test_is_trusted_at_of_a_revoked_identity_never_holds(unix_s: float) -> None:
    assert not _record("asks", not_before_s=10, revoked=True).is_trusted_at(unix_s)
