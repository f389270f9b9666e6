"""What tracking costs a writer, through NBD with fio. `make tracking`, or `python benches/tracking.py`.

The same server serves two equal disks, one with a tracker and one without, and fio writes the same to
both. Two states of the tracker are told apart:

* cold: no region was written to since the tracker's files were written last, so the first write to
  each of them (2 MiB) waits until its mark is durable: every second of the sequential writes, and
  nine of ten random ones;
* warm: every region has its mark already.

Each number is the median of HYPERCBT_TRACKING_PAIRS (20) pairs, run one after the other and in turns
the one or the other first. CPU is that of the server's process, user and system, per write.

What is asserted: fio reads back what it wrote; the tracker reports exactly the places of fio's own log of its
writes, on its grid; and each first touch of a region cost one sync, for nobody waited beside it.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from hypercbt import Extents

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
GRAIN, REGION = 4 * KIB, 2 * MIB
DISK_BYTES = 4 * GIB
PAIRS = int(os.environ.get("HYPERCBT_TRACKING_PAIRS", "20"))
EXAMPLE = ["--release", "--package", "hypercbt-nbd", "--example", "tracking_cost"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """How fio writes."""

    name: str
    words: tuple[str, ...]
    block: int
    writes: int


PATTERNS = (
    Pattern("sequential 1 MiB", ("--rw=write",), MIB, 128),
    Pattern("random 64 KiB", ("--rw=randwrite",), 64 * KIB, 512),
    Pattern("random 4 KiB + fsync", ("--rw=randwrite", "--fsync=1"), 4 * KIB, 512),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one write took, in microseconds: CPU of the server, and time of the client."""

    cpu: float
    elapsed: float


class Server:
    """The server of one disk. It is ended where the block is left."""

    def __init__(self, program: Path, kind: str, disk: Path) -> None:
        self.socket = disk.with_suffix(".sock")
        self._process = subprocess.Popen(
            [program, kind, disk, self.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == {"ready": True}

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._read()

    @property
    def cpu_seconds(self) -> float:
        """What the process has used so far, all threads, user and system, to the nanosecond."""
        # The clock of another process, as clock_getcpuclockid(3) makes its number.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def stop(self) -> None:
        """Stop it; it must have answered every request well."""
        served = self.ask("stop")
        assert served["failed"] == 0, served
        assert self._process.wait(60) == 0

    def kill(self) -> None:
        """End it in any case."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        document: dict[str, Any] = json.loads(line)
        return document


@contextmanager
def served(program: Path, kind: str, folder: Path) -> Iterator[Server]:
    """Serve a new disk."""
    disk = folder / f"{kind}.vhdx"
    subprocess.run([program, "create", disk, str(DISK_BYTES)], check=True)
    server = Server(program, kind, disk)
    try:
        yield server
        server.stop()
    finally:
        server.kill()


def fio(
    server: Server, pattern: Pattern, seed: int, folder: Path, *more: str
) -> dict[str, Any]:
    """Run fio and return what it says of its one job; nothing may have failed."""
    report = folder / "fio.json"
    # Sequential writes begin anywhere on the grid of their own size; random ones go anywhere at all.
    start = random.Random(seed).randrange(
        (DISK_BYTES - pattern.writes * pattern.block) // MIB
    )
    offset = start * MIB if pattern.words == ("--rw=write",) else 0
    subprocess.run(
        [
            *("fio", "--name=writes", "--ioengine=nbd", "--iodepth=1"),
            f"--uri=nbd+unix:///?socket={server.socket}",
            *pattern.words,
            *(f"--bs={pattern.block}", f"--offset={offset}"),
            f"--size={DISK_BYTES - offset}",
            f"--io_size={pattern.writes * pattern.block}",
            *(f"--randseed={seed}", "--allrandrepeat=1", "--verify=crc32c"),
            # Or it would leave a file of its state where it stands.
            "--verify_state_save=0",
            *("--output-format=json", f"--output={report}", *more),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (job,) = json.loads(report.read_text())["jobs"]
    assert job["error"] == 0, job
    found: dict[str, Any] = job
    return found


def write(
    server: Server, pattern: Pattern, seed: int, folder: Path, *more: str
) -> Cost:
    """Write once and return what it cost."""
    before = server.cpu_seconds
    job = fio(server, pattern, seed, folder, "--do_verify=0", *more)
    cpu = server.cpu_seconds - before
    count = job["write"]["total_ios"]
    assert count == pattern.writes, count
    elapsed = job["write"]["lat_ns"]["mean"] / 1e3
    if "--fsync=1" in pattern.words:
        assert job["sync"]["total_ios"] >= count - 1, job["sync"]
        elapsed += job["sync"]["lat_ns"]["mean"] / 1e3
    return Cost(cpu / count * 1e6, elapsed)


def cold_and_warm(
    server: Server, tracked: bool, pattern: Pattern, seed: int, folder: Path
) -> tuple[Cost, Cost]:
    """Write the same twice, the first time where nothing has a mark; check what the tracker says."""
    log = folder / "writes.log"
    log.unlink(missing_ok=True)  # fio appends
    logging = f"--write_iolog={log}"
    if not tracked:
        cold = write(server, pattern, seed, folder, logging)
        return cold, write(server, pattern, seed, folder)
    sealed = server.ask("seal")["id"]
    server.ask("write-back")
    before = server.ask("stats")
    cold = write(server, pattern, seed, folder, logging)
    between = server.ask("stats")
    warm = write(server, pattern, seed, folder)
    after = server.ask("stats")
    written = logged(log)
    regions = written.align(REGION).total_bytes // REGION
    for count in ("first_touches", "mark_syncs", "marks_written"):
        assert between[count] - before[count] == regions, (count, before, between)
        assert after[count] == between[count], (count, between, after)
    answer = server.ask(f"changes {sealed}")
    changes = Extents([tuple(pair) for pair in answer["changes"]])
    assert changes == written.align(GRAIN), "the tracker reports other places"
    return cold, warm


def logged(log: Path) -> Extents:
    """Return where fio wrote, by its own log."""
    lines = (line.split() for line in log.read_text().splitlines())
    return Extents(
        [(int(row[3]), int(row[4])) for row in lines if row[2:3] == ["write"]]
    )


def measure(program: Path, pattern: Pattern, folder: Path) -> None:
    """Run the pairs of one pattern and print their medians."""
    costs: dict[tuple[str, str], list[Cost]] = {}
    with (
        served(program, "untracked", folder) as plain,
        served(program, "tracked", folder) as tracked,
    ):
        servers = {"untracked": plain, "tracked": tracked}
        # One pair more than counted: the first fills caches.
        for pair in range(PAIRS + 1):
            order = sorted(servers, reverse=pair % 2 == 1)
            for kind in order:
                cold, warm = cold_and_warm(
                    servers[kind], kind == "tracked", pattern, pair, folder
                )
                if pair:
                    costs.setdefault((kind, "cold"), []).append(cold)
                    costs.setdefault((kind, "warm"), []).append(warm)
        for server in servers.values():
            verified = fio(server, pattern, PAIRS, folder, "--verify_only")
            assert verified["read"]["total_ios"] == pattern.writes, verified["read"]
    for state in ("cold", "warm"):
        show(pattern, state, costs["untracked", state], costs["tracked", state])


HEADER = (
    f"{'':30}{'CPU of the server a write':^36}   {'time of a write':^24}\n"
    f"{'':30}{'untracked':>12}{'tracked':>12}{'more':>12}   {'untracked':>12}{'tracked':>12}   (µs)"
)


def show(pattern: Pattern, state: str, plain: list[Cost], tracked: list[Cost]) -> None:
    """Print the medians: of each kind, and of the difference within each pair."""
    more = median(
        with_.cpu - without.cpu for with_, without in zip(tracked, plain, strict=True)
    )
    cpu = [median(cost.cpu for cost in costs) for costs in (plain, tracked)]
    elapsed = [median(cost.elapsed for cost in costs) for costs in (plain, tracked)]
    print(
        f"{pattern.name:22}{state:8}{cpu[0]:12.1f}{cpu[1]:12.1f}{more:+12.1f}   "
        f"{elapsed[0]:12.1f}{elapsed[1]:12.1f}",
        flush=True,
    )


def main() -> int:
    """Build the server and measure each pattern on new disks."""
    missing = [name for name in ("fio", "cargo") if shutil.which(name) is None]
    if missing:
        print(
            f"there is no {', '.join(missing)} here (fio: apt-get install fio)",
            file=sys.stderr,
        )
        return 2
    root = Path(__file__).parents[1]
    subprocess.run(["cargo", "build", "--quiet", *EXAMPLE], cwd=root, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    program = target / "release" / "examples" / "tracking_cost"
    print(f"median of {PAIRS} interleaved pairs, {DISK_BYTES // GIB} GiB fixed VHDX")
    print(HEADER, flush=True)
    for pattern in PATTERNS:
        with tempfile.TemporaryDirectory() as folder:
            measure(program, pattern, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
