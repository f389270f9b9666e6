"""What does a large host cost? `python benches/hyperv.py`, `make hyperv-scale`.

Three promises, measured against lab hosts and asserted. The client is a process of its own, so its time and memory
are its own; the host runs in this one.

* 1,000 virtual machines and 10,000 reference points: `hypercbt vms` takes less than 5 s;
* a backup of one of them, full and incremental, sends the same requests as on a host of 10 and receives as much;
* a million changed ranges of a disk of 2 TiB arrive whole, through envelopes of 512 KB, in less than 60 s and 128 MiB,
  and a backup by this list restores byte for byte.

Memory is the peak of anonymous memory above that of an idle client, sampled every 2 ms.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scale
from hypercbt import Extents, Repository, VirtualDisk
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.host import Host
from hypercbt.lab import LabHost, LabVm, Pace, Quirks
from hypercbt.lab.wire.options import WireOptions

MIB, TIB = 1 << 20, 1 << 40
HUGE_BYTES = 2 * TIB
BLOCKS = 64
"""Of that disk, in use."""
PIECE = 256 << 10
LEGACY_ENVELOPE = 150 << 10
"""What hosts before Server 2012 R2 took."""
COMMAND = "import sys; from hypercbt.cli import main; sys.exit(main())"
VMS_SECONDS = 5
CHANGES_SECONDS = 60
CHANGES_BYTES = 128 * MIB
BACKUP_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True)
class Cost:
    """What one step of a client asked for, and what it printed."""

    requests: Counter[str]
    reply_bytes: int
    seconds: float
    printed: dict[str, Any]


def client(lab: LabHost, *arguments: str) -> Cost:
    """Run a step of this file, or `hypercbt`, in a process of its own."""
    user, password = lab.credentials
    environment = {**os.environ, "HYPERCBT_USER": user, "HYPERCBT_PASSWORD": password}
    seen = len(lab.server.requests)
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    seconds = time.perf_counter() - started
    records = lab.server.requests[seen:]
    return Cost(
        Counter(str(record.asked) for record in records),
        sum(record.reply_bytes for record in records),
        seconds,
        json.loads(run.stdout),
    )


# Many machines


@contextmanager
def estate(
    folder: Path, machines: int, points: int, options: WireOptions | None = None
) -> Iterator[LabHost]:
    """A host with so many machines, one of them real, and reference points of others."""
    with LabHost(folder, pace=Pace(0, 0), options=options, seed=1) as lab:
        lab.add_vm("web01", disks=[64 * MIB, 16 * MIB])
        for number in range(machines - 1):
            other = lab.add_vm(f"other{number:04}", light=True)
            other.add_reference_points(points // (machines - 1))
        yield lab


def backups(lab: LabHost, folder: Path, count: int) -> list[Cost]:
    """Back the real machine up, again and again."""
    repository = folder / "repository"
    Repository.create(repository).close()
    (host_folder,) = lab.map.values()
    costs = []
    for number in range(count):
        cost = client(
            lab, __file__, "backup", lab.host, str(repository), str(host_folder)
        )
        assert cost.printed["method"] == ("rct" if number else "full"), cost.printed
        costs.append(cost)
        lab.vm("web01").disks[0].write(
            number * MIB, random.Random(number).randbytes(4096)
        )
    return costs


def run_many(machines: int, points: int, folder: Path) -> None:
    """The first two promises; then the same on a host that refuses filters, where costs grow."""
    with estate(folder / "many", machines, points) as lab:
        vms = client(lab, "-c", COMMAND, "vms", lab.host, "--json")
        assert len(vms.printed["vms"]) == machines
        print(
            f"vms of {machines}, {points} reference points on the host: {vms.seconds:.2f} s as a process, "
            f"{vms.requests.total()} requests, {vms.reply_bytes / MIB:.1f} MiB"
        )
        assert vms.seconds < VMS_SECONDS, vms.seconds
        many = backups(lab, folder / "many", 4)
    with estate(folder / "few", 10, 90) as lab:
        few = backups(lab, folder / "few", 4)
    for number, (one, other) in enumerate(zip(few, many, strict=True)):
        print(
            f"backup {number + 1}: {one.requests.total()} requests, {one.reply_bytes} bytes of answers with 10 machines; "
            f"{other.requests.total()}, {other.reply_bytes} with {machines}"
        )
        assert differences(one, other) == {}, differences(one, other)
        assert abs(other.reply_bytes - one.reply_bytes) < one.reply_bytes // 100
    show_refused(machines, points, folder)


def show_refused(machines: int, points: int, folder: Path) -> None:
    """How much more it is where every class has to be listed whole (quirk Q8)."""
    for count, all_points in ((10, 90), (machines, points)):
        place = folder / f"refused {count}"
        options = WireOptions(refuse_filters=True)
        with estate(place, count, all_points, options) as lab:
            cost = backups(lab, place, 1)[0]
        pulls = {k: n for k, n in cost.requests.items() if k.startswith("Pull")}
        print(
            f"filters refused, {count} machines: {cost.requests.total()} requests, "
            f"{cost.reply_bytes / MIB:.1f} MiB, {cost.seconds:.1f} s; {pulls}"
        )


def differences(one: Cost, other: Cost) -> dict[str, tuple[int, int]]:
    """Return the kinds of requests of which there were not as many; how often a job was looked at is its own matter."""
    return {
        kind: (one.requests[kind], other.requests[kind])
        for kind in one.requests | other.requests
        if one.requests[kind] != other.requests[kind]
    }


# Many changes


def changed(count: int) -> "array[int]":
    """Return that many ranges, one in each part of the disk, as starts and lengths in turn."""
    rng = random.Random(count)
    part = HUGE_BYTES // count
    found = array("Q")
    for number in range(count):
        sectors = rng.randrange(1, 65)
        start = number * part + 512 * rng.randrange(part // 512 - 64)
        found.extend((start, 512 * sectors))
    return found


def extents(pairs: "array[int]") -> Extents:
    """Return them as extents."""
    return Extents(memoryview(pairs).cast("B").cast("Q", (len(pairs) // 2, 2)))


def digest(found: Extents) -> str:
    """Return what tells two lists apart."""
    sum_ = hashlib.blake2b()
    for start, length in found:
        sum_.update(start.to_bytes(8, "little") + length.to_bytes(8, "little"))
    return sum_.hexdigest()


@contextmanager
def huge(
    folder: Path, count: int, quirks: Quirks, options: WireOptions
) -> Iterator[tuple[LabHost, LabVm, Extents]]:
    """A host with a sparse disk of 2 TiB of which it says that so many ranges have changed."""
    with LabHost(
        folder, pace=Pace(0, 0), quirks=quirks, options=options, seed=1
    ) as lab:
        vm = lab.add_vm("web01", disks=[HUGE_BYTES])
        said = extents(changed(count))
        vm.disks[0].pretend(said)
        yield lab, vm, said


CASES: Mapping[str, tuple[Quirks, WireOptions]] = {
    "short answers": (Quirks(), WireOptions()),
    "envelopes of 150 KB": (Quirks(), WireOptions(max_envelope_bytes=LEGACY_ENVELOPE)),
    "faults when too long": (Quirks(short_answers=False), WireOptions()),
    "1,000 ranges an answer": (Quirks(most_ranges=1000), WireOptions()),
    "in steps of 64 KiB": (Quirks(coarse_bytes=64 << 10), WireOptions()),
}


def run_changes(count: int, folder: Path) -> None:
    """The third promise, over every way in which hosts cut long answers."""
    for number, (name, (quirks, options)) in enumerate(CASES.items()):
        with huge(folder / str(number), count, quirks, options) as (lab, vm, said):
            vm.recovery_checkpoint()
            since = vm.checkpoints[0].disks[0].rct_id
            path = vm.disks[0].path
            assert since is not None
            cost = client(lab, __file__, "changes", lab.host, path, since)
        expected = said.align(quirks.coarse_bytes) if quirks.coarse_bytes else said
        print(
            f"{count} ranges, {name}: {cost.printed['seconds']:.1f} s, {cost.requests.total()} requests, "
            f"{cost.reply_bytes / MIB:.0f} MiB of answers, {cost.printed['memory'] / MIB:.0f} MiB above idle"
        )
        assert cost.printed["ranges"] == len(expected)
        assert cost.printed["digest"] == digest(expected)
        assert cost.printed["seconds"] < CHANGES_SECONDS, cost.printed
        assert cost.printed["memory"] < CHANGES_BYTES, cost.printed


def run_backup(count: int, folder: Path) -> None:
    """A backup by such a list, of a disk that holds next to nothing."""
    place, truth = folder / "backup", dict[int, bytes]()

    def look(_: LabVm, files: Mapping[str, Path]) -> None:
        truth.clear()
        for file in files.values():
            with VirtualDisk.open(file) as frozen:
                for at, length in frozen.allocated.align(PIECE):
                    for offset in range(at, at + length, PIECE):
                        truth[offset] = frozen.read_at(offset, PIECE)

    with huge(place, count, Quirks(), WireOptions()) as (lab, vm, said):
        lab.when_frozen(look)
        for number in range(BLOCKS):
            data = random.Random(number).randbytes(PIECE)
            vm.disks[0].write(number * (HUGE_BYTES // BLOCKS), data)
        costs = backups(lab, place, 2)
        with Repository.open(place / "repository") as repository:
            (point, _) = repository.points()
            with point.disks[0].open() as file:
                for offset, data in truth.items():
                    assert file.read_at(offset, PIECE) == data, offset
                rng = random.Random(1)
                for _ in range(BLOCKS):
                    offset = rng.randrange(HUGE_BYTES // PIECE) * PIECE
                    held = truth.get(offset, bytes(PIECE))
                    assert file.read_at(offset, PIECE) == held, offset
    assert costs[1].printed["changed"] >= said.total_bytes
    for name, cost in zip(("full", f"by {count} ranges"), costs, strict=True):
        print(
            f"backup of 2 TiB, {BLOCKS} blocks in use, {name}: {cost.printed['seconds']:.1f} s, "
            f"{cost.printed['memory'] / MIB:.0f} MiB above idle, {cost.requests.total()} requests, "
            f"{cost.printed['read'] / MIB:.1f} MiB read; restores byte for byte"
        )
        assert cost.printed["memory"] < BACKUP_BYTES, cost.printed


# The client's steps


def step_changes(host: str, path: str, since: str) -> None:
    """Ask what changed."""
    from hypercbt.hyperv.changes import changed_extents

    with Host(host, credentials=_credentials()) as opened:
        session = opened.session
        started = time.perf_counter()
        with scale.PeakMemory() as memory:
            found = changed_extents(session, path, since, HUGE_BYTES)
        seconds = time.perf_counter() - started
    said = {"seconds": seconds, "memory": memory.above_idle, "ranges": len(found)}
    print(json.dumps({**said, "digest": digest(found)}))


def step_backup(host: str, repository: str, folder: str) -> None:
    """Back the machine up."""
    import hypercbt

    started = time.perf_counter()
    with scale.PeakMemory() as memory:
        point = hypercbt.backup(
            "web01",
            host=host,
            credentials=_credentials(),
            map={"C:\\VMs": folder},
            repository=repository,
            space_floor=0,
        )
    seconds = time.perf_counter() - started
    stats = point.stats
    assert stats.findings == (), stats.findings
    said = {"seconds": seconds, "memory": memory.above_idle, "read": stats.read_bytes}
    disk = stats.disks[0]
    print(
        json.dumps({**said, "method": disk.method, "changed": disk.changed_bytes or 0})
    )


def _credentials() -> Credentials:
    return Credentials(os.environ["HYPERCBT_USER"], os.environ["HYPERCBT_PASSWORD"])


def main() -> None:
    """Run everything, or one step in this process."""
    steps = {"changes": step_changes, "backup": step_backup}
    if len(sys.argv) > 1 and sys.argv[1] in steps:
        steps[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--ranges", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["many", "changes", "backup"])
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=said.folder) as place:
        if said.only in (None, "many"):
            run_many(said.machines, said.points, Path(place))
        if said.only in (None, "changes"):
            run_changes(said.ranges, Path(place))
        if said.only in (None, "backup"):
            run_backup(said.ranges, Path(place))


if __name__ == "__main__":
    main()
