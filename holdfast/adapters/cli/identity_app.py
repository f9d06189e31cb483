"""``holdfast identity``.

Responsibility: turn the arguments of its commands into calls of the driving ports.
Guarantees: importing it loads no cryptography, no settings and no event loop, so that ``--help`` stays quick.
Not responsible for: what is printed: see `key_commands` and `trust_command` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from holdfast.adapters.cli.error_exit import errors_to_exit
from holdfast.ports.identity_desk import KeyDesk, TrustDesk

__all__ = ["build_identity_app"]

# readable=False: the application opens paths, and refuses one in one line.
_Key = Annotated[Path, typer.Argument(metavar="KEY", help="The file with the private key.", readable=False)]
_OldKey = Annotated[Path, typer.Argument(metavar="OLD", help="The key file that is given up.", readable=False)]
_NewKey = Annotated[Path, typer.Argument(metavar="NEW", help="The key file that takes its place.", readable=False)]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="What is signed.", readable=False)]
_Signature = Annotated[
    Path, typer.Argument(metavar="SIGNATURE", help="A file with what `sign` printed.", readable=False)
]
_Did = Annotated[str, typer.Argument(metavar="DID", help="Who shall have signed, as `show` prints it.")]
_Trust = Annotated[Path, typer.Argument(metavar="TRUST", help="The file with the list.", readable=False)]
_SomeDid = Annotated[str | None, typer.Argument(metavar="DID", help="Whom to trust or to revoke.")]
_Roles = Annotated[list[str], typer.Option("--role", metavar="ROLE", help="What it may act as; again for more.")]
_NotBefore = Annotated[
    str | None, typer.Option(metavar="TIME", help="Trusted from then on, such as 2027-01-31 or 2027-01-31T12:00; UTC.")
]
_NotAfter = Annotated[str | None, typer.Option(metavar="TIME", help="Trusted until then.")]
_Revoke = Annotated[bool, typer.Option("--revoke", help="Trust it no more, for good.")]
_Rotation = Annotated[
    Path | None,
    typer.Option(metavar="STATEMENT", help="A file with what `rotate` printed; applies it.", readable=False),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def build_identity_app(open_desks: Callable[[], tuple[KeyDesk, TrustDesk]]) -> typer.Typer:
    """Return the commands.

    Args:
        open_desks: returns what does the work; called once by each command.
    """
    app = typer.Typer(
        help="Make identities, sign with them, and say who is trusted.", no_args_is_help=True, rich_markup_mode=None
    )

    @app.command()
    def new(key: _Key) -> None:
        """Make a new identity in a file, and print its DID.

        The private key is in the file KEY, for its owner only, and nowhere else.
        """
        with errors_to_exit():
            from holdfast.adapters.cli.key_commands import create_key  # noqa: PLC0415 - loads an event loop

            create_key(open_desks()[0], key)

    @app.command()
    def show(key: _Key) -> None:
        """Print the DID of an identity."""
        with errors_to_exit():
            from holdfast.adapters.cli.key_commands import show_did  # noqa: PLC0415 - as above

            show_did(open_desks()[0], key)

    @app.command()
    def sign(key: _Key, file: _File) -> None:
        """Print the signature of a file."""
        with errors_to_exit():
            from holdfast.adapters.cli.key_commands import sign_file  # noqa: PLC0415 - as above

            sign_file(open_desks()[0], key, file)

    @app.command()
    def verify(did: _Did, file: _File, signature: _Signature) -> None:
        """Say whether a file was signed by DID.

        Whether that one is trusted is not asked. Exit codes: 0 it was, 1 it was not, 2 bad usage or input.
        """
        with errors_to_exit():
            from holdfast.adapters.cli.key_commands import verify_file  # noqa: PLC0415 - as above

            raise typer.Exit(verify_file(open_desks()[0], did, file, signature))

    @app.command()
    def rotate(old: _OldKey, new: _NewKey) -> None:
        """Print a statement that an identity gives its place to another.

        Whoever trusts the old one applies it to their list with `trust --rotation`.
        """
        with errors_to_exit():
            from holdfast.adapters.cli.key_commands import print_rotation  # noqa: PLC0415 - as above

            print_rotation(open_desks()[0], old, new)

    @app.command()
    def trust(  # noqa: PLR0913 - one for each argument of the command
        trust: _Trust,
        did: _SomeDid = None,
        *,
        roles: _Roles = [],  # noqa: B006 - typer's way to say none
        not_before: _NotBefore = None,
        not_after: _NotAfter = None,
        revoke: _Revoke = False,
        rotation: _Rotation = None,
        as_json: _Json = False,
    ) -> None:
        """List who is trusted, or change the list.

        With DID and --role, that identity is trusted from now on; with DID and --revoke, no more; with --rotation, one
        takes the place of another. A list that is missing is made.
        """
        with errors_to_exit():
            from holdfast.adapters.cli.trust_command import TrustOrder, carry_out  # noqa: PLC0415 - as above

            order = TrustOrder(
                did=did, roles=roles, not_before=not_before, not_after=not_after, revoke=revoke, rotation=rotation
            )
            carry_out(open_desks()[1], trust, order, as_json=as_json)

    return app
