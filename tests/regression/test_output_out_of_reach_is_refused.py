"""An output folder that cannot even be looked at used to end in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.application.batch_export import check_output
from holdfast.ports.errors import BatchInputError


def test_output_whose_name_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchInputError, match=r"the output cannot be written \(File name too long\)"):
        check_output(tmp_path / "in.jsonl", tmp_path / ("x" * 300))


def test_output_folder_that_may_not_be_entered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # As `chmod 000` on the folder does for everyone but root, as whom tests may run.
    monkeypatch.setattr(Path, "stat", forbid)

    with pytest.raises(BatchInputError, match=r"the output cannot be written \(Permission denied\)"):
        check_output(tmp_path / "in.jsonl", tmp_path)
