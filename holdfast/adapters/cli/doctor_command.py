"""``holdfast doctor``.

Responsibility: show the settings with their source, what each adapter can reach, and free memory.
Guarantees: one line for each, so that grep finds it.
Not responsible for: what is checked, and keeping secrets out: see `holdfast.ports.application.Diagnosis`.
"""

from __future__ import annotations

import anyio

from holdfast.adapters.cli.documents import diagnosis_document
from holdfast.adapters.cli.exit_codes import ExitCode
from holdfast.adapters.cli.figures import size
from holdfast.adapters.cli.streams import one_line, write_json, write_out
from holdfast.ports.application import Application, Diagnosis

__all__ = ["show_diagnosis"]


def show_diagnosis(application: Application, *, as_json: bool) -> ExitCode:
    """Write how things are, and return `ExitCode.FAILED` if a check did not pass.

    Raises:
        HoldfastError: as `Application.diagnose`.
    """
    diagnosis = anyio.run(application.diagnose)
    if as_json:
        write_json(diagnosis_document(diagnosis))
    else:
        write_out("".join(f"{one_line(line)}\n" for line in _lines(diagnosis)))
    return ExitCode.COMPLETE if all(check.passed for check in diagnosis.checks) else ExitCode.FAILED


def _lines(diagnosis: Diagnosis) -> list[str]:
    return [
        "Settings",
        *(f"  {setting.path} = {setting.value}  ({setting.source})" for setting in diagnosis.settings),
        "Checks",
        *(f"  {'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}" for check in diagnosis.checks),
        f"Free memory: {size(diagnosis.available_memory_bytes)}",
    ]
