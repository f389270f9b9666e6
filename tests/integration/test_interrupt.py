"""Ctrl-C and a reader that goes away, on the command line as a process."""

import json
import os
import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

import hypercbt
from hypercbt import Repository
from support import command, files_under, overwrite, write_disk
from support import hypercbt as hypercbt_command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")

DISK_BYTES = 512 << 20


@pytest.fixture(scope="module")
def large_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of half a gibibyte in which no two chunks are the same."""
    path = tmp_path_factory.mktemp("disk") / "web01.raw"
    noise = random.Random(7).randbytes(1 << 20)
    with path.open("wb") as file:
        for number in range(DISK_BYTES >> 20):
            file.write(number.to_bytes(8, "little") + noise[8:])
    return path


def interrupted(
    number: signal.Signals, repository: Repository, *arguments: str | Path
) -> tuple[int, str, float]:
    """Start a command, send the signal once it is at work, and say how it ended and how long it still worked.

    In seconds of its processor: how long a busy machine lets it wait is no matter of ours.
    """
    before = children_seconds()
    started = set(files_under(Path(repository.path, "lease")))
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # A backup's first durable act is its lease.
    while not set(files_under(Path(repository.path, "lease"))) - started:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    times = psutil.Process(process.pid).cpu_times()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    worked = children_seconds() - before - times.user - times.system
    return process.returncode, output, worked


def children_seconds() -> float:
    """How long all processes have worked that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]
)
def test_a_stopped_backup_leaves_no_point_and_no_temporary_file(
    tmp_path: Path, large_disk: Path, name: str, code: int
) -> None:
    number = signal.Signals[name]
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"whoever started us has ignored {name}")
    repository = Repository.create(tmp_path / "repository")
    small = tmp_path / "small.raw"
    state = write_disk(small)
    older = hypercbt.backup_disk(small, repository=repository)
    ended, output, seconds = interrupted(
        number, repository, "backup", large_disk, "-r", repository.path, "--json"
    )
    assert ended == code
    assert seconds < 1
    assert json.loads(output)["error"]["exit_code"] == code
    assert repository.points() == [older]
    assert files_under(Path(repository.path, "tmp")) == []
    assert older.open().read() == state
    assert repository.verify().clean


def test_a_stopped_backup_does_not_store_its_finished_packs_again(
    tmp_path: Path, large_disk: Path
) -> None:
    repository = Repository.create(tmp_path / "repository")
    packs = Path(repository.path, "pack")

    def stop_after_a_pack(*_: object) -> None:
        if any(packs.rglob("*/*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hypercbt.backup_disk(
            large_disk, repository=repository, progress=stop_after_a_pack
        )
    kept = sum(path.stat().st_size for path in packs.rglob("*") if path.is_file())
    assert kept > 0
    point = hypercbt.backup_disk(large_disk, repository=repository)
    assert point.stats.new_bytes <= DISK_BYTES - kept * 9 // 10
    assert repository.verify().clean


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository", chunk_size=64 << 10)
    disk = tmp_path / "disk.raw"
    write_disk(disk, 64 << 20)
    hypercbt.backup_disk(disk, repository=repository)
    overwrite(disk, *((n * (128 << 10), b"x") for n in range(512)))
    hypercbt.backup_disk(disk, repository=repository)
    first, second = (point.id for point in repository.points())
    for options in ([], ["--json"]):
        process = subprocess.Popen(
            command("diff", first, second, "-r", repository.path, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_output_that_cannot_be_written_is_an_error_without_a_traceback(
    tmp_path: Path, options: list[str]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    repository = Repository.create(tmp_path / "repository")
    with full.open("wb") as output:
        done = subprocess.run(
            command("points", "-r", repository.path, *options),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_backup_whose_name_the_output_cannot_show_is_done(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository")
    disk = tmp_path / "b\u00fcro.raw"
    write_disk(disk)
    done = hypercbt_command(
        "backup",
        disk,
        "-r",
        repository.path,
        # The name of a file is read in the locale's encoding, whatever the streams have.
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"},
    )
    assert done.exit_code == 0
    assert "of b?ro" in done.stdout


def test_streams_that_are_closed_are_no_bug_of_ours(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository")
    disk = tmp_path / "disk.raw"
    write_disk(disk)
    words = shlex.join(command("backup", disk, "-r", repository.path))
    assert subprocess.run(["sh", "-c", f"{words} >&-"], check=False).returncode == 0
    more = shlex.join(["--changes", "-", "--since", "disk@latest"])
    done = subprocess.run(
        ["sh", "-c", f"{words} {more} <&-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: there are no changes to read")
