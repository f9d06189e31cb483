"""Garbage collection in a program that serves.

Responsibility: keep Python's search for garbage from holding up every request for the sake of objects that stay.
Guarantees: what is there at the call is never searched again; what comes later is, only less often.
Not responsible for: programs that Holdfast is embedded in: nothing touches their collector.
Source: Python, `gc.freeze` and `gc.set_threshold`; adr/0040 has the figures.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["spare_what_stays"]

_YOUNG_OBJECTS: Final = 10_000
"""How many more objects may be made than freed before the young ones are searched. The 2,000 of Python 3.13 are what
some requests at once need, and all of them are freed again by the end of each; adr/0040."""


def spare_what_stays() -> None:
    """Search never again what is there by now, and what comes later less often. For when everything is wired."""
    gc.collect()  # or what is garbage by now would stay, too
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
