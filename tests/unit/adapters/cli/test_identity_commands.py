"""``holdfast identity``, in front of the desks that it is shipped with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdfast.adapters.cli import build_identity_app
from holdfast.application.identity_desk import FileKeyDesk, FileTrustDesk
from holdfast.ports.identity_desk import KeyDesk, TrustDesk

NOW_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _desks() -> tuple[KeyDesk, TrustDesk]:
    return FileKeyDesk(), FileTrustDesk(unix_s=lambda: NOW_S)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(build_identity_app(_desks), arguments)


def done(*arguments: str) -> str:
    """Return what a command printed that went well."""
    result = call(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result
    return result.stdout


def refused(*arguments: str) -> str:
    """Return the one line that a refusal consists of."""
    result = call(*arguments)
    assert result.exit_code == 2, result
    assert result.stdout == ""
    assert result.stderr.startswith("holdfast: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("holdfast: ").rstrip()


def new(name: str) -> str:
    return done("new", name).rstrip()


def signed(content: str = "hello") -> str:
    did = new("id.pem")
    Path("file").write_text(content)
    Path("file.sig").write_text(done("sign", "id.pem", "file"))
    return did


def test_new_prints_the_did_and_nothing_else() -> None:
    printed = done("new", "id.pem")

    assert printed.startswith("did:key:z6Mk")
    assert len(printed) == 57
    assert printed.endswith("\n")


def test_new_over_an_existing_key_is_refused() -> None:
    new("id.pem")

    assert refused("new", "id.pem") == "id.pem: exists already; a key is never written over, so choose another name"


def test_show_prints_the_did_that_new_printed() -> None:
    did = new("id.pem")

    assert done("show", "id.pem") == f"{did}\n"


def test_show_of_a_missing_key_is_refused() -> None:
    assert refused("show", "id.pem") == "id.pem: No such file or directory"


def test_show_of_a_key_that_others_can_read_is_refused(folder: Path) -> None:
    new("id.pem")
    (folder / "id.pem").chmod(0o644)

    assert refused("show", "id.pem").startswith("id.pem: can be read or written by others; make a new key")


@pytest.mark.parametrize("path", [".", "/dev/zero", "pipe"])
def test_show_of_what_is_no_file_is_refused(path: str) -> None:
    os.mkfifo("pipe", 0o600)

    assert refused("show", path) == f"{path}: is no regular file"


def test_show_of_a_path_that_would_steer_the_terminal_is_refused_in_one_harmless_line() -> None:
    assert refused("show", "a\nb\x1b[31m") == "a b\N{REPLACEMENT CHARACTER}[31m: No such file or directory"


def test_sign_prints_the_same_signature_each_time() -> None:
    signed()

    assert Path("file.sig").read_text() == done("sign", "id.pem", "file")
    assert len(done("sign", "id.pem", "file")) == 87


def test_sign_of_a_missing_file_is_refused() -> None:
    new("id.pem")

    assert refused("sign", "id.pem", "file") == "file: No such file or directory"


def test_verify_signed_file_says_by_whom() -> None:
    did = signed()

    assert done("verify", did, "file", "file.sig") == f"Signed by {did}\n"


def test_verify_file_that_was_changed_ends_with_1() -> None:
    did = signed()
    Path("file").write_text("hello!")

    result = call("verify", did, "file", "file.sig")

    assert (result.exit_code, result.stdout) == (1, f"NOT signed by {did}\n")


def test_verify_against_no_did_is_refused() -> None:
    signed()

    assert refused("verify", "alice", "file", "file.sig") == (
        "not the did:key of an Ed25519 key: its length is 5, not 56"
    )


def test_verify_with_no_signature_is_refused() -> None:
    did = signed()

    assert refused("verify", did, "file", "file") == ("file: is no signature, which is 86 characters of base64url")


def test_trust_of_a_missing_list_is_refused() -> None:
    assert refused("trust", "trust.json") == "trust.json: No such file or directory"


def test_trust_of_an_empty_list_says_that_nobody_is_trusted() -> None:
    Path("trust.json").write_text('{"version": 1, "trusted": []}')

    assert done("trust", "trust.json") == "Nobody is trusted.\n"
    assert json.loads(done("trust", "trust.json", "--json")) == {"identities": []}


def test_trust_somebody_prints_what_is_known_now() -> None:
    did = new("id.pem")

    assert done(
        "trust", "trust.json", did, "--role", "asks", "--role", "answers", "--not-before", "2027-01-01",
        "--not-after", "2028-01-01T12:30:00+01:00",
    ) == f"{did}  trusted  as answers, asks  from 2027-01-01T00:00:00Z  until 2028-01-01T11:30:00Z\n"  # fmt: skip


def test_trust_lists_everybody_with_their_standing() -> None:
    trusted, later, revoked, never = sorted(new(f"{number}.pem") for number in range(4))
    done("trust", "trust.json", trusted, "--role", "asks")
    done("trust", "trust.json", later, "--role", "asks", "--not-before", "2027-02-01T12:00")
    done("trust", "trust.json", revoked, "--role", "asks")
    done("trust", "trust.json", revoked, "--revoke")
    done("trust", "trust.json", never, "--revoke")

    assert done("trust", "trust.json").splitlines() == [
        f"{trusted}  trusted  as asks",
        f"{later}  not trusted now  as asks  from 2027-02-01T12:00:00Z",
        f"{revoked}  revoked  as asks",
        f"{never}  revoked  as nothing",
    ]


def test_trust_as_json_has_all_that_is_known() -> None:
    did = new("id.pem")

    assert json.loads(done("trust", "trust.json", did, "--role", "asks", "--not-after", "2028-01-01", "--json")) == {
        "identities": [
            {
                "did": did,
                "roles": ["asks"],
                "not_before_s": None,
                "not_after_s": 1_830_297_600,
                "revoked": False,
                "trusted_now": True,
            }
        ]
    }


def test_trust_somebody_revoked_is_refused() -> None:
    did = new("id.pem")
    done("trust", "trust.json", did, "--revoke")

    assert refused("trust", "trust.json", did, "--role", "asks") == (
        f"{did} is revoked, and stays so; trust a new identity instead"
    )


def test_rotate_and_trust_give_the_place_to_the_new_key() -> None:
    old, fresh = new("old.pem"), new("new.pem")
    done("trust", "trust.json", old, "--role", "asks")
    Path("statement").write_text(done("rotate", "old.pem", "new.pem"))

    assert done("trust", "trust.json", "--rotation", "statement").splitlines() == [
        f"{old}  revoked  as asks",
        f"{fresh}  trusted  as asks",
    ]
    assert refused("trust", "trust.json", "--rotation", "statement") == (
        f"{old} is not trusted, and so has no place to give"
    )


def test_rotate_to_the_same_key_is_refused() -> None:
    did = new("id.pem")

    assert refused("rotate", "id.pem", "id.pem") == f"{did} cannot give its place to itself; make a new identity"


DID = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((DID,), "--role: say at least one, or --revoke"),
        ((DID, "--not-after", "2028-01-01"), "--role: say at least one, or --revoke"),
        (("--role", "asks"), "DID: say whom you mean, after the list"),
        (("--not-before", ""), "DID: say whom you mean, after the list"),
        (("--revoke",), "DID: say whom you mean, after the list"),
        ((DID, "--revoke", "--role", "asks"), "--revoke: is for good and for every role; leave out roles and times"),
        ((DID, "--revoke", "--not-after", "2028-01-01"), "--revoke: is for good and for every role; leave out roles"),
        ((DID, "--rotation", "s"), "--rotation: says by itself who is meant; leave out everything else"),
        (("--rotation", "s", "--revoke"), "--rotation: says by itself who is meant; leave out everything else"),
        (("--rotation", "s", "--role", "asks"), "--rotation: says by itself who is meant; leave out everything else"),
        (("--rotation", "s"), "s: No such file or directory"),
        (("alice", "--role", "asks"), "not the did:key of an Ed25519 key: its length is 5, not 56"),
        (("alice", "--revoke"), "not the did:key of an Ed25519 key: its length is 5, not 56"),
        ((DID, "--role", "Asks"), "trust.roles: must be up to 64 lower-case letters"),
        ((DID, "--role", "a", "--not-before", "soon"), "--not-before: must be a date such as 2027-01-31"),
        ((DID, "--role", "a", "--not-after", ""), "--not-after: must be a date such as 2027-01-31"),
        ((DID, "--role", "a", "--not-before", "1969-01-01"), "trust.not_before_s: must be from 1970 to 9999"),
        ((DID, "--role", "a", "--not-after", "9999-12-31T23:59:59-12:00"), "trust.not_after_s: must be from 1970"),
        (
            (DID, "--role", "a", "--not-before", "2028-01-01", "--not-after", "2027-01-01"),
            "trust.not_after_s: must be later than trust.not_before_s",
        ),
    ],
)
def test_trust_with_arguments_that_are_wrong_is_refused_and_writes_nothing(
    arguments: tuple[str, ...], line: str
) -> None:
    assert refused("trust", "trust.json", *arguments).startswith(line)
    assert not Path("trust.json").exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "trust.json: is no JSON from line 1, column 1 on"),
        ("[" * 100_000, "trust.json: is nested too deep"),
        ('{"version": 1, "trusted": [], "trusted": []}', "trust.json: has a key twice in one object"),
        ('{"version": 1, "trusted": [{"did": "x", "roles": []}]}', "trust.json: entry 1: not the did:key"),
    ],
)
def test_trust_of_a_broken_list_is_refused_and_leaves_it(content: str, line: str) -> None:
    Path("trust.json").write_text(content)

    assert refused("trust", "trust.json").startswith(line)
    assert refused("trust", "trust.json", DID, "--role", "asks").startswith(line)
    assert Path("trust.json").read_text() == content


def test_no_command_prints_anything_of_the_private_key(folder: Path) -> None:
    did = signed()
    new("new.pem")
    printed = [
        *(call(*arguments).output for arguments in (
            ("show", "id.pem"),
            ("sign", "id.pem", "file"),
            ("verify", did, "id.pem", "file.sig"),
            ("verify", did, "file", "id.pem"),
            ("rotate", "id.pem", "new.pem"),
            ("rotate", "id.pem", "file"),
            ("trust", "id.pem"),
            ("trust", "trust.json", "--rotation", "id.pem"),
            ("new", "id.pem"),
        )),
    ]  # fmt: skip
    secret = (folder / "id.pem").read_text().splitlines()[1]

    assert [output for output in printed if secret[-20:] in output or "PRIVATE" in output] == []
