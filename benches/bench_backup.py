"""How fast is a backup? Each bench checks what it made."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hypercbt import Extents, Repository, RestorePoint, backup_disk
from seeded import CHUNK, DISK_BYTES


@pytest.mark.benchmark(group="backup")
def test_bench_full(
    benchmark: BenchmarkFixture, disk: Path, empty: Callable[[], Repository]
) -> None:
    """Unique data that compresses 2:1, into an empty repository."""

    def run(repository: Repository) -> RestorePoint:
        return backup_disk(disk, repository=repository)

    point = benchmark.pedantic(run, setup=lambda: ((empty(),), {}), rounds=3)
    assert point.stats.new_bytes == DISK_BYTES
    assert 0.4 < point.stats.stored_bytes / DISK_BYTES < 0.7
    benchmark.extra_info["bytes"] = DISK_BYTES


@pytest.mark.benchmark(group="backup")
def test_bench_known(
    benchmark: BenchmarkFixture, disk: Path, filled: tuple[Repository, RestorePoint]
) -> None:
    """Data that the repository already holds, of a machine that it has never seen."""
    repository, _ = filled
    number = iter(range(1_000_000))

    def run() -> RestorePoint:
        return backup_disk(disk, repository=repository, name=f"copy{next(number)}")

    point = benchmark.pedantic(run, rounds=3)
    assert point.stats.new_bytes == 0
    assert point.stats.read_bytes == DISK_BYTES
    benchmark.extra_info["bytes"] = DISK_BYTES


@pytest.mark.benchmark(group="backup")
def test_bench_list_one_percent(
    benchmark: BenchmarkFixture,
    changed: tuple[Path, Extents],
    filled: tuple[Repository, RestorePoint],
) -> None:
    """1 % of the disk, in pieces of 64 KiB, from a list; without an audit."""
    repository, first = filled
    path, extents = changed

    def run() -> RestorePoint:
        return backup_disk(
            path,
            repository=repository,
            name="bench",
            changes=extents,
            since=first,
            audit="off",
        )

    point = benchmark.pedantic(run, rounds=5)
    claimed = extents.align(CHUNK)
    assert point.stats.read_bytes == claimed.total_bytes
    assert point.stats.changed_bytes == extents.total_bytes
    benchmark.extra_info["bytes"] = claimed.total_bytes
