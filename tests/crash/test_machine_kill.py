"""kill -9 of a machine's run at each of its storage calls: two disks, a file, the point, the baseline.

After each: every older point is whole, the new one is whole or not there, whoever comes next can tell which
and close the lease, and the next incremental is right, from whatever baseline then stands.
"""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hypercbt import Repository
from hypercbt.documents import now_microseconds, parse_list
from hypercbt.lab import TrackedDisk

from .scene import ABORTED, count_calls
from .workers import Ended, Worker

CHUNK = 64 << 10
DISK_BYTES = 1 << 20
NAMES = ("one.vhdx", "two.vhdx")
PLACES = ("SCSI 0:0", "SCSI 0:1")


@dataclass
class Machine:
    """Two disks, a file of configuration, their repository, and what each point of it holds."""

    folder: Path
    contents: list[bytes] = field(default_factory=list)
    states: dict[str, list[bytes]] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    """The point that each disk was written to since."""
    changes: list[list[tuple[int, int]]] = field(default_factory=lambda: [[], []])

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def configuration(self) -> Path:
        return self.folder / "web01.vmcx"

    def copy(self, folder: Path) -> "Machine":
        """Return a copy that may be interrupted."""
        shutil.copytree(self.folder, folder)
        changes = [list(pairs) for pairs in self.changes]
        return Machine(
            folder, list(self.contents), dict(self.states), list(self.bases), changes
        )

    def write(self, which: int, offset: int, data: bytes) -> None:
        """Let a guest write."""
        with TrackedDisk.open(self.folder / NAMES[which]) as disk:
            disk.write_at(offset, data)
        content = bytearray(self.contents[which])
        content[offset : offset + len(data)] = data
        self.contents[which] = bytes(content)
        self.changes[which].append((offset, len(data)))

    def command(self) -> dict[str, Any]:
        """Return what a worker is to do: RCT wherever there is a base."""
        return {
            "files": [str(self.configuration)],
            "parts": [
                {
                    "file": str(self.folder / name),
                    "location": place,
                    "method": "rct" if self.bases else "full",
                    "changes": self.changes[number] if self.bases else None,
                    "base": self.bases[-1] if self.bases else None,
                }
                for number, (name, place) in enumerate(zip(NAMES, PLACES, strict=True))
            ],
        }

    def run(self, worker: Worker, abort_at: int | None = None) -> Ended:
        """Back the machine up."""
        return worker.run(
            "machine", self.repository, abort_at=abort_at, **self.command()
        )

    def bury(self, repository: Repository) -> str:
        """End what was killed, as the next run does, and say what stood."""
        leases = parse_list(repository.native.leases())
        for lease in leases:
            fenced = lease["state"] != "committed" and repository.native.fence(
                lease["run"], created=now_microseconds()
            )
            repository.native.close_lease(lease["run"], committed=not fenced)
        assert parse_list(repository.native.leases()) == []
        assert len(leases) <= 1
        return str(leases[0]["state"]) if leases else "none"

    def check(self) -> None:
        """Every point is whole; one that is new holds what the disks hold. From then on it is the base."""
        with Repository.open(self.repository) as repository:
            points = repository.points()
            assert self.states.keys() <= {point.id for point in points}
            for point in points:
                held = [disk.open().read() for disk in point.disks]
                assert held == self.states.setdefault(point.id, list(self.contents))
                [file] = point.configuration
                assert file.open().read() == self.configuration.read_bytes()
            assert repository.verify().clean
            baselines = parse_list(repository.native.baselines())
            assert {entry["point"] for entry in baselines} <= self.states.keys()
            if baselines and baselines[0]["point"] not in self.bases:
                self.bases.append(baselines[0]["point"])
                self.changes = [[], []]


@pytest.fixture(scope="module")
def original(folders: Path, worker: Worker) -> Machine:
    """A machine with two points, and written to since."""
    machine = Machine(folders / "original")
    machine.folder.mkdir()
    rng = random.Random(1)
    Repository.create(machine.repository, chunk_size=CHUNK).close()
    machine.configuration.write_bytes(rng.randbytes(3 * CHUNK))
    for number, name in enumerate(NAMES):
        machine.contents.append(bytes(DISK_BYTES))
        TrackedDisk.create(
            machine.folder / name, DISK_BYTES, block_size=1 << 20
        ).close()
        machine.write(number, 0, rng.randbytes(DISK_BYTES))
    for day in range(2):
        assert machine.run(worker).code == 0
        machine.check()
        for number in range(2):
            machine.write(number, (day + number) * CHUNK, rng.randbytes(CHUNK))
    assert len(machine.states) == 2
    return machine


def test_a_machines_run_killed_at_any_call_harms_nothing_and_the_next_is_right(
    original: Machine, folder: Path, worker: Worker
) -> None:
    def attempt(place: int) -> Ended:
        return original.copy(folder / f"count-{place}").run(worker, place)

    calls = count_calls(attempt)
    assert calls > 10
    found = set()
    for place in range(calls):
        machine = original.copy(folder / str(place))
        ended = machine.run(worker, place)
        # Threads take turns: the last call of one run may be the last but one of another.
        assert ended.code == ABORTED or place == calls - 1
        machine.check()
        with Repository.open(machine.repository) as repository:
            found.add(machine.bury(repository))
        machine.check()
        machine.write(0, 9 * CHUNK, b"later" + bytes(507))
        assert machine.run(worker).code == 0
        machine.check()
        assert len(machine.states) in (3, 4)
        shutil.rmtree(machine.folder)
    # Killed before its lease, before its point, and after it.
    assert found >= {"none", "open", "committed"}
