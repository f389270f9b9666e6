"""What docs/lab.md shows runs, and what it names is there."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from hypercbt.lab import Quirks
from hypercbt.lab.wire.options import WireOptions

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_the_python_of_the_document_runs(tmp_path: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_switch_of_the_host_is_in_the_list_of_quirks() -> None:
    _, _, quirks = DOCUMENT.partition("## Quirks")
    missing = {field.name for field in fields(Quirks)} - set(
        re.findall(r"`(\w+)`", quirks)
    )
    assert missing == set()


def test_every_switch_in_the_list_of_quirks_is_one() -> None:
    _, _, quirks = DOCUMENT.partition("## Quirks")
    quirks, _, _ = quirks.partition("## One disk alone")
    rows = [row.split("|") for row in quirks.splitlines() if row.startswith("|")]
    named = {name for row in rows[2:] for name in re.findall(r"`([a-z_]+)`", row[4])}
    known = {field.name for kind in (Quirks, WireOptions) for field in fields(kind)}
    assert named - known <= {"add_vm", "version"}


def test_all_quirks_are_in_the_list() -> None:
    for number in range(1, 36):
        assert f"| Q{number} |" in DOCUMENT
