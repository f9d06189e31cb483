"""One section of the settings.

Responsibility: what all sections have in common.
Guarantees: a section cannot be changed, refuses keys that it does not know, and takes no infinity and no NaN; no value,
    which might be a secret, is repeated by pydantic's errors, which go along with ours in a traceback.
Not responsible for: which sections there are: see `holdfast.application.settings`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """Validated, frozen settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
