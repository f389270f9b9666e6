"""Exit codes, and the one JSON document."""

import json
from pathlib import Path
from typing import NoReturn

import pytest

from hypercbt import errors
from hypercbt.cli import app as module
from hypercbt.cli.app import exit_code_of, run
from hypercbt.cli.outcome import Outcome
from hypercbt.repository import Repository


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.HypercbtError("x"), 1),
        (errors.IntegrityError("x"), 3),
        (errors.RepositoryFullError("x"), 4),
        (errors.PointNotFoundError("x"), 1),
        (ValueError("x"), 2),
        (TypeError("x"), 2),
        (OSError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_exception_says_the_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["bakup"],
        ["backup"],
        ["backup", "disk.vhdx"],
        ["backup", "disk.vhdx", "-r", "repo", "--bogus"],
        ["points", "one", "two", "-r", "repo"],
        ["restore", "aa", "out.raw", "-r", "repo", "--disk", "first"],
        ["init", "-r", "repo", "--chunk-size", "lots"],
    ],
)
def test_misuse_exits_with_two_and_still_one_document(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    text = capsys.readouterr()
    assert text.out == ""
    assert text.err.startswith("error: ")
    assert run([*arguments, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == 1
    assert document["error"]["exit_code"] == 2
    assert document["error"]["message"]


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(Repository, "open", failing)


def test_a_failure_is_one_document_with_its_type_and_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(errors.RepositoryFullError("no space [left]"), monkeypatch)
    assert run(["verify", "-r", "repo", "--json"]) == 4
    text = capsys.readouterr()
    assert json.loads(text.out) == {
        "format": 1,
        "error": {
            "type": "RepositoryFullError",
            "message": "no space [left]",
            "exit_code": 4,
        },
    }
    assert text.err == "error: no space [left]\n"


def test_ctrl_c_exits_with_130_and_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    assert run(["verify", "-r", "repo", "--json"]) == 130
    text = capsys.readouterr()
    assert json.loads(text.out)["error"]["type"] == "KeyboardInterrupt"
    assert text.err == "error: interrupted\n"


def test_our_own_bug_shows_where_it_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(ZeroDivisionError("oops"), monkeypatch)
    assert run(["verify", "-r", "repo"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_expected_error_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(errors.IntegrityError("chunk 00 is lost"), monkeypatch)
    assert run(["verify", "-r", "repo"]) == 3
    assert capsys.readouterr().err == "error: chunk 00 is lost\n"


def test_the_repository_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Path] = []

    def opening(path: Path) -> NoReturn:
        seen.append(path)
        raise errors.RepositoryNotFoundError("none")

    monkeypatch.setattr(Repository, "open", opening)
    monkeypatch.setenv("HYPERCBT_REPOSITORY", str(tmp_path))
    assert run(["verify"]) == 4
    assert seen == [tmp_path]


def test_help_and_version_exit_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert run(["backup", "--help"]) == 0
    assert "--changes" in capsys.readouterr().out
    assert run(["--version"]) == 0


def test_every_command_of_the_manual_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for name in (
        "init", "backup", "points", "show", "diff", "restore",
        "verify", "delete", "inspect", "demo",
    ):  # fmt: skip
        assert f" {name} " in text


def test_an_outcome_decides_the_exit_code_of_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Outcome({"format": 1}, lambda console: console.print("[found]"), 5)
    monkeypatch.setattr(module, "app", lambda _: found)
    assert run(["backup"]) == 5
    assert capsys.readouterr().out == "[found]\n"
    assert run(["backup", "--json"]) == 5
    assert json.loads(capsys.readouterr().out) == {"format": 1}
