"""Storage that is full or read-only, as the system itself reports it.

A small file system is mounted in a namespace of the test's own, where that is allowed.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import write_disk

NAMESPACE = ["unshare", "--user", "--mount", "--map-root-user"]
CLI = (
    f"{sys.executable} -c 'import sys; from hypercbt.cli import main; sys.exit(main())'"
)


@pytest.fixture(autouse=True, scope="module")
def mounts_are_allowed() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("mounting in a namespace is not allowed here")


def in_namespace(folder: Path, script: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a shell script over a file system of 4 MiB at ./small; return its documents."""
    (folder / "small").mkdir()
    text = f"""
        set -eu
        hypercbt() {{ {CLI} "$@" --json; }}
        mount -t tmpfs -o size=4m none small
        {script}
    """
    result = subprocess.run(
        [*NAMESPACE, "sh", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    decoder, rest, documents = json.JSONDecoder(), result.stdout.strip(), []
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].strip()
    return result.returncode, documents


def test_a_repository_that_gets_full_loses_nothing_and_says_so(tmp_path: Path) -> None:
    write_disk(tmp_path / "small.raw", 2 << 20)
    write_disk(tmp_path / "large.raw", 64 << 20, seed=2)
    code, documents = in_namespace(
        tmp_path,
        """
        hypercbt init -r small/repository
        hypercbt backup small.raw -r small/repository
        hypercbt backup large.raw -r small/repository && exit 99
        find small/repository/tmp -type f | grep . && exit 98
        hypercbt verify -r small/repository
        hypercbt restore small@latest out.raw -r small/repository
        cmp small.raw out.raw
        hypercbt points -r small/repository
        """,
    )
    assert code == 0, documents
    error = documents[2]["error"]
    assert (error["type"], error["exit_code"]) == ("RepositoryFullError", 4)
    assert documents[3]["clean"] is True
    assert [point["name"] for point in documents[-1]["points"]] == ["small"]


def test_a_repository_that_is_read_only_is_out_of_reach_but_readable(
    tmp_path: Path,
) -> None:
    write_disk(tmp_path / "small.raw", 2 << 20)
    code, documents = in_namespace(
        tmp_path,
        """
        hypercbt init -r small/repository
        hypercbt backup small.raw -r small/repository
        mount -o remount,ro small
        hypercbt backup small.raw -r small/repository && exit 99
        hypercbt delete small@latest -r small/repository && exit 98
        hypercbt verify -r small/repository
        hypercbt restore small@latest out.raw -r small/repository
        cmp small.raw out.raw
        """,
    )
    assert code == 0, documents
    for refused in documents[2:4]:
        assert refused["error"]["type"] == "RepositoryUnavailableError"
        assert refused["error"]["exit_code"] == 4
    assert documents[4]["clean"] is True


def test_a_restore_target_that_gets_full_leaves_no_file(tmp_path: Path) -> None:
    write_disk(tmp_path / "large.raw", 64 << 20)
    code, documents = in_namespace(
        tmp_path,
        """
        hypercbt init -r repository
        truncate -s 64M large.raw && head -c 16M /dev/urandom > noise
        dd if=noise of=large.raw conv=notrunc status=none
        hypercbt backup large.raw -r repository
        hypercbt restore large@latest small/out.raw -r repository && exit 99
        hypercbt restore large@latest small/out.vhdx -r repository && exit 98
        find small -type f | grep . && exit 97
        true
        """,
    )
    assert code == 0, documents
    for failed in documents[2:]:
        assert failed["error"]["type"] == "TargetError"
    assert len(documents) == 4
