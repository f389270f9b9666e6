"""Does the cost follow the change, and does memory stay bounded? `python benches/scale.py`.

Two promises, measured in fresh processes and asserted:

* a 10 GiB disk with 1 % changed in pieces of 64 KiB, against the same pieces spread over a sparse disk of
  10 TiB: at most 1.5 times the time and 1.2 times the memory, and both restore byte for byte;
* an empty and a sparsely filled VHDX of 64 TiB, with blocks of 1 MiB and of 32 MiB, within 256 MiB.

It needs 25 GB of disk and a few minutes. Memory is the peak of anonymous memory above an idle
`import hypercbt`, sampled every 2 ms.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
PIECE = 64 * KIB
CHUNK = 256 * KIB


class PeakMemory:
    """Samples the anonymous memory of this process until it is left."""

    def __enter__(self) -> "PeakMemory":
        self.idle = self.peak = anonymous_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def above_idle(self) -> int:
        """The peak above what there was at the start, in bytes."""
        return self.peak - self.idle

    def _sample(self) -> None:
        while not self._over.wait(0.002):
            self.peak = max(self.peak, anonymous_bytes())


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * KIB
    raise RuntimeError("this kernel does not tell RssAnon")


def measure(arguments: list[str]) -> dict[str, float]:
    """Run one step in a process of its own and return what it printed."""
    run = subprocess.run(
        [sys.executable, __file__, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, float] = json.loads(run.stdout)
    return result


def places(size: int, count: int, seed: int) -> list[int]:
    """Return where the pieces lie: `count` different multiples of 64 KiB, sorted."""
    return sorted(
        slot * PIECE for slot in random.Random(seed).sample(range(size // PIECE), count)
    )


def write_pieces(path: Path, at: list[int], seed: int) -> None:
    """Write pieces that do not compress."""
    rng = random.Random(seed)
    with path.open("r+b") as file:
        for offset in at:
            file.seek(offset)
            file.write(rng.randbytes(PIECE))


def step_backup(repository: str, disk: str, count: str) -> None:
    """Back up; with a count, from the list of the changed pieces."""
    from hypercbt import Extents, Repository, backup_disk

    path = Path(disk)
    with Repository.open(repository) as opened:
        name = path.stem
        extents = None
        if int(count):
            at = places(path.stat().st_size, int(count), seed=2)
            extents = Extents(array("Q", (n for offset in at for n in (offset, PIECE))))
        since = opened.latest(name) if extents is not None else None
        started = time.perf_counter()
        with PeakMemory() as memory:
            point = backup_disk(
                path, repository=opened, name=name, changes=extents, since=since
            )
        seconds = time.perf_counter() - started
    stats = point.stats
    claimed = extents.align(CHUNK).total_bytes if extents is not None else 0
    print(
        json.dumps(
            {
                "seconds": seconds,
                "memory": memory.above_idle,
                "read": stats.read_bytes,
                "audited": sum(disk.audited_bytes for disk in stats.disks),
                "claimed": claimed,
                "stored": stats.stored_bytes,
                "metadata": sum(disk.metadata_bytes for disk in stats.disks),
            }
        )
    )


def step_compare(repository: str, disk: str, count: str) -> None:
    """Compare the newest point with the disk, wherever either holds anything."""
    from hypercbt import Extents, Repository, VirtualDisk

    path = Path(disk)
    compared = 0
    with Repository.open(repository) as opened, VirtualDisk.open(path) as source:
        point = opened.latest(path.stem)
        assert point is not None
        with point.open() as file:
            for offset, length in source.allocated.align(CHUNK).union(Extents()):
                end = min(offset + length, source.size)
                for at in range(offset, end, 4 * MIB):
                    part = min(4 * MIB, end - at)
                    assert file.read_at(at, part) == source.read_at(at, part), at
                    compared += part
    print(json.dumps({"compared": compared}))


def incremental(folder: Path, size: int, filled: bool, count: int) -> dict[str, float]:
    """Fill a disk, back it up, change 1 % of 10 GiB, back that up from the list."""
    from hypercbt import Repository

    repository, disk = folder / "repository", folder / "disk.img"
    Repository.create(repository).close()
    with disk.open("wb") as file:
        if filled:
            rng = random.Random(1)
            block = rng.randbytes(8 * MIB)
            for number in range(size // (8 * MIB)):
                # Unique chunks at the price of a copy: each one starts with its number.
                data = bytearray(block)
                for chunk in range(0, len(data), CHUNK):
                    data[chunk : chunk + 8] = (number * 32 + chunk // CHUNK).to_bytes(
                        8, "little"
                    )
                file.write(data)
        file.truncate(size)
    if not filled:
        write_pieces(disk, places(size, count, seed=2), seed=1)
    measure(["backup", str(repository), str(disk), "0"])
    write_pieces(disk, places(size, count, seed=2), seed=3)
    return measure(["backup", str(repository), str(disk), str(count)]) | measure(
        ["compare", str(repository), str(disk), "0"]
    )


def run_incremental(folder: Path, dense_bytes: int, sparse_bytes: int) -> None:
    """The first promise."""
    count = dense_bytes // 100 // PIECE
    results = {}
    for label, size, filled in (
        ("dense", dense_bytes, True),
        ("sparse", sparse_bytes, False),
    ):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            results[label] = incremental(Path(place), size, filled, count)
            print(
                label, {key: round(value, 3) for key, value in results[label].items()}
            )
    dense, sparse = results["dense"], results["sparse"]
    assert dense["read"] == dense["claimed"] + dense["audited"], dense
    # Of a sparse disk's chunks only what is not a hole is read.
    assert sparse["read"] <= sparse["claimed"] + sparse["audited"], sparse
    time_ratio = sparse["seconds"] / dense["seconds"]
    memory_ratio = sparse["memory"] / dense["memory"]
    print(
        f"{count} pieces: sparse / dense: {time_ratio:.2f} x time, {memory_ratio:.2f} x memory"
    )
    assert time_ratio <= 1.5, time_ratio
    assert memory_ratio <= 1.2, memory_ratio


def run_huge(folder: Path) -> None:
    """The second promise."""
    from hypercbt import Repository

    # The tests' generator writes VHDX files that no raw file could be.
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from vhdx.generator import Image, full_at_ends

    for block_mib in (32, 1):
        for present in (0, 64):
            block_bytes = block_mib * MIB
            total = 64 * TIB // block_bytes
            numbers = [total - 1 - index * (total // 64) for index in range(present)]
            blocks = {number: full_at_ends(number, block_bytes) for number in numbers}
            with tempfile.TemporaryDirectory(dir=folder) as place:
                repository = Path(place) / "repository"
                Repository.create(repository).close()
                disk = Image(
                    size=64 * TIB, block_bytes=block_bytes, blocks=blocks
                ).write(Path(place))
                result = measure(["backup", str(repository), str(disk), "0"])
            print(
                f"64 TiB, {block_mib} MiB blocks, {present} present: {result['seconds']:.2f} s, "
                f"{result['memory'] / MIB:.1f} MiB above idle, {result['read'] / MIB:.0f} MiB read"
            )
            assert result["memory"] <= 256 * MIB, result


def main() -> None:
    """Run everything, or one step in this process."""
    steps = {"backup": step_backup, "compare": step_compare}
    if len(sys.argv) > 1 and sys.argv[1] in steps:
        steps[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--dense-gib", type=int, default=10)
    parser.add_argument("--sparse-gib", type=int, default=10 * 1024)
    parser.add_argument("--only", choices=["incremental", "huge"])
    arguments = parser.parse_args()
    if arguments.only != "huge":
        run_incremental(
            arguments.folder, arguments.dense_gib * GIB, arguments.sparse_gib * GIB
        )
    if arguments.only != "incremental":
        run_huge(arguments.folder)


if __name__ == "__main__":
    main()
