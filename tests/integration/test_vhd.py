"""Legacy VHD from end to end: backed up, restored, looked at."""

from dataclasses import replace
from pathlib import Path

import pytest

import hypercbt
from hypercbt import Repository, VirtualDisk, errors
from support import hypercbt as run
from vhdx.generator import Image, noise
from vhdx.generator import full as full_vhdx
from vhdx.vhd_generator import Block, VhdImage, full

MIB = 1 << 20
CHUNK = 64 << 10

BASE = VhdImage(
    size=6 * MIB + 512, name="web01.vhd", blocks={n: full(n, 2 * MIB) for n in (2, 0)}
)
LEAF = VhdImage(
    size=BASE.size,
    name="web01_1.avhd",
    parent=BASE,
    blocks={0: Block({0: noise("own", 2 * MIB)}, b"\x5a" * 512)},
)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", chunk_size=CHUNK)


def content(path: Path) -> bytes:
    with VirtualDisk.open(path) as disk:
        return disk.read_at(0, disk.size)


@pytest.mark.parametrize(
    ("name", "format", "kind"),
    [
        ("out.vhd", None, "dynamic"),
        ("out.vhd", "vhd-fixed", "fixed"),
        ("out.vhdx", None, "dynamic"),
        ("out.raw", None, "raw"),
    ],
)
def test_a_chain_is_backed_up_restored_to_any_format_and_backed_up_from_there(
    tmp_path: Path, repository: Repository, name: str, format: str | None, kind: str
) -> None:
    leaf = LEAF.write_chain(tmp_path)
    expected = LEAF.expected(0, LEAF.size)
    point = hypercbt.backup_disk(leaf, repository=repository, name="web01")
    assert point.disks[0].format == "vhd"
    out = tmp_path / name
    report = point.restore(out, format=format)
    assert report.output_format == (format or out.suffix[1:])
    assert content(out) == expected
    with VirtualDisk.open(out) as disk:
        assert disk.inspect().layers[0]["kind"] == kind
    again = hypercbt.backup_disk(out, repository=repository, name="again")
    assert again.open().read() == expected
    assert again.disks[0].stats.new_chunks == 0
    back = again.restore(tmp_path / "back.vhd", format="vhd").output
    assert content(Path(back)) == expected


def test_a_checkpoint_and_a_restored_disk_are_still_the_same_disk(
    tmp_path: Path, repository: Repository
) -> None:
    """Every file of a chain has a unique id; what stays is that of the last parent."""
    base, name = BASE.write(tmp_path), "web01"
    first = hypercbt.backup_disk(base, repository=repository, name=name)
    leaf = LEAF.write(tmp_path)
    second = hypercbt.backup_disk(leaf, repository=repository, name=name)
    ids = {point.disks[0].disk_id for point in (first, second)}
    assert ids == {str(BASE.unique_id)}
    restored = tmp_path / "restored.vhd"
    second.restore(restored)
    hypercbt.backup_disk(restored, repository=repository, name=name)
    clone = tmp_path / "clone.vhd"
    second.restore(clone, new_disk_id=True)
    with pytest.raises(errors.DiskIdentityError):
        hypercbt.backup_disk(clone, repository=repository, name=name)


def test_a_change_since_is_taken_from_a_list(
    tmp_path: Path, repository: Repository
) -> None:
    path = BASE.write(tmp_path)
    first = hypercbt.backup_disk(path, repository=repository, name="web01")
    changed = replace(BASE, blocks={**BASE.blocks, 0: full("new", 2 * MIB)})
    changed.write(tmp_path)
    point = hypercbt.backup_disk(
        path,
        repository=repository,
        name="web01",
        changes=[(0, 2 * MIB)],
        since=first,
        audit="off",
    )
    assert point.open().read() == changed.expected(0, changed.size)
    assert point.disks[0].stats.read_bytes == 2 * MIB


def test_inspect_tells_what_the_file_is(tmp_path: Path) -> None:
    leaf = LEAF.write_chain(tmp_path)
    done = run("inspect", leaf, "--json")
    assert done.document["disk_format"] == "vhd"
    assert done.document["disk_id"] == str(BASE.unique_id)
    child, parent = done.document["layers"]
    assert (child["kind"], parent["kind"]) == ("differencing", "dynamic")
    assert child["disk_id"] == str(LEAF.unique_id)
    assert (child["partial_blocks"], parent["present_blocks"]) == (1, 2)
    assert child["creator"] == "win"
    assert "differencing" in run("inspect", leaf).stdout


def test_a_lost_footer_is_said(tmp_path: Path) -> None:
    path = replace(BASE, has_footer=False).write(tmp_path)
    (layer,) = run("inspect", path, "--json").document["layers"]
    assert layer["footer_is_copy"] is True


def test_a_disk_that_no_vhd_can_hold_is_refused_and_leaves_nothing(
    tmp_path: Path, repository: Repository
) -> None:
    large_sectors = Image(
        size=4 * MIB, sector_bytes=4096, blocks={0: full_vhdx("a")}
    ).write(tmp_path)
    point = hypercbt.backup_disk(large_sectors, repository=repository)
    out = tmp_path / "out.vhd"
    before = sorted(tmp_path.iterdir())
    for made in ("vhd", "vhd-fixed"):
        with pytest.raises(errors.TargetError, match="a sector of 4096 bytes"):
            point.restore(out, format=made)
    assert sorted(tmp_path.iterdir()) == before
    assert run("restore", point.id, out, "-r", repository.path).exit_code == 1


def test_a_broken_chain_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, repository: Repository
) -> None:
    leaf = LEAF.write(tmp_path)
    with pytest.raises(errors.ParentDiskError, match=r"web01\.vhd"):
        hypercbt.backup_disk(leaf, repository=repository)
    replace(BASE, size=BASE.size + 512).write(tmp_path)
    with pytest.raises(errors.ParentDiskError, match="bytes, the child's"):
        hypercbt.backup_disk(leaf, repository=repository)
    assert repository.points() == []


def test_the_caller_may_say_the_format(tmp_path: Path) -> None:
    path = BASE.write(tmp_path).rename(tmp_path / "web01")
    with VirtualDisk.open(path, format="vhd") as disk:
        assert disk.format == "vhd"
    with VirtualDisk.open(path, format="raw") as disk:
        assert disk.size == path.stat().st_size
    with pytest.raises(errors.UnsupportedDiskError, match="legacy VHD"):
        VirtualDisk.open(path, format="vhdx")
    other = Image(size=4 * MIB, name="other").write(tmp_path)
    with pytest.raises(errors.UnsupportedDiskError, match="a VHDX where"):
        VirtualDisk.open(other, format="vhd")
