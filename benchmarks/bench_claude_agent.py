"""How long an agent lives on whose answer nobody waits for any more, and what it sees of our environment.

The agent is a stand-in that ignores that its input has ended, as one does that waits for an answer of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio
import claude_agent_sdk

from holdfast.adapters.inference.claude_agent import ClaudeAgentBackend, ClaudeAgentOptions
from holdfast.ports.inference import Message, Prompt, Role

_ROUNDS = 5
_AGENT = """#!{python} -IS
import json, os, sys, time
for line in sys.stdin:
    said = json.loads(line)
    if said["type"] == "control_request":
        answer = {{"subtype": "success", "request_id": said["request_id"], "response": {{}}}}
        print(json.dumps({{"type": "control_response", "response": answer}}), flush=True)
    else:
        with open({seen!r} + ".part", "w") as file:
            json.dump(sorted(os.environ), file)
        os.rename(file.name, {seen!r})
        time.sleep(600)
"""


async def _ask_by_the_sdk(program: Path) -> None:
    options = claude_agent_sdk.ClaudeAgentOptions(cli_path=program)
    async for _ in claude_agent_sdk.query(prompt="Why?", options=options):
        pass


async def _ask_by_the_adapter(program: Path) -> None:
    backend = ClaudeAgentBackend("agent", ClaudeAgentOptions(cli_path=program))
    await backend.complete(Prompt(messages=(Message(role=Role.USER, content="Why?"),)))


async def _measure(name: str) -> tuple[list[float], int]:
    """Return the seconds from each cancellation to the end of the agent, and how many variables it saw."""
    ask = {"SDK's own transport": _ask_by_the_sdk, "the adapter's": _ask_by_the_adapter}[name]
    took_s: list[float] = []
    variables = 0
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            program, seen = Path(folder) / "claude", Path(folder) / "seen.json"
            program.write_text(_AGENT.format(python=sys.executable, seen=str(seen)))
            program.chmod(0o755)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, program)
                while not seen.exists():  # noqa: ASYNC110 - another process writes it
                    await anyio.sleep(0.01)
                began_s = time.perf_counter()
                tasks.cancel_scope.cancel()
            took_s.append(time.perf_counter() - began_s)
            variables = len(json.loads(seen.read_text()))
    return took_s, variables


def main() -> bool:
    """Print the table; there is no budget."""
    print(f"\nAn agent that is cancelled  (claude-agent-sdk {claude_agent_sdk.__version__}, n = {_ROUNDS})")
    print(f"{'transport':24} {'median s':>9} {'fastest–slowest':>18} {'variables seen':>15} of {len(os.environ)}")
    for name in ("SDK's own transport", "the adapter's"):
        took_s, variables = anyio.run(_measure, name)
        spread = f"{min(took_s):.2f}–{max(took_s):.2f}"
        print(f"{name:24} {statistics.median(took_s):>9.2f} {spread:>18} {variables:>15}")
    return True


if __name__ == "__main__":
    sys.exit(not main())
