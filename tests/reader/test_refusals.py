"""What the document says a reader refuses is refused: by the reader here, and by hypercbt."""

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

import hypercbt
from hypercbt import Repository, errors

from . import objects, packs, segments, trees
from .binary import RefusedError, crc32c
from .forge import Change, forge, put, sign_object, sign_pack, sign_segment
from .repository import ReferenceRepository, Way

CHUNK = 64 << 10


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one point, one pack and one segment."""
    folder = tmp_path_factory.mktemp("original")
    disk = folder / "web01.raw"
    disk.write_bytes(b"text " * (CHUNK // 5) + b"." + random.Random(1).randbytes(CHUNK))
    with Repository.create(folder / "repository", chunk_size=CHUNK) as repository:
        hypercbt.backup_disk(disk, repository=repository)
    return folder / "repository"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "repository"))


def only(folder: Path, pattern: str) -> Path:
    [path] = folder.glob(pattern)
    path.chmod(0o644)
    return path


def test_the_checksum_is_crc_32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of its definition
    assert crc32c(b"") == 0


@pytest.mark.parametrize("name", ["config", "lease/*", "closed/*", "point/*"])
def test_every_byte_of_an_object_matters(original: Path, name: str) -> None:
    data = only(original, name).read_bytes()
    kinds = range(1, 10)
    objects.read_object(data, *kinds)
    for at in range(len(data)):
        broken = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        with pytest.raises(RefusedError):
            objects.read_object(broken, *kinds)
    for broken in (data[:-1], data + b"\0", b""):
        with pytest.raises(RefusedError):
            objects.read_object(broken, *kinds)


def test_every_byte_of_a_segment_matters(original: Path) -> None:
    data = only(original, "index/*").read_bytes()
    segments.read_segment(data)
    for at in range(0, len(data), 7):
        broken = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        with pytest.raises(RefusedError):
            segments.read_segment(broken)
    for broken in (data[:-1], data + b"\0", data[:4096], b""):
        with pytest.raises(RefusedError):
            segments.read_segment(broken)


def test_every_byte_of_a_pack_is_covered_by_its_own_checks(original: Path) -> None:
    """Without its name: what a checksum or an id inside the pack notices."""
    path = only(original, "pack/*/*")
    data = path.read_bytes()
    own = bytes.fromhex(ReferenceRepository(original).id)

    def read(data: bytes) -> None:
        entries = packs.read_footer(data, own)
        for entry in entries:
            record = packs.read_record(data, entry.offset)
            if record != entry:
                raise RefusedError("footer and record disagree")
            packs.read_plain(data, record)

    read(data)
    records = packs.read_footer(data, own)
    places = {*range(64), *range(records[-1].end, len(data))}
    for record in records:
        places |= {
            *range(record.offset, record.offset + 96),
            record.offset + 96,
            record.end - 1,
        }
    for at in sorted(places - set(range(16, 32))):
        broken = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        with pytest.raises(RefusedError):
            read(broken)


BAD_OBJECTS: dict[str, Change] = {
    "another magic": put(0, b"HCBTOBK"),
    "a newer format": put(8, b"\1"),
    "another kind": put(10, b"\2"),
    "an unknown kind": put(10, b"\x63"),
    "a reserved byte": put(11, b"\1"),
    "a key": put(16, b"\1"),
    "a nonce without a key": put(32, b"\1"),
    "another reserved byte": put(56, b"\1"),
    "one byte less than there is": put(12, b"\1\0\0\0"),
}


@pytest.mark.parametrize("what", BAD_OBJECTS)
def test_a_point_that_breaks_a_rule_of_objects_is_no_point(
    folder: Path, what: str
) -> None:
    forge(only(folder, "point/*"), BAD_OBJECTS[what], sign_object)
    with pytest.raises(RefusedError):
        ReferenceRepository(folder).points()
    with Repository.open(folder) as repository:
        assert repository.points() == []
        assert len(repository.damaged_points()) == 1
        assert not repository.verify().clean


def rewrite(payload: bytes) -> Change:
    """Return a change of the payload of an object."""

    def change(data: bytearray) -> None:
        data[64:-32] = payload
        data[12:16] = len(payload).to_bytes(4, "little")

    return change


def changed_point(**fields: object) -> Change:
    """Return a change of fields of a point, or of its disk where the name says so; None removes."""

    def change(data: bytearray) -> None:
        payload = json.loads(data[64:-32])
        for name, value in fields.items():
            owner, name = (
                (payload, name) if name in payload else (payload["disks"][0], name)
            )
            if value is None:
                del owner[name]
            else:
                owner[name] = value
        rewrite(json.dumps(payload).encode())(data)

    return change


def changed_layers(*extents: list[int]) -> Change:
    return changed_point(sealed_in="web01.vhdx", layer_extents=list(extents))


def changed_files(*names: str) -> Change:
    return changed_point(
        files=[{"name": name, "size": 1, "root": None} for name in names]
    )


BAD_POINTS: dict[str, Change] = {
    "no JSON": rewrite(b"{"),
    "no UTF-8": rewrite(b'{"a": "\xff"}'),
    "a list": rewrite(b"[]"),
    "the name of another": changed_point(id="0" * 32),
    "an id in capitals": changed_point(base="A" * 32),
    "no sequence": changed_point(sequence=None),
    "a negative number": changed_point(sequence=-1),
    "a number of 64 bits": changed_point(elapsed_micros=1 << 63),
    "a fraction": changed_point(size=512.5),
    "a day that does not exist": changed_point(created="2026-02-30T00:00:00.000000Z"),
    "a time of another place": changed_point(
        created="2026-02-20T00:00:00.000000+00:00"
    ),
    "a time without microseconds": changed_point(created="2026-02-20T00:00:00Z"),
    "disks out of order": changed_point(index=1),
    "a sector of 520 bytes": changed_point(logical_sector_bytes=520),
    "an unknown method": changed_point(method="guess"),
    "a short root": changed_point(root="ab"),
    "no statistics": changed_point(stats={}),
    "a consistency of its own": changed_point(consistency="perhaps"),
    "no consistency, which could be null": changed_point(consistency=None),
    "no place, which could be null": changed_point(location=None),
    "a place of no letters": changed_point(location=""),
    "a place of 4,097 letters": changed_point(location="x" * 4097),
    "a sealed file in a folder": changed_point(sealed_in="VMs/web01.vhdx"),
    "layers above nothing": changed_point(layer_extents=[[0, 1]]),
    "layers out of order": changed_layers([512, 1], [0, 1]),
    "layers that overlap": changed_layers([0, 2], [1, 1]),
    "a layer of nothing": changed_layers([0, 0]),
    "a layer that is no pair": changed_layers([0, 1, 2]),
    "a layer outside the disk": changed_layers([0, 2 * CHUNK + 512]),
    "4,097 layers": changed_layers(*([2 * at, 1] for at in range(4097))),
    "no files": changed_point(files=None),
    "a file that is no object": changed_point(files=["1.vmcx"]),
    "a file in a folder": changed_files("a/1.vmcx"),
    "a file of a drive": changed_files("C:1.vmcx"),
    "a file that is the folder": changed_files("."),
    "a file with a space at its end": changed_files("1.vmcx "),
    "a file with a bell in its name": changed_files("1\a.vmcx"),
    "a file without a name": changed_files(""),
    "a file with a name of 256 bytes": changed_files("ä" * 128),
    "two files that Windows takes for one": changed_files("1.vmcx", "1.VMCX"),
    "an empty file with a root": changed_point(
        files=[{"name": "1.vmcx", "size": 0, "root": "0" * 64}]
    ),
    "an audit from here to here": changed_point(
        audit={
            "cursor": 0,
            "owed_chunks": 0,
            "read": [{"from": 1, "to": 1, "at": "2026-02-20T00:00:00.000000Z"}],
        }
    ),
}


@pytest.mark.parametrize("what", BAD_POINTS)
def test_a_point_that_breaks_a_rule_of_payloads_is_no_point(
    folder: Path, what: str
) -> None:
    forge(only(folder, "point/*"), BAD_POINTS[what], sign_object)
    with pytest.raises(RefusedError):
        ReferenceRepository(folder).points()
    with Repository.open(folder) as repository:
        assert repository.points() == []
        assert len(repository.damaged_points()) == 1


def test_unknown_fields_are_ignored(folder: Path) -> None:
    def change(data: bytearray) -> None:
        payload = json.loads(data[64:-32])
        payload["later"] = payload["disks"][0]["later"] = {"a": 1}
        rewrite(json.dumps(payload).encode())(data)

    forge(only(folder, "point/*"), change, sign_object)
    assert len(ReferenceRepository(folder).points()) == 1
    with Repository.open(folder) as repository:
        assert len(repository.points()) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (put(8, b"\1"), errors.RepositoryFormatError),
        (put(0, b"X"), errors.IntegrityError),
        (put(10, b"\2"), errors.IntegrityError),
        (rewrite(b"{}"), errors.IntegrityError),
    ],
)
def test_a_config_that_breaks_a_rule_opens_nothing(
    folder: Path, change: Change, error: type[Exception]
) -> None:
    forge(only(folder, "config"), change, sign_object)
    with pytest.raises(RefusedError):
        ReferenceRepository(folder)
    with pytest.raises(error):
        Repository.open(folder)


BAD_PACKS: dict[str, Change] = {
    "another magic": put(0, b"X"),
    "a newer format": put(8, b"\1"),
    "a reserved byte of the header": put(10, b"\1"),
    "a reserved byte at the end of the header": put(59, b"\1"),
    "a record's magic": put(64, b"X"),
    "a record's kind": put(64 + 4, b"\3"),
    "a record's codec": put(64 + 5, b"\2"),
    "a record's reserved byte": put(64 + 6, b"\1"),
    "a record's plain length": put(64 + 8, b"\1\0\0\0"),
    "a record's id": put(64 + 16, b"X"),
    "a record's key": put(64 + 48, b"\1"),
    "a record's nonce": put(64 + 64, b"\1"),
    "a record's bytes": put(64 + 96 + 20, b"!"),
    "a footer of nothing": put(-32, b"\0\0\0\0"),
    "a footer's end": put(-1, b"X"),
    "a footer's place": put(-24, b"\1"),
    "a trailer's reserved byte": put(-16, b"\1"),
    "an entry's id": put(-32 - 48, b"X"),
    "an entry's kind": put(-32 - 48 + 32, b"\3"),
    "an entry's reserved byte": put(-32 - 48 + 34, b"\1"),
    "an entry's offset": put(-32 - 48 + 36, b"\1"),
}


@pytest.mark.parametrize("what", BAD_PACKS)
def test_a_pack_that_breaks_a_rule_is_found_by_verification(
    folder: Path, what: str
) -> None:
    forge(only(folder, "pack/*/*"), BAD_PACKS[what], sign_pack)
    only(folder, "index/*").unlink()  # it names the pack that was
    with pytest.raises(RefusedError):  # noqa: PT012
        reader = ReferenceRepository(folder, Way.FOOTERS)
        for point in reader.points():
            reader.restore(point["disks"][0])
    with Repository.open(folder) as repository:
        assert not repository.verify().clean


BAD_SEGMENTS: dict[str, Change] = {
    "another magic": put(0, b"X"),
    "a reserved byte of the header": put(11, b"\1"),
    "another reserved byte of the header": put(59, b"\1"),
    "more packs than there are": put(12, b"\2"),
    "a byte behind the pack table": put(64 + 40, b"\1"),
    "more pages": put(-56, b"\2"),
    "a reserved byte of the trailer": put(-44, b"\1"),
    "another end": put(-1, b"X"),
}


@pytest.mark.parametrize("what", BAD_SEGMENTS)
def test_a_segment_that_breaks_a_rule_is_replaced_by_footers(
    folder: Path, what: str
) -> None:
    path = forge(only(folder, "index/*"), BAD_SEGMENTS[what], sign_segment)
    with pytest.raises(RefusedError):
        segments.read_segment(path.read_bytes())
    with Repository.open(folder) as repository:
        [point] = repository.points()
        assert point.open().read() == state_without_index(folder)
        assert not repository.verify().clean


NONSENSE_SEGMENTS: dict[str, Change] = {
    "a newer format": put(8, b"\1"),
    "an entry of a pack that is not listed": put(4096 + 32, b"\1"),
    "entries that do not ascend": put(4096 + 44, bytes(32)),
    "a byte behind the entries": put(4096 + 4091, b"\1"),
    "fewer entries": put(-64, b"\1"),
    "more entries": put(-64, b"\x5d"),
    "a fence of another page": put(8192, b"\1\2\3"),
    "a filter of other ids": put(-64 - 12, b"\1"),
}


@pytest.mark.parametrize("what", NONSENSE_SEGMENTS)
def test_nonsense_with_right_checksums_gives_no_wrong_byte(
    folder: Path, what: str
) -> None:
    """No damage makes such a segment, only a broken or a malicious writer: everything or an error."""
    path = forge(only(folder, "index/*"), NONSENSE_SEGMENTS[what], sign_segment)
    with pytest.raises(RefusedError):
        segments.read_segment(path.read_bytes())
    with Repository.open(folder) as repository:
        [point] = repository.points()
        state = state_without_index(folder)
        refused = errors.IntegrityError, errors.RepositoryFormatError
        with suppress(*refused):
            assert point.open().read() == state


def state_without_index(folder: Path) -> bytes:
    """Return what the only disk holds, whatever its index says."""
    bare = folder.parent / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("index"))
    reader = ReferenceRepository(bare, Way.FOOTERS)
    return reader.restore(reader.points()[0]["disks"][0])


@pytest.mark.parametrize("at", [0, 4, 6, 8])
def test_a_filter_that_does_not_check_is_ignored(folder: Path, at: int) -> None:
    """A filter only saves look-ups: without it the pages are asked."""
    path = only(folder, "index/*")
    [own] = segments.read_segment(path.read_bytes()).filters
    assert own is not None
    table = -64 - len(own.fingerprints) - 12
    forge(path, put(table + at, b"\x77"), sign_segment)
    with pytest.raises(RefusedError):
        ReferenceRepository(folder)
    with Repository.open(folder) as repository:
        [point] = repository.points()
        assert point.open().read() == state_without_index(folder)


BAD_NODES = {
    "a reserved byte": b"\0\1\0\0" + b"\1\0\0\0" + b"\1" + bytes(7) + bytes(32),
    "no child": bytes(16),
    "more children than ids": b"\0\0\0\0" + b"\2\0\0\0" + b"\3" + bytes(7) + bytes(32),
    "fewer children than bits": b"\0\0\0\0"
    + b"\1\0\0\0"
    + b"\3"
    + bytes(7)
    + bytes(32),
    "a byte behind": b"\0\0\0\0" + b"\1\0\0\0" + b"\1" + bytes(7) + bytes(33),
    "a short bitmap": b"\1\0\0\0" + b"\1\0\0\0" + b"\1" + bytes(7) + bytes(31),
}


@pytest.mark.parametrize("what", BAD_NODES)
def test_a_node_is_written_in_one_way_only(what: str) -> None:
    trees.read_node(b"\0\0\0\0" + b"\1\0\0\0" + b"\1" + bytes(7) + bytes(32))
    with pytest.raises(RefusedError):
        trees.read_node(BAD_NODES[what])


def test_a_pack_without_its_footer_is_scanned_up_to_what_is_torn(
    original: Path,
) -> None:
    path = only(original, "pack/*/*")
    data = path.read_bytes()
    own = bytes.fromhex(ReferenceRepository(original).id)
    records = packs.read_footer(data, own)
    assert list(packs.scan(data, own)) == records
    assert list(packs.scan(data[: records[-1].end], own)) == records
    assert list(packs.scan(data[: records[-1].end - 1], own)) == records[:-1]
    torn = bytearray(data)
    torn[records[0].offset + 96] ^= 1
    assert list(packs.scan(bytes(torn), own)) == records[1:]
