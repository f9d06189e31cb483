"""A TOML file as a store of parameters: what the contract does not say."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from holdfast.adapters.files import FileParameters
from holdfast.ports.errors import StoreRefusedError, StoreUnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


async def test_parameters_of_a_file_that_is_not_there_are_unavailable_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    store = FileParameters(path)
    with pytest.raises(StoreUnavailableError, match=r"^parameter file: there is no '.*parameters\.toml'$"):
        await store.parameters(index=0, wait_s=0.0)

    path.write_text("timeout_s = 5")

    assert await store.parameters(index=0, wait_s=0.0) == (1, {"timeout_s": 5})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"timeout_s = ", "is not valid TOML: Invalid value"),
        (b"timeout_s = 1\ntimeout_s = 2", "is not valid TOML: Cannot overwrite"),
        (b"\xff", "is not valid TOML: 'utf-8' codec can't decode"),
        (b"timeout_s = " + b"1" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"a = " + b"[" * 100_000, "is not valid TOML: "),
        (b"#" * (1024 * 1024 + 1), "is larger than 1048576 bytes"),
    ],
)
async def test_parameters_of_a_file_that_is_none_are_refused_in_one_line(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "parameters.toml"
    path.write_bytes(content)

    with pytest.raises(StoreRefusedError, match=complaint) as raised:
        await FileParameters(path).parameters(index=0, wait_s=0.0)

    assert "\n" not in str(raised.value)


async def test_parameters_in_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="cannot be read: Is a directory"):
        await FileParameters(tmp_path).parameters(index=0, wait_s=0.0)


async def test_pipe_in_place_of_the_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with anyio.fail_after(10), pytest.raises(StoreRefusedError, match="cannot be read: it is a pipe"):
        await FileParameters(tmp_path / "pipe").parameters(index=0, wait_s=0.0)


async def test_parameters_that_were_broken_for_a_while_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("timeout_s = 5")
    store = FileParameters(path)
    await store.parameters(index=0, wait_s=0.0)
    path.write_text("timeout_s = ")
    with pytest.raises(StoreRefusedError):
        await store.parameters(index=0, wait_s=0.0)

    path.write_text("timeout_s = 5")

    assert await store.parameters(index=0, wait_s=0.0) == (1, {"timeout_s": 5})


async def test_file_that_breaks_while_it_is_waited_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("timeout_s = 5")
    store = FileParameters(path, poll_s=0.01)
    await store.parameters(index=0, wait_s=0.0)

    async def wait() -> None:
        with pytest.raises(StoreRefusedError):
            await store.parameters(index=1, wait_s=60.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.02)
        path.write_text("timeout_s = ")


async def test_question_with_an_index_of_another_process_is_answered_at_once(tmp_path: Path) -> None:
    path = tmp_path / "parameters.toml"
    path.write_text("timeout_s = 5")

    with anyio.fail_after(30):
        assert (await FileParameters(path).parameters(index=17, wait_s=60.0))[0] == 1
