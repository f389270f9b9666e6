"""How fast are the parts on their own: disk reads, extents, chunk ids, the index?"""

import random
from array import array
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hypercbt import Extents, Repository, RestorePoint, VirtualDisk, chunk_ids
from seeded import CHUNK, DISK_BYTES

PIECE = 4 << 20


@pytest.fixture(scope="session")
def vhdx(
    filled: tuple[Repository, RestorePoint], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The disk as a dynamic VHDX file."""
    path = tmp_path_factory.mktemp("vhdx") / "disk.vhdx"
    filled[1].disks[0].restore(path)
    return path


@pytest.mark.benchmark(group="disk read")
def test_bench_virtual_disk_read(
    benchmark: BenchmarkFixture, vhdx: Path, disk: Path
) -> None:
    """Read a VHDX from front to back into one buffer."""
    buffer = bytearray(PIECE)
    with VirtualDisk.open(vhdx) as opened:

        def run() -> None:
            for at in range(0, DISK_BYTES, PIECE):
                opened.read_into(at, buffer)

        benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    with disk.open("rb") as source:
        source.seek(-PIECE, 2)
        assert buffer == source.read()
    benchmark.extra_info["bytes"] = DISK_BYTES


@pytest.mark.benchmark(group="disk read")
def test_bench_plain_read(benchmark: BenchmarkFixture, vhdx: Path, disk: Path) -> None:
    """The same bytes of the same file by plain reads: the limit of the bench above."""
    buffer = bytearray(PIECE)
    with vhdx.open("rb", buffering=0) as file:
        first = vhdx.stat().st_size - DISK_BYTES

        def run() -> None:
            file.seek(first)
            for _ in range(0, DISK_BYTES, PIECE):
                assert file.readinto(buffer) == PIECE

        benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    with disk.open("rb") as source:
        source.seek(-PIECE, 2)
        assert buffer == source.read()
    benchmark.extra_info["bytes"] = DISK_BYTES


@pytest.mark.benchmark(group="extents")
def test_bench_extents_from_a_million_ranges(benchmark: BenchmarkFixture) -> None:
    """Unsorted, overlapping ranges become sorted, disjoint extents."""
    rng = random.Random(3)
    count = 1_000_000
    flat = array("Q", bytes(16 * count))
    for index in range(count):
        flat[2 * index] = rng.randrange(1 << 44)
        flat[2 * index + 1] = 65_536
    extents = benchmark(Extents, flat)
    assert 0 < len(extents) <= count
    assert extents.total_bytes <= count * 65_536
    benchmark.extra_info["ranges"] = count


@pytest.mark.benchmark(group="chunk ids")
def test_bench_chunk_ids(benchmark: BenchmarkFixture, disk: Path) -> None:
    """Hash memory chunk by chunk, one thread."""
    data = disk.read_bytes()
    ids = benchmark(chunk_ids, data, CHUNK)
    assert len(ids) == 32 * (DISK_BYTES // CHUNK)
    benchmark.extra_info["bytes"] = DISK_BYTES


@pytest.mark.benchmark(group="index")
@pytest.mark.parametrize("kind", ["hits", "misses"])
def test_bench_index(
    benchmark: BenchmarkFixture,
    disk: Path,
    filled: tuple[Repository, RestorePoint],
    kind: str,
) -> None:
    """Batches of 1,024 ids. Ten million ids: `cargo bench -p hypercbt-repo --bench index`."""
    ids = chunk_ids(disk.read_bytes(), CHUNK)
    if kind == "misses":
        ids = random.Random(4).randbytes(len(ids))
    index = filled[0].chunk_index()
    batches = [ids[at : at + 32 * 1024] for at in range(0, len(ids), 32 * 1024)]
    known = benchmark(lambda: b"".join(index.known(batch) for batch in batches))
    assert set(known) == {int(kind == "hits")}
    benchmark.extra_info["ids"] = len(ids) // 32
