"""The demo, on a small disk."""

import tempfile
from pathlib import Path

import pytest

from hypercbt.demo import DemoReport, Step, run_demo
from hypercbt.demo.file_systems import Archive
from support import hypercbt

SAMPLE_BYTES = 8 << 20


def check(report: DemoReport) -> None:
    assert report.passed, [check for check in report.checks if not check.passed]
    assert len(report.checks) == 20
    _, written, cut, moved, reverted = report.steps
    methods = [step.method for step in report.steps]
    assert methods == ["full", "rct", "rct", "rct", "compare"]
    for step in (written, cut, moved):
        assert step.claimed_bytes is not None
        assert step.changed_bytes is not None
        assert 0 < step.changed_bytes <= step.claimed_bytes < report.disk_bytes
        assert 0 < step.new_bytes <= step.read_bytes < report.disk_bytes
    # What survives a power cut is coarser.
    assert over_report(written) < over_report(cut)
    assert reverted.fallback_reason
    assert reverted.new_bytes == 0


def over_report(step: Step) -> float:
    """How much more was reported than had changed."""
    assert step.claimed_bytes is not None
    assert step.changed_bytes is not None
    return step.claimed_bytes / step.changed_bytes


def test_the_demo_tells_its_story_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said: list[str] = []
    check(run_demo(say=said.append, sample_bytes=SAMPLE_BYTES))
    assert any("backing up" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_works_without_e2fsprogs() -> None:
    said: list[str] = []
    archive = Archive("e2fsprogs is not installed")
    check(run_demo(say=said.append, sample_bytes=SAMPLE_BYTES, file_system=archive))
    assert said[0] == "e2fsprogs is not installed"


def test_the_command_prints_one_document() -> None:
    done = hypercbt("demo", "--sample", "4MiB", "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["passed"] is True
    assert len(done.document["map"]) == 8


def test_a_temporary_folder_that_is_too_small_is_said_before_anything_is_done() -> None:
    done = hypercbt("demo", "--sample", "100000GiB")
    assert done.exit_code == 2
    assert "the demo needs" in done.stderr
