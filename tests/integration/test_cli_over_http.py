"""The command line in front of a real llama-server, and of one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.llama_server import LlamaServer
from tests.program import call, failures, results, write_questions

pytestmark = pytest.mark.slow

KEY = "sk-very-secret"


def test_run_answers_a_file_from_a_server_named_on_the_command_line(tmp_path: Path, llama_server: LlamaServer) -> None:
    write_questions(tmp_path, ["why?", "how?", "when?"])

    run = call(
        tmp_path,
        *("run", "in.jsonl", "--out", "out", "--backend", "openai", "--base-url", llama_server.url),
        *("--set", "backends.openai.max_tokens=16"),
    )

    assert run.returncode == 0, run.stderr
    answers = results(tmp_path)
    assert [answer["id"] for answer in answers] == ["q1", "q2", "q3"]
    assert {answer["backend"] for answer in answers} == {"openai"}
    assert all(answer["text"] for answer in answers)


def test_ask_answers_from_a_server_named_on_the_command_line(tmp_path: Path, llama_server: LlamaServer) -> None:
    options = ("--backend", "anthropic", "--base-url", llama_server.url, "--model", "tiny")

    asked = call(tmp_path, "ask", "why?", *options, "--set", "backends.anthropic.max_tokens=16")

    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()


def test_run_against_nobody_fails_each_item_with_its_reason(tmp_path: Path) -> None:
    write_questions(tmp_path, ["why?"])

    run = call(
        tmp_path,
        *("run", "in.jsonl", "--out", "out", "--backend", "openai", "--base-url", "http://127.0.0.1:1/v1"),
        *("--set", "guard.retry.max_attempts=1"),
    )

    [failure] = failures(tmp_path)
    assert run.returncode == 1
    assert "no connection" in str(failure)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "openai", "--base-url", "127.0.0.1:8080"], "backends.openai.base_url: must be like http://"),
        (["--backend", "opena"], "only_backend: 'opena' is none of the backends: extractive"),
        (["--base-url", "http://127.0.0.1:8080/v1"], "--base-url: needs --backend"),
        (
            ["--backend", "mine", "--base-url", "http://host"],
            "backends.mine.kind: is missing; set it to 'extractive' or ",
        ),
        (["--backend", "anthropic", "--base-url", "http://host"], "backends.anthropic.model: is missing"),
    ],
)
def test_ask_options_that_cannot_be_are_refused_in_one_line(tmp_path: Path, options: list[str], words: str) -> None:
    asked = call(tmp_path, "ask", "why?", *options)

    assert asked.returncode == 2
    assert words in asked.stderr
    assert len(asked.stderr.splitlines()) == 1


def test_doctor_shows_no_key(tmp_path: Path) -> None:
    toml = f'[backends.b]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\napi_key = "{KEY}"\n'
    (tmp_path / "holdfast.toml").write_text(toml)

    doctor = call(tmp_path, "doctor")

    assert doctor.returncode == 0, doctor.stderr
    assert "backends.b.api_key = **********  (holdfast.toml)" in doctor.stdout
    assert KEY not in doctor.stdout + doctor.stderr


def test_key_in_a_file_that_others_may_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o644)

    asked = call(
        tmp_path,
        *("ask", "why?", "--backend", "openai", "--base-url", "http://127.0.0.1:1/v1"),
        *("--set", "backends.openai.api_key_file=key"),
    )

    assert asked.returncode == 2
    assert "backends.openai.api_key_file: key: is open to others; chmod 600 it" in asked.stderr
    assert KEY not in asked.stderr
