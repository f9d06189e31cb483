"""A stub of the Claude agent's program: it speaks the stream-json protocol and says what it is told to say.

`install` writes it as an executable of its own, which imports nothing of ours, into a folder that also keeps what each
run saw: its arguments, its environment, what was said to it, and its instructions.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["StubAgent", "assistant", "install", "limited", "result", "started"]

VERSION: Final = "2.1.330"

_PROGRAM: Final = """#!{python} -IS
import json, os, signal, sys, time

folder = {folder!r}
script = json.load(open(folder + "/script.json"))
run = {{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "heard": []}}
if "--system-prompt-file" in sys.argv:
    run["instructions"] = open(sys.argv[sys.argv.index("--system-prompt-file") + 1]).read()

def note():
    with open(folder + "/runs/%d.part" % os.getpid(), "w") as file:
        json.dump(run, file)
    os.rename(file.name, folder + "/runs/%d.json" % os.getpid())

def say(message):
    sys.stdout.write(message if isinstance(message, str) else json.dumps(message))
    sys.stdout.write("\\n")
    sys.stdout.flush()

if script["is_deaf"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if script["exits_at_once"]:
    note()
    sys.exit(3)
for line in sys.stdin:
    message = json.loads(line)
    run["heard"].append(message)
    if message["type"] == "control_request":
        answer = {{"subtype": "success", "request_id": message["request_id"], "response": {{"commands": []}}}}
        say({{"type": "control_response", "response": answer}})
    elif message["type"] == "user":
        note()
        if script["child"]:
            child = os.fork()
            if not child:
                time.sleep(600)
            run["child"] = child
            note()
        sys.stderr.write("debug: " + "x" * script["noise_bytes"])
        for said in script["said"]:
            say(said)
        time.sleep(script["hangs_s"])
        sys.exit(script["exit_code"])
"""


@dataclass(frozen=True, slots=True)
class StubAgent:
    """An installed stub; `path` is its program."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "claude"

    def runs(self) -> list[dict[str, Any]]:
        """Return what each run saw, the oldest first."""
        files = sorted((self.folder / "runs").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        return [json.loads(file.read_text()) for file in files]


def install(
    folder: Path,
    *said: object,
    exit_code: int = 0,
    hangs_s: float = 0.0,
    is_deaf: bool = False,
    exits_at_once: bool = False,
    child: bool = False,
    noise_bytes: int = 0,
) -> StubAgent:
    """Write a stub that answers every question in the same way.

    Args:
        folder: where.
        said: its lines, in order, as values or as they are.
        exit_code: how it ends.
        hangs_s: seconds before that, unless it is ended.
        is_deaf: whether it ignores the wish that it ends.
        exits_at_once: whether it ends with code 3 before it listens.
        child: whether it starts a process of its own, which sleeps.
        noise_bytes: how much it writes to its error output.
    """
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    script = {
        "said": list(said) or [started(), assistant("Because."), result("Because.")],
        "exit_code": exit_code,
        "hangs_s": hangs_s,
        "is_deaf": is_deaf,
        "exits_at_once": exits_at_once,
        "child": child,
        "noise_bytes": noise_bytes,
    }
    (folder / "script.json").write_text(json.dumps(script))
    agent = StubAgent(folder)
    agent.path.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
    agent.path.chmod(0o755)
    return agent


def started(*, version: str | None = VERSION, model: str = "claude-test-1") -> dict[str, Any]:
    return {"type": "system", "subtype": "init", "claude_code_version": version, "model": model, "session_id": "s"}


def assistant(text: str, *, error: str | None = None, model: str = "claude-test-1") -> dict[str, Any]:
    message = {"role": "assistant", "model": model, "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, "error": error, "session_id": "s"}


def limited(*, status: str = "rejected", resets_at: float | None = None) -> dict[str, Any]:
    info = {"status": status, "resetsAt": resets_at}
    return {"type": "rate_limit_event", "rate_limit_info": info, "uuid": "u", "session_id": "s"}


def result(text: str | None, **more: object) -> dict[str, Any]:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
        "service_tier": "standard",
    }
    return {
        "type": "result",
        "subtype": "success",
        "duration_ms": 1,
        "duration_api_ms": 1,
        "is_error": False,
        "num_turns": 1,
        "session_id": "s",
        "result": text,
        "usage": usage,
    } | more
