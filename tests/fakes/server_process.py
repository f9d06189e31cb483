"""A real server that a test starts, kills, freezes and starts again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["ServerProcess", "wait_until"]


def wait_until(condition: Callable[[], bool], what: str, *, within_s: float = 30.0) -> None:
    """Return as soon as the condition holds; fail, saying what was waited for, when the time is over."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {within_s:g} s"
        time.sleep(0.01)


class ServerProcess:
    """One process, with its log beside its data.

    Args:
        name: What it is called in complaints.
        command: What starts it, again and again.
        folder: Where it runs and its log is written; exists already.
        is_ready: Whether it answers, asked again and again after each start.
    """

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path, *, is_ready: Callable[[], bool]) -> None:
        self.name = name
        self.folder = folder
        self._command = command
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it wrote since its first start."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._process is None, f"{self.name} runs already"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*map(str, self._command)], cwd=self.folder, stdout=log, stderr=log)
        try:
            wait_until(self._is_up, f"{self.name} answers")
        except BaseException:
            self.kill()
            raise

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended at once:\n{self.log[-2000:]}"
        return self._is_ready()

    def kill(self) -> None:
        """End it by SIGKILL, as a machine does that fails; nothing happens where it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Kill it and start it again, with the data in its folder if it keeps any."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it by SIGSTOP: its connections stay open and nothing answers from now on."""
        process = self._signal(signal.SIGSTOP)
        # Its threads end what they are in the midst of; the parent is told when the last one has stopped.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} does not run"
        self._process.send_signal(number)
        return self._process
