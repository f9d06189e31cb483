"""``holdfast identity trust``.

Responsibility: what is to be done with a list of who is trusted, and what is printed of it.
Guarantees: an order that contradicts itself is refused before anything is done; each identity is one line.
Not responsible for: errors: see `holdfast.adapters.cli.error_exit`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio

from holdfast.adapters.cli.streams import write_json, write_out
from holdfast.ports.did import Did
from holdfast.ports.errors import ConfigurationError
from holdfast.ports.identity import TrustRecord
from holdfast.ports.identity_desk import Standing, TrustDesk

__all__ = ["TrustOrder", "carry_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOrder:
    """What to do, as it was typed: nothing but to list, or to trust, revoke or rotate.

    Args:
        did: whom to trust or to revoke.
        roles: what it may act as.
        not_before: from when on, as a date in ISO 8601.
        not_after: until when, likewise.
        revoke: whether to trust it no more.
        rotation: a file with a statement to apply.

    Raises:
        ConfigurationError: if that is not one thing to do.
    """

    did: str | None
    roles: Sequence[str]
    not_before: str | None
    not_after: str | None
    revoke: bool
    rotation: Path | None

    def __post_init__(self) -> None:
        grants = bool(self.roles) or self.not_before is not None or self.not_after is not None
        if self.rotation is not None and (self.did is not None or grants or self.revoke):
            raise ConfigurationError("says by itself who is meant; leave out everything else", path="--rotation")
        if self.did is None and (grants or self.revoke):
            raise ConfigurationError("say whom you mean, after the list", path="DID")
        if self.revoke and grants:
            raise ConfigurationError("is for good and for every role; leave out roles and times", path="--revoke")
        if self.did is not None and not self.roles and not self.revoke:
            raise ConfigurationError("say at least one, or --revoke", path="--role")

    @property
    def record(self) -> TrustRecord:
        """The record that it asks for.

        Raises:
            ConfigurationError: if a role or a time is none.
            DidError: if the DID is none.
        """
        return TrustRecord(
            did=Did(self.did or ""),
            roles=frozenset(self.roles),
            not_before_s=_read_time(self.not_before, "--not-before"),
            not_after_s=_read_time(self.not_after, "--not-after"),
        )


def carry_out(desk: TrustDesk, trust: Path, order: TrustOrder, *, as_json: bool) -> None:
    """Do as ordered, and write the list, or what has changed in it.

    Raises:
        HoldfastError: as `TrustDesk`, and as `TrustOrder.record`.
    """
    _write_standings(anyio.run(_call(desk, trust, order)), as_json=as_json)


def _call(desk: TrustDesk, trust: Path, order: TrustOrder) -> Callable[[], Awaitable[tuple[Standing, ...]]]:
    if order.rotation is not None:
        return partial(desk.rotate, trust, order.rotation)
    if order.did is None:
        return partial(desk.standings, trust)
    if order.revoke:
        return partial(desk.revoke, trust, Did(order.did))
    return partial(desk.trust, trust, order.record)


def _write_standings(standings: Sequence[Standing], *, as_json: bool) -> None:
    if as_json:
        write_json({"identities": [_document(standing) for standing in standings]})
    elif standings:
        write_out("".join(f"{_line(standing)}\n" for standing in standings))
    else:
        write_out("Nobody is trusted.\n")


def _document(standing: Standing) -> dict[str, object]:
    record = standing.record
    return {
        "did": record.did,
        "roles": sorted(record.roles),
        "not_before_s": record.not_before_s,
        "not_after_s": record.not_after_s,
        "revoked": record.revoked,
        "trusted_now": standing.is_trusted,
    }


def _line(standing: Standing) -> str:
    record = standing.record
    state = "revoked" if record.revoked else "trusted" if standing.is_trusted else "not trusted now"
    times = (("from", record.not_before_s), ("until", record.not_after_s))
    return "  ".join(
        (
            record.did,
            state,
            f"as {', '.join(sorted(record.roles)) or 'nothing'}",
            *(f"{word} {_time_text(unix_s)}" for word, unix_s in times if unix_s is not None),
        )
    )


def _time_text(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_time(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ConfigurationError("must be a date such as 2027-01-31, or one with a time", path=option) from None
