"""How fast is a restore, and how fast is everything read back?"""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hypercbt import Repository, RestorePoint, VirtualDisk
from seeded import DISK_BYTES


@pytest.mark.benchmark(group="restore")
@pytest.mark.parametrize("suffix", ["img", "vhdx"])
def test_bench_restore(
    benchmark: BenchmarkFixture,
    disk: Path,
    filled: tuple[Repository, RestorePoint],
    tmp_path: Path,
    suffix: str,
) -> None:
    """The whole disk, every byte compared afterwards."""
    _, point = filled
    output = tmp_path / f"out.{suffix}"
    benchmark.pedantic(lambda: point.disks[0].restore(output, overwrite=True), rounds=3)
    with VirtualDisk.open(output) as restored, disk.open("rb") as source:
        for at in range(0, DISK_BYTES, 1 << 20):
            assert restored.read_at(at, 1 << 20) == source.read(1 << 20)
    benchmark.extra_info["bytes"] = DISK_BYTES


@pytest.mark.benchmark(group="restore")
def test_bench_verify(
    benchmark: BenchmarkFixture, filled: tuple[Repository, RestorePoint]
) -> None:
    """Every stored byte, by its hash."""
    repository, _ = filled
    report = benchmark.pedantic(repository.verify, rounds=3)
    assert report.clean
    assert report.chunks >= DISK_BYTES // (256 << 10)
    benchmark.extra_info["bytes"] = DISK_BYTES
