"""A folder given for the database of sessions was refused with a remedy that does not help: to change permissions."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.adapters.sqlite import SqliteSessions
from holdfast.ports.errors import SessionStoreError
from holdfast.testing import VirtualClock

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def test_folder_for_a_database_is_refused_and_a_file_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SessionStoreError, match=r": the database of sessions cannot be opened; choose a file, "):
        async with SqliteSessions(tmp_path, clock=VirtualClock()):
            pytest.fail("opened")
