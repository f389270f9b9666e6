"""Single files out of an NTFS, an ext4 and a FAT partition of a restore point, by the commands of docs/restore.md."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hypercbt import Repository, VirtualDisk, backup_disk
from integration.fuse import shown
from support import command

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="the commands are for a POSIX shell"
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "restore.md"
MIB = 1 << 20
PARTITIONS = """label: gpt
start=2048, size=65536, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
size=32768, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
size=16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
"""
"""NTFS of 32 MiB from 1 MiB on, ext4 of 16 MiB, FAT of 8 MiB."""
REPORT = random.Random(3).randbytes(3_000_000)
HOSTS = b"127.0.0.1 localhost\n" * 3
LOADER = b"timeout 3\n"
SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
"""Where the tools of file systems are, which is not where users look."""

SERVE = "A disk without restoring it"


@pytest.fixture(scope="module")
def tools() -> str:
    """The path of all programs, also of those that are the administrator's."""
    return os.pathsep.join([os.environ["PATH"], *SYSTEM_FOLDERS])


def need(tools: str, *programs: str) -> None:
    for program in programs:
        if shutil.which(program, path=tools) is None:
            pytest.skip(f"{program} is not installed")


def run(tools: str, folder: Path, *words: str, stdin: bytes = b"") -> None:
    done = subprocess.run(
        words,
        cwd=folder,
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "PATH": tools},
        timeout=60,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def disk(tools: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk as a machine would have it, made without mounting anything."""
    need(tools, "sfdisk", "mkntfs", "ntfscp", "mke2fs", "mformat", "mcopy")
    folder = tmp_path_factory.mktemp("disk")
    (folder / "root" / "etc").mkdir(parents=True)
    (folder / "root" / "etc" / "hosts").write_bytes(HOSTS)
    (folder / "report.docx").write_bytes(REPORT)
    (folder / "loader.conf").write_bytes(LOADER)
    for name, size in (("ntfs", 32), ("ext4", 16), ("fat", 8), ("web01", 64)):
        with (folder / f"{name}.img").open("wb") as file:
            file.truncate(size * MIB)
    run(tools, folder, "sfdisk", "--quiet", "web01.img", stdin=PARTITIONS.encode())
    run(tools, folder, "mkntfs", "--force", "--fast", "--quiet", "ntfs.img")
    # There is no tool that makes folders in an NTFS file system: the file goes to the top.
    run(tools, folder, "ntfscp", "--force", "ntfs.img", "report.docx", "report.docx")
    run(tools, folder, "mke2fs", "-q", "-t", "ext4", "-d", "root", "ext4.img")
    run(tools, folder, "mformat", "-i", "fat.img", "::")
    run(tools, folder, "mcopy", "-i", "fat.img", "loader.conf", "::/loader.conf")
    with (folder / "web01.img").open("r+b") as file:
        for name, at in (("ntfs", 1), ("ext4", 33), ("fat", 49)):
            file.seek(at * MIB)
            file.write((folder / f"{name}.img").read_bytes())
    return folder / "web01.img"


@pytest.fixture
def folder(disk: Path, short_path: Path) -> Path:
    """A folder with a repository that holds the disk, and the command line on its path."""
    with Repository.create(short_path / "backups") as repository:
        backup_disk(disk, repository=repository, name="web01")
    program = short_path / "bin" / "hypercbt"
    program.parent.mkdir()
    words = command()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"os.execv({words[0]!r}, {words!r} + sys.argv[1:])\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return short_path


def blocks(title: str, language: str = "sh") -> list[str]:
    """Return the code blocks below a heading, up to the next one."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (section,) = re.findall(
        rf"^##+ {re.escape(title)}$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def shell(tools: str, folder: Path, *parts: str) -> str:
    """Run commands as a user would type them, in one shell, and return what they print."""
    script = "".join(parts)
    for program in set(
        re.findall(r"^(?:.*\[ )?([a-z][\w-]+)(?= )", script, re.MULTILINE)
    ):
        if program not in ("hypercbt", "kill", "trap", "until", "wait"):
            need(tools, program)
    done = subprocess.run(
        ["/bin/bash", "-euc", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PATH": f"{folder / 'bin'}{os.pathsep}{tools}",
            "HYPERCBT_REPOSITORY": str(folder / "backups"),
        },
        timeout=120,
    )
    assert done.returncode == 0, script + done.stdout + done.stderr
    return done.stdout


def served(tools: str, folder: Path, *parts: str) -> str:
    """Run commands while the disk is served, by the document's own ways to begin and to end that."""
    start, _, end = blocks(SERVE)
    # Whatever goes wrong in between, nothing is left running.
    trap = "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n"
    return shell(tools, folder, trap, start, *parts, end)


def test_a_whole_disk_is_restored(tools: str, folder: Path, disk: Path) -> None:
    shell(tools, folder, *blocks("A whole disk"))
    with VirtualDisk.open(folder / "web01.vhdx") as restored:
        assert restored.read_at(0, restored.size) == disk.read_bytes()


def test_a_served_disk_is_looked_at_and_copied(
    tools: str, folder: Path, disk: Path
) -> None:
    said = served(tools, folder, blocks(SERVE)[1])
    assert "hole,zero" in said
    copy = folder / "copy.raw"
    assert copy.read_bytes() == disk.read_bytes()
    assert copy.stat().st_blocks * 512 < disk.stat().st_size / 2, "it stays sparse"
    assert not (folder / "disk.sock").exists()
    run(tools, folder, "qemu-img", "compare", "-q", "copy.raw", "copy.qcow2")


def test_a_guest_writes_to_an_overlay_and_the_point_stays_as_it_was(
    tools: str, folder: Path, disk: Path
) -> None:
    served(tools, folder, *blocks("A disk in use"))
    with Repository.open(folder / "backups") as repository:
        point = repository.latest("web01")
        assert point is not None
        with point.open() as file:
            assert file.read() == disk.read_bytes()


def test_the_partition_table_is_shown(tools: str, folder: Path) -> None:
    said = served(tools, folder, *blocks("Single files"))
    assert "start=        2048, size=       65536" in said
    assert said.count("type=") == 3


def test_files_are_read_by_fuse(tools: str, folder: Path) -> None:
    with shown(folder / "probe", "null", "1M"):
        pass  # it can be done here
    said = served(tools, folder, *on_top(blocks("By FUSE, copying nothing")))
    assert "report.docx" in said
    assert "/hosts/" in said
    assert (folder / "report.docx").read_bytes() == REPORT
    assert (folder / "hosts").read_bytes() == HOSTS
    assert (folder / "etc" / "hosts").read_bytes() == HOSTS


def test_files_are_read_from_copied_partitions(tools: str, folder: Path) -> None:
    served(tools, folder, *on_top(blocks("Without FUSE, copying one partition")))
    assert (folder / "report.docx").read_bytes() == REPORT
    assert (folder / "hosts").read_bytes() == HOSTS
    assert (folder / "loader.conf").read_bytes() == LOADER
    assert (folder / "windows.img").stat().st_blocks * 512 < 16 * MIB, (
        "only what it holds"
    )


def on_top(parts: list[str]) -> list[str]:
    """Put the file of the NTFS partition where the tests could put it: not into a folder."""
    return [part.replace("/Users/", "/").replace("/Users", "/") for part in parts]


@pytest.mark.parametrize("title", [SERVE, "In Python, with any parser"])
def test_the_python_of_the_document_runs(folder: Path, title: str) -> None:
    (code,) = blocks(title, "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
