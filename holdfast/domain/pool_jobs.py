"""What a pool decides to have done.

Responsibility: the four things that take time, as values.
Guarantees: a closed set; for each job that the core asks for, the shell reports one end.
Not responsible for: doing them: see `holdfast.domain.pool`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from holdfast.domain.pool_lease import Member

__all__ = ["Close", "Create", "Job", "Reset", "Validate"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make a resource; it belongs to the generation in which this began."""

    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate(Generic[T]):
    """Find out whether an idle resource is still good."""

    member: Member[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Generic[T]):
    """Make a resource good again whose user was interrupted."""

    member: Member[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Generic[T]):
    """Unmake a resource."""

    member: Member[T]


Job: TypeAlias = Create | Validate[T] | Reset[T] | Close[T]
