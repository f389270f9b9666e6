"""With the document alone, every repository that hypercbt makes gives its disks back."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import hypercbt
from hypercbt import Repository, RestorePoint
from hypercbt.documents import parse_list
from support import overwrite
from vhdx.generator import Image, full, with_blocks

from . import packs, trees
from .binary import blake3_of, node_id
from .repository import ReferenceRepository, Way

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 64 * KIB


@dataclass
class Made:
    """A repository that hypercbt made, and what each of its points must give back."""

    folder: Path
    repository: Repository
    states: dict[str, bytes] = field(default_factory=dict)
    points: list[RestorePoint] = field(default_factory=list)

    def back_up(self, disk: Path, state: bytes, **options: Any) -> RestorePoint:
        point = hypercbt.backup_disk(disk, repository=self.repository, **options)
        self.states[point.id] = state
        self.points.append(point)
        return point


def make(folder: Path, chunk_bytes: int) -> Made:
    folder.mkdir()
    repository = folder / "repository"
    return Made(repository, Repository.create(repository, chunk_size=chunk_bytes))


def text(length: int, seed: int) -> bytes:
    """What compresses well and is nowhere all zero."""
    words = random.Random(seed).choices([b"disk ", b"chunk ", b"pack "], k=length // 4)
    return b"".join(words)[:length]


def raw_points(folder: Path) -> Made:
    """Full, list, compare and list again, of a disk whose last chunk is cut and padded."""
    made = make(folder, CHUNK)
    disk = folder / "web01.raw"
    rng = random.Random(1)
    noise, zeros = rng.randbytes(5 * CHUNK + 100), bytes(9 * CHUNK - 100)
    disk.write_bytes(noise + zeros + text(20 * CHUNK, 2) + rng.randbytes(512))
    first = made.back_up(disk, disk.read_bytes())
    written = overwrite(disk, (3 * CHUNK - 1, b"xy"), (20 * CHUNK, bytes(CHUNK)))
    changes = [(3 * CHUNK - 1, 2), (20 * CHUNK, CHUNK)]
    second = made.back_up(disk, written, changes=changes, since=first)
    written = overwrite(disk, (10 * CHUNK, text(CHUNK, 3)))
    made.back_up(disk, written)
    written = overwrite(
        disk, (3 * CHUNK, b"back to an older point"), (10 * CHUNK, text(CHUNK, 3))
    )
    made.back_up(disk, written, changes=[(0, 11 * CHUNK)], since=second, audit="full")
    return made


def vhdx_points(folder: Path) -> Made:
    """A VHDX with chunks of 1 MiB: blocks absent, present and written anew."""
    made = make(folder, MIB)
    image = Image(size=7 * MIB, blocks={n: full(n, 65536) for n in (0, 2, 3)})
    first = made.back_up(image.write(folder), image.expected(0, image.size))
    changed = with_blocks(image, {2: full("new", 512), 6: full("last")})
    state = changed.expected(0, changed.size)
    made.back_up(
        changed.write(folder),
        state,
        changes=[(2 * MIB, MIB), (6 * MIB, MIB)],
        since=first,
    )
    return made


def zero_disk(folder: Path) -> Made:
    """A disk without a single byte that is not zero, and no pack."""
    made = make(folder, CHUNK)
    disk = folder / "zero.raw"
    disk.write_bytes(bytes(3 * MIB))
    made.back_up(disk, bytes(3 * MIB))
    return made


def one_sector(folder: Path) -> Made:
    """The smallest disk that there can be."""
    made = make(folder, 4 * MIB)
    disk = folder / "tiny.raw"
    disk.write_bytes(b"\1" * 512)
    made.back_up(disk, b"\1" * 512)
    return made


def several_machines(folder: Path) -> Made:
    """Ten runs, so that segments were merged; a deleted point, and two machines that share chunks."""
    made = make(folder, CHUNK)
    disk = folder / "one.raw"
    disk.write_bytes(random.Random(5).randbytes(4 * CHUNK))
    for number in range(10):
        state = overwrite(disk, (number % 4 * CHUNK, b"%d" % number))
        made.back_up(disk, state, name=f"machine{number % 2}", new_disk=True)
    gone = made.points.pop(4)
    made.repository.delete(gone)
    del made.states[gone.id]
    return made


MAKERS = [raw_points, vhdx_points, zero_disk, one_sector, several_machines]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    maker: Callable[[Path], Made] = request.param
    return maker(tmp_path_factory.mktemp("made") / maker.__name__)


@pytest.fixture(scope="module")
def reader(made: Made) -> ReferenceRepository:
    return ReferenceRepository(made.folder)


@pytest.mark.parametrize("way", Way, ids=lambda way: way.name.lower())
def test_every_point_is_restored_byte_for_byte(made: Made, way: Way) -> None:
    repository = ReferenceRepository(made.folder, way)
    restored = {p["id"]: repository.restore(p["disks"][0]) for p in repository.points()}
    assert restored == made.states


def test_points_are_told_as_hypercbt_tells_them(
    made: Made, reader: ReferenceRepository
) -> None:
    newest_first = parse_list(made.repository.native.points())
    assert reader.points() == newest_first[::-1]
    assert reader.id == made.repository.id
    assert reader.chunk_bytes == made.repository.chunk_size


def test_chunk_ids_are_those_of_the_bytes_on_the_disk(
    made: Made, reader: ReferenceRepository
) -> None:
    size = reader.chunk_bytes
    for point in reader.points():
        state = made.states[point["id"]]
        padded = state + bytes(-len(state) % size)
        chunks = [padded[at : at + size] for at in range(0, len(padded), size)]
        wanted = [(n, blake3_of(chunk)) for n, chunk in enumerate(chunks) if any(chunk)]
        assert list(reader.chunk_ids(point["disks"][0])) == wanted


def test_a_difference_is_where_the_chunk_ids_differ(
    made: Made, reader: ReferenceRepository
) -> None:
    points = reader.points()
    first, last = points[0], points[-1]
    one, two = (dict(reader.chunk_ids(point["disks"][0])) for point in (first, last))
    size, disk_bytes = reader.chunk_bytes, first["disks"][0]["size"]
    differing = [n for n in sorted(one.keys() | two.keys()) if one.get(n) != two.get(n)]
    wanted = hypercbt.Extents(
        (n * size, min(size, disk_bytes - n * size)) for n in differing
    )
    report = made.repository.diff(first["id"], last["id"])
    # What is told is whole chunks, also where the disk ends within one.
    assert report.disks[0].extents.align(size) == wanted.align(size)


def test_index_footers_and_records_tell_of_the_same_places(made: Made) -> None:
    by_index, by_footer, by_record = (
        ReferenceRepository(made.folder, way).places for way in Way
    )
    assert by_footer == by_record
    # While segments are merged the same place may be told twice.
    assert {key: set(places) for key, places in by_index.items()} == {
        key: set(places) for key, places in by_footer.items()
    }


def test_verification_reads_every_record_that_there_is(
    made: Made, reader: ReferenceRepository
) -> None:
    report = made.repository.verify()
    own = bytes.fromhex(reader.id)
    records = [
        record
        for data in reader.packs.values()
        for record in packs.read_footer(data, own)
    ]
    assert report.clean
    assert report.packs == len(reader.packs)
    assert report.chunks == sum(record.kind == packs.CHUNK for record in records)
    assert report.nodes == sum(record.kind == packs.NODE for record in records)


def test_every_filter_knows_every_id_of_its_pages_and_few_others(
    reader: ReferenceRepository,
) -> None:
    for segment in reader.segments.values():
        for position, entry in enumerate(segment.entries):
            own = segment.filter_of(position)
            assert own is not None
            assert own.may_hold(entry.id, entry.is_node)
        strangers = [blake3_of(b"stranger %d" % n) for n in range(2000)]
        for own in segment.filters:
            assert own is not None
            found = sum(
                own.may_hold(stranger, n % 2 == 0)
                for n, stranger in enumerate(strangers)
            )
            assert found < 50  # one of 256 is expected


def test_every_run_has_a_lease_that_names_the_roots_it_builds_on(
    reader: ReferenceRepository,
) -> None:
    leases, closed = reader.leases(), reader.closed()
    points = {point["id"]: point for point in reader.points()}
    for run, point in points.items():
        assert closed[run] == "committed"
        assert leases[run]["machine"] == point["machine"]
        assert leases[run]["created"] == point["created"]
        named = {base["point"]: base["roots"] for base in leases[run]["bases"]}
        for disk in point["disks"]:
            if disk["base"] in points:
                roots = [d["root"] for d in points[disk["base"]]["disks"]]
                assert named[disk["base"]] == [
                    root for root in roots if root is not None
                ]
    own = bytes.fromhex(reader.id)
    makers = {packs.check_header(data, own).hex() for data in reader.packs.values()}
    assert makers <= leases.keys()


def test_points_are_numbered_in_the_order_in_which_they_were_made(
    made: Made, reader: ReferenceRepository
) -> None:
    assert [point["id"] for point in reader.points()] == [
        point.id for point in made.points
    ]
    numbers = [point["sequence"] for point in reader.points()]
    assert sorted(set(numbers)) == numbers


def test_what_compression_hardly_shortens_is_stored_plain(
    reader: ReferenceRepository,
) -> None:
    own = bytes.fromhex(reader.id)
    for data in reader.packs.values():
        for record in packs.scan(data, own):
            if record.codec == 1:
                assert record.stored_bytes <= record.plain_bytes * 0.97


def test_many_runs_leave_merged_segments(tmp_path: Path) -> None:
    made = several_machines(tmp_path / "many")
    levels = [
        segment.level for segment in ReferenceRepository(made.folder).segments.values()
    ]
    assert sorted(levels) == [0, 0, 1]


def test_a_disk_of_ten_tebibytes_is_a_deep_tree_with_few_nodes(tmp_path: Path) -> None:
    disk, size = tmp_path / "large.raw", 10 << 40
    pieces = {
        (number * (size // 7 // 512) + 77) * 512: text(700 + number, number)
        for number in range(7)
    }
    pieces[size - 512] = b"e" * 512
    with disk.open("wb") as file:
        try:
            os.truncate(disk, size)
        except OSError:
            pytest.skip("the file system has no files of 10 TiB")
        for at, data in pieces.items():
            file.seek(at)
            file.write(data)
    made = make(tmp_path / "deep", CHUNK)
    made.back_up(disk, b"")
    for way in Way:
        repository = ReferenceRepository(made.folder, way)
        [point] = repository.points()
        found = dict(repository.pieces(point["disks"][0]))
        assert trees.height(size // CHUNK) == 3
        for at, data in pieces.items():
            start = at // CHUNK * CHUNK
            piece = found.pop(start)
            assert piece[at - start : at - start + len(data)] == data
            assert not any(piece[: at - start])
            assert not any(piece[at - start + len(data) :])
        assert found == {}
        nodes = sum(kind == packs.NODE for kind, _ in repository.places)
        assert nodes <= 1 + 3 * len(pieces)


def test_damage_and_suspects_are_told_by_objects(tmp_path: Path) -> None:
    made = make(tmp_path / "bad", CHUNK)
    disk = tmp_path / "web01.raw"
    disk.write_bytes(random.Random(1).randbytes(6 * CHUNK))
    first = made.back_up(disk, disk.read_bytes())
    overwrite(disk, (3 * CHUNK, b"unseen"))
    wrong = made.back_up(disk, b"", changes=[], since=first, audit="off")
    found = made.back_up(disk, b"", changes=[], since=wrong, audit="full")
    reader = ReferenceRepository(made.folder)
    [suspect] = reader.suspects()
    assert suspect["extents"] == [[3 * CHUNK, CHUNK]]
    assert (suspect["first"], suspect["last"], suspect["found_by"]) == (
        wrong.id,
        wrong.id,
        found.id,
    )
    assert (suspect["machine"], suspect["disk"]) == ("file:web01", "web01")
    assert suspect["points"] == [wrong.id]

    chunk = blake3_of(disk.read_bytes()[CHUNK : 2 * CHUNK])
    [place] = reader.places[packs.CHUNK, chunk]
    path = made.folder / "pack" / place.pack[:2] / place.pack
    whole = path.read_bytes()
    path.chmod(0o644)
    overwrite(path, (place.offset + 96 + 5, bytes([whole[place.offset + 96 + 5] ^ 1])))
    assert not made.repository.verify().clean
    healed = made.back_up(disk, disk.read_bytes(), changes=[], since=found, audit="off")
    path.write_bytes(whole)  # or the reader would refuse the whole pack
    reader = ReferenceRepository(made.folder)
    assert reader.damaged_places == {(place.pack, place.offset)}
    stored = reader.places[packs.CHUNK, chunk]
    assert [(p.pack, p.offset) for p in stored][1:] == [(place.pack, place.offset)]
    assert reader.restore(reader.points()[-1]["disks"][0]) == made.states[healed.id]


def test_a_chunk_with_the_bytes_of_a_node_is_no_node(tmp_path: Path) -> None:
    """A guest may write whatever it likes, also what a tree node looks like."""
    made = make(tmp_path / "hostile", CHUNK)
    disk = tmp_path / "web01.raw"
    disk.write_bytes(text(CHUNK, 1) + bytes(CHUNK))
    made.back_up(disk, disk.read_bytes())
    reader = ReferenceRepository(made.folder)
    root = bytes.fromhex(reader.points()[0]["disks"][0]["root"])
    node = reader.fetch((packs.NODE, root))
    assert root == node_id(node) != blake3_of(node)
    written = overwrite(disk, (CHUNK, node))
    made.back_up(disk, written)
    reader = ReferenceRepository(made.folder)
    assert reader.restore(reader.points()[-1]["disks"][0]) == written
    assert (packs.CHUNK, root) not in reader.places
