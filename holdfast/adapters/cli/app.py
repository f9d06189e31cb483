"""The commands.

Responsibility: turn arguments into calls of the driving port, and what comes back into text and an exit code.
Guarantees: importing it loads no adapter, no settings, no rich and no event loop, so that ``--help`` stays quick.
Not responsible for: the work itself: see `holdfast.ports.application`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.adapters.cli.backend_options import choose_backend
from holdfast.adapters.cli.error_exit import errors_to_exit
from holdfast.adapters.cli.settings_option import parse_settings
from holdfast.ports.application import Application

__all__ = ["build_app"]

# readable=False: the application opens paths, and refuses one in one line.
_Input = Annotated[
    Path, typer.Argument(metavar="INPUT.jsonl", help="One JSON object a line, each with a question.", readable=False)
]
_Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the results are kept.", readable=False)]
_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder of a run.", readable=False)]
_Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What to answer.")]
_Persona = Annotated[str | None, typer.Option("--persona", metavar="NAME", help="Who answers; see personas.")]
_Backend = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="Ask this backend only; --base-url goes with openai and anthropic."),
]
_BaseUrl = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Its server, such as http://127.0.0.1:8080/v1.")
]
_Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Which of its models is asked.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
_RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run the items that failed, and only those.")]
_Rollback = Annotated[bool, typer.Option("--rollback", help="Undo the newest run, keeping a backup.")]
_Set = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="A setting, such as timeout_s=10; again for more.")
]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer passes it so
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - takes as long as everything else of this module

        typer.echo(version("holdfast"))
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)]


def build_app(load: Callable[[Mapping[str, Any]], Application]) -> typer.Typer:
    """Return the command line.

    Args:
        load: returns the application for the settings given as arguments; called once by each command.
    """
    app = typer.Typer(
        help="Keeps a service standing while it calls things that fail.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help in plain text: rich takes longer to load than everything else
    )

    @app.callback()
    def _main(*, _version: _Version = False) -> None:
        pass

    @app.command()
    def run(  # noqa: PLR0913 - one for each argument of the command
        input_path: _Input,
        *,
        out: _Out,
        backend: _Backend = None,
        base_url: _BaseUrl = None,
        model: _Model = None,
        retry_failed: _RetryFailed = False,
        rollback: _Rollback = False,
        quiet: _Quiet = False,
        as_json: _Json = False,
        settings: _Set = [],  # noqa: B006 - typer's way to say none
    ) -> None:
        """Answer a file of questions; killed and run again, it goes on.

        Each answer is saved before it is counted.

        Exit codes: 0 complete, 1 some items failed, 2 bad usage or input, 3 interrupted.
        """
        if rollback and retry_failed:
            raise typer.BadParameter("--rollback and --retry-failed exclude each other")
        with errors_to_exit():
            from holdfast.adapters.cli.run_command import choose_view, rollback_batch, run_batch  # noqa: PLC0415 - slow

            chosen = choose_backend(parse_settings(settings), backend=backend, base_url=base_url, model=model)
            application = load(chosen)
            view = choose_view(quiet=quiet, as_json=as_json)
            if rollback:
                rollback_batch(application, out, view=view)
            else:
                raise typer.Exit(run_batch(application, input_path, out, retry_failed=retry_failed, view=view))

    @app.command()
    def ask(  # noqa: PLR0913 - as above
        question: _Question,
        *,
        persona: _Persona = None,
        backend: _Backend = None,
        base_url: _BaseUrl = None,
        model: _Model = None,
        as_json: _Json = False,
        settings: _Set = [],  # noqa: B006 - as above
    ) -> None:
        """Answer one question, and say what the answer rests on."""
        with errors_to_exit():
            from holdfast.adapters.cli.ask_command import ask_question  # noqa: PLC0415 - as above

            chosen = choose_backend(parse_settings(settings), backend=backend, base_url=base_url, model=model)
            ask_question(load(chosen), question, persona=persona, as_json=as_json)

    @app.command()
    def status(folder: _Folder, *, as_json: _Json = False) -> None:
        """Show how far a run has come, also while it goes on."""
        with errors_to_exit():
            from holdfast.adapters.cli.status_command import show_status  # noqa: PLC0415 - as above

            show_status(load({}), folder, as_json=as_json)

    @app.command()
    def doctor(*, as_json: _Json = False, settings: _Set = []) -> None:  # noqa: B006 - as above
        """Show the settings with their sources, and check the adapters.

        It tells what each adapter can reach, and how much memory is free.
        """
        with errors_to_exit():
            from holdfast.adapters.cli.doctor_command import show_diagnosis  # noqa: PLC0415 - as above

            raise typer.Exit(show_diagnosis(load(parse_settings(settings)), as_json=as_json))

    return app
