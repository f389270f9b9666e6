"""The calls of the README and of the design, on real files."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hypercbt
from hypercbt import Repository, VirtualDisk, asdict, errors
from support import overwrite, write_disk

CHUNK = 64 << 10


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", chunk_size=CHUNK)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "web01.raw"
    write_disk(path)
    return path


def test_a_repository_can_be_named_by_its_path_or_be_open(
    repository: Repository, disk: Path
) -> None:
    one = hypercbt.backup_disk(disk, repository=repository.path)
    two = hypercbt.backup_disk(os.fspath(disk), repository=Path(repository.path))
    three = hypercbt.backup_disk(disk, repository=repository)
    assert [point.id for point in repository.points("web01")] == [
        three.id,
        two.id,
        one.id,
    ]
    assert one.restore(disk.with_name("restored.raw")).disk_bytes == 8 << 20


def test_every_point_restores_what_the_disk_held_then(
    repository: Repository, disk: Path
) -> None:
    states = [disk.read_bytes()]
    points = [hypercbt.backup_disk(disk, repository=repository)]
    for number in range(1, 4):
        piece = (number * 5 * CHUNK + 11, b"state %d" % number)
        states.append(overwrite(disk, piece))
        points.append(
            hypercbt.backup_disk(
                disk,
                repository=repository,
                changes=[(piece[0], len(piece[1]))],
                since=points[-1],
            )
        )
    for point, state in zip(points, states, strict=True):
        with point.open() as file:
            assert file.read() == state


def test_the_changes_of_one_list_may_be_unsorted_overlapping_and_odd(
    repository: Repository, disk: Path
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    data = overwrite(disk, (7, b"a"), (3 * CHUNK - 1, b"bc"))
    point = hypercbt.backup_disk(
        disk,
        repository=repository,
        changes=[(3 * CHUNK - 1, 2), (7, 1), (0, 9), (3 * CHUNK - 1, 1)],
        since=first,
        audit="off",
    )
    assert point.stats.changed_bytes == 9 + 2
    assert point.stats.read_bytes == 3 * CHUNK
    assert point.open().read() == data


def test_an_empty_list_makes_a_point_that_costs_nothing(
    repository: Repository, disk: Path
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    point = hypercbt.backup_disk(
        disk, repository=repository, changes=[], since=first, audit="off"
    )
    assert point.stats.read_bytes == 0
    assert point.stats.changed_bytes == 0
    assert point.open().read() == disk.read_bytes()


def test_a_disk_opens_as_a_file_with_its_own_cursor(
    repository: Repository, disk: Path
) -> None:
    data = disk.read_bytes()
    point = hypercbt.backup_disk(disk, repository=repository)
    with point.disks[0].open() as one, point.open() as two:
        one.seek(1 << 20)
        assert two.read(512) == data[:512]
        assert one.read(512) == data[1 << 20 :][:512]
        buffered = io.BufferedReader(one)
        buffered.seek(-700, os.SEEK_END)
        assert buffered.read() == data[-700:]


def test_read_at_may_be_called_from_many_threads(
    repository: Repository, disk: Path
) -> None:
    data = disk.read_bytes()
    point = hypercbt.backup_disk(disk, repository=repository)
    offsets = [n * 99_991 % (len(data) - 5000) for n in range(200)]
    with point.open() as file, ThreadPoolExecutor(8) as pool:
        for offset, got in zip(
            offsets, pool.map(lambda at: file.read_at(at, 5000), offsets), strict=True
        ):
            assert got == data[offset : offset + 5000]


def test_latest_and_point_find_what_is_there(
    repository: Repository, disk: Path
) -> None:
    assert repository.latest("web01") is None
    first = hypercbt.backup_disk(disk, repository=repository)
    second = hypercbt.backup_disk(disk, repository=repository)
    latest = repository.latest("web01")
    assert latest is not None
    assert latest.id == second.id
    assert repository.point(first.id) == first
    assert repository.point("web01@latest").id == second.id
    with pytest.raises(errors.PointNotFoundError):
        repository.point("f" * 32)


def test_progress_counts_up_to_its_total(repository: Repository, disk: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    point = hypercbt.backup_disk(
        disk, repository=repository, progress=lambda *told: seen.append(told)
    )
    assert seen
    assert all(0 <= done <= total for _, done, total in seen)
    point.restore(disk.with_name("out.raw"), progress=lambda *told: seen.append(told))
    repository.verify(progress=lambda *told: seen.append(told))
    assert {phase for phase, _, _ in seen} >= {"backup", "restore", "verify"}


def test_what_progress_raises_stops_the_work_and_is_raised(
    repository: Repository, disk: Path
) -> None:
    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        hypercbt.backup_disk(disk, repository=repository, progress=stop)
    assert repository.points() == []
    point = hypercbt.backup_disk(disk, repository=repository)
    output = disk.with_name("out.raw")
    with pytest.raises(StopError):
        point.restore(output, progress=stop)
    assert sorted(path.name for path in disk.parent.iterdir()) == [
        "repository",
        "web01.raw",
    ]


def test_a_virtual_disk_is_a_part_on_its_own(
    repository: Repository, disk: Path
) -> None:
    data = disk.read_bytes()
    vhdx = disk.with_suffix(".vhdx")
    hypercbt.backup_disk(disk, repository=repository).restore(vhdx)
    with VirtualDisk.open(vhdx) as opened:
        assert (opened.size, opened.format) == (len(data), "vhdx")
        assert opened.disk_id
        assert opened.allocated.total_bytes >= 3 << 20
        assert opened.read_at(100, 7) == data[100:107]
        buffer = bytearray(4096)
        opened.read_into(CHUNK, memoryview(buffer))
        assert buffer == data[CHUNK : CHUNK + 4096]
        with pytest.raises(ValueError, match="outside"):
            opened.read_at(len(data) - 1, 2)
        assert asdict(opened.inspect())["disk_bytes"] == len(data)


def test_an_open_disk_can_be_backed_up(repository: Repository, disk: Path) -> None:
    with VirtualDisk.open(disk) as opened:
        point = hypercbt.backup_disk(opened, repository=repository, name="shop")
    assert (point.name, point.disks[0].name) == ("shop", "web01")


def test_changes_may_be_a_buffer_of_64_bit_numbers(
    repository: Repository, disk: Path
) -> None:
    first = hypercbt.backup_disk(disk, repository=repository)
    data = overwrite(disk, (5, b"abc"))
    numbers = memoryview(bytes(16)).cast("Q", (1, 2))
    pairs = memoryview(bytearray(16)).cast("Q", (1, 2))
    pairs[0, 0], pairs[0, 1] = 5, 3
    assert numbers.shape == pairs.shape
    point = hypercbt.backup_disk(
        disk, repository=repository, changes=pairs, since=first, audit="off"
    )
    assert point.stats.changed_bytes == 3
    assert point.open().read() == data
