"""Finding the parent: by its DataWriteGuid and where the caller allows (MS-VHDX 2.6.2.6)."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from . import format as f
from .format import MIB, NIL, Item
from .generator import Image, full, journal, partial, with_blocks
from .readers import Reader, check_refused

PARENT = Image(
    size=4 * MIB, name="parent.vhdx", blocks={n: full(("p", n)) for n in range(4)}
)
CHILD = Image(
    size=4 * MIB, name="child.vhdx", parent=PARENT, blocks={1: partial("own", 0b101)}
)
LINKAGE = f"{{{PARENT.linkage}}}"
OTHER = "{0badf00d-0000-4000-8000-0123456789ab}"


def child(**pairs: str) -> Image:
    """The child with just these pairs in its locator."""
    return replace(CHILD, locator=pairs)


def assert_reads(
    reader: Reader,
    path: Path,
    *,
    image: Image = CHILD,
    parents: tuple[Path, ...] = (),
    folders: tuple[Path, ...] = (),
) -> None:
    disk = reader.open(path, parents=parents, folders=folders)
    assert disk.size == image.size
    assert disk.read(0, image.size) == image.expected(0, image.size)


def assert_refused(
    reader: Reader,
    path: Path,
    parents: tuple[Path, ...] = (),
    folders: tuple[Path, ...] = (),
) -> None:
    with pytest.raises(reader.refusals):
        reader.open(path, parents=parents, folders=folders)


# Linkage.


def test_a_parent_of_another_time_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 23: it was written to since, so its DataWriteGuid is another."""
    CHILD.write(tmp_path)
    replace(PARENT, data_guid=UUID(OTHER)).write(tmp_path)
    assert_refused(reader, tmp_path / CHILD.name)


def test_an_explicit_parent_of_another_time_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23: being told the path does not make it the parent."""
    path = CHILD.write(tmp_path)
    wrong = replace(PARENT, name="wrong.vhdx", data_guid=UUID(OTHER)).write(tmp_path)
    assert_refused(reader, path, parents=(wrong,))


def test_a_zero_second_linkage_never_matches(reader: Reader, tmp_path: Path) -> None:
    """Case 23: Windows always writes one; a file with a zero DataWriteGuid is not meant."""
    replace(PARENT, data_guid=NIL).write(tmp_path)
    pairs = {
        "parent_linkage": OTHER,
        "parent_linkage2": f"{{{NIL}}}",
        "relative_path": ".\\parent.vhdx",
    }
    assert_refused(reader, child(**pairs).write(tmp_path))


def test_a_second_linkage_matches_during_a_merge(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23: the parent's coming DataWriteGuid is in the child before the merge begins."""
    PARENT.write(tmp_path)
    pairs = {
        "parent_linkage": OTHER,
        "parent_linkage2": LINKAGE,
        "relative_path": ".\\parent.vhdx",
    }
    assert_reads(reader, child(**pairs).write(tmp_path))


@pytest.mark.parametrize(
    "linkage",
    [LINKAGE.upper(), LINKAGE.lower(), LINKAGE.title()],
    ids=["upper", "lower", "mixed"],
)
def test_the_case_of_a_guid_does_not_matter(
    reader: Reader, tmp_path: Path, linkage: str
) -> None:
    """Case 23."""
    PARENT.write(tmp_path)
    path = child(parent_linkage=linkage, relative_path=".\\parent.vhdx").write(tmp_path)
    assert_reads(reader, path)


@pytest.mark.parametrize(
    "linkage", ["", "{}", "not a guid", LINKAGE[:-3], "{" + "z" * 36 + "}"]
)
def test_a_linkage_that_is_no_guid_is_refused(
    reader: Reader, tmp_path: Path, linkage: str
) -> None:
    PARENT.write(tmp_path)
    path = child(parent_linkage=linkage, relative_path=".\\parent.vhdx").write(tmp_path)
    assert_refused(reader, path)


def test_the_linkage_is_that_of_the_current_header(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23: the older header still has the value of before the last change."""
    old = replace(PARENT.header(10), data_guid=UUID(OTHER))
    replace(PARENT, headers=(old, PARENT.header(11))).write(tmp_path)
    assert_reads(reader, CHILD.write(tmp_path))


# Where it may lie.


def test_a_missing_parent_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 23."""
    assert_refused(reader, CHILD.write(tmp_path))


def test_a_missing_explicit_parent_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 23."""
    with pytest.raises(reader.absence):
        reader.open(CHILD.write(tmp_path), parents=[tmp_path / "absent.vhdx"])


@pytest.mark.parametrize(
    "pairs",
    [
        {"relative_path": ".\\parent.vhdx"},
        {"relative_path": "parent.vhdx"},
        {"absolute_win32_path": "C:\\vm\\disks\\parent.vhdx"},
        {"absolute_win32_path": "\\\\?\\C:\\vm\\disks\\parent.vhdx"},
        {"volume_path": f"\\\\?\\Volume{{{UUID(int=7)}}}\\vm\\parent.vhdx"},
        {"relative_path": ".\\gone.vhdx", "absolute_win32_path": "C:\\vm\\parent.vhdx"},
        {"relative_path": "..\\elsewhere\\parent.vhdx"},
    ],
    ids=["dot", "bare", "absolute", "prefixed", "volume", "second-path", "base-name"],
)
def test_a_parent_beside_its_child_is_found(
    reader: Reader, tmp_path: Path, pairs: dict[str, str]
) -> None:
    """Case 23: the forms that Windows and the specification know; at last by its base name."""
    PARENT.write(tmp_path)
    assert_reads(reader, child(parent_linkage=LINKAGE, **pairs).write(tmp_path))


def test_a_locator_as_windows_writes_it_is_read(reader: Reader, tmp_path: Path) -> None:
    """Case 23: all five keys, the second linkage zero, the absolute path without its prefix."""
    assert CHILD.windows_locator().keys() >= {"parent_linkage2", "volume_path"}
    assert_reads(reader, CHILD.write_chain(tmp_path))


def test_a_parent_that_moved_is_taken_where_the_caller_says(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23: under another name, in another folder."""
    moved = tmp_path / "archive"
    moved.mkdir()
    PARENT.write(moved)
    (moved / PARENT.name).rename(moved / "renamed.vhdx")
    path = CHILD.write(tmp_path)
    assert_refused(reader, path)
    assert_reads(reader, path, parents=(moved / "renamed.vhdx",))


def test_explicit_parents_serve_a_whole_chain_in_any_order(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23."""
    top = Image(
        size=4 * MIB, name="top.vhdx", parent=CHILD, blocks={3: partial("top", 0b1)}
    )
    paths = []
    for image in (PARENT, CHILD, top):
        folder = tmp_path / image.name.removesuffix(".vhdx")
        folder.mkdir()
        paths.append(image.write(folder))
    base, middle, leaf = paths
    assert_refused(reader, leaf)
    assert_reads(reader, leaf, image=top, parents=(middle, base))
    assert_reads(reader, leaf, image=top, parents=(base, middle))


def test_a_parent_is_looked_for_in_other_folders_only_if_allowed(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23: a locator is untrusted; it names files, it does not open them."""
    vm, base = tmp_path / "vm", tmp_path / "base"
    vm.mkdir()
    base.mkdir()
    PARENT.write(base)
    relative = child(
        parent_linkage=LINKAGE, relative_path="..\\base\\parent.vhdx"
    ).write(vm)
    assert_refused(reader, relative)
    assert_reads(reader, relative, folders=(base,))
    absolute = child(
        parent_linkage=LINKAGE, absolute_win32_path=str(base / PARENT.name)
    )
    path = absolute.write(vm)
    assert_refused(reader, path)
    assert_reads(reader, path, folders=(base,))


@pytest.mark.parametrize(
    "name", ["Müller-Größe.vhdx", "親ディスク.vhdx", "🖴 disk.vhdx"]
)
def test_a_parent_with_a_name_beyond_ascii_is_found(
    reader: Reader, tmp_path: Path, name: str
) -> None:
    """Case 23: also beyond the first 65,536 characters."""
    image = replace(CHILD, parent=replace(PARENT, name=name, data_guid=PARENT.linkage))
    assert_reads(reader, image.write_chain(tmp_path))


# Parents that cannot be.


def test_a_disk_that_is_its_own_parent_is_refused(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23."""
    own = f"{{{CHILD.linkage}}}"
    path = child(parent_linkage=own, relative_path=".\\child.vhdx").write(tmp_path)
    assert_refused(reader, path)
    assert_refused(reader, path, parents=(path,))


def test_a_circle_of_parents_is_refused(reader: Reader, tmp_path: Path) -> None:
    """Case 23: two files, each the parent of the other, and three."""
    for names in (("a", "b"), ("a", "b", "c")):
        guids = {name: UUID(int=number) for number, name in enumerate(names, 1)}
        for name, parent in zip(names, (*names[1:], names[0]), strict=True):
            pairs = {
                "parent_linkage": f"{{{guids[parent]}}}",
                "relative_path": f".\\{parent}.vhdx",
            }
            replace(
                CHILD, name=f"{name}.vhdx", data_guid=guids[name], locator=pairs
            ).write(tmp_path)
        assert_refused(reader, tmp_path / "a.vhdx")


@pytest.mark.parametrize(("own", "parents"), [(512, 4096), (4096, 512)])
def test_a_parent_with_other_logical_sectors_is_refused(
    reader: Reader, tmp_path: Path, own: int, parents: int
) -> None:
    """Case 23."""
    parent = replace(PARENT, sector_bytes=parents)
    image = Image(
        size=4 * MIB, sector_bytes=own, parent=parent, blocks={1: full("own")}
    )
    check_refused(reader, image.write_chain(tmp_path))


def test_other_physical_sectors_in_the_parent_do_not_matter(
    reader: Reader, tmp_path: Path
) -> None:
    image = replace(CHILD, parent=replace(PARENT, physical_bytes=512))
    assert_reads(reader, image.write_chain(tmp_path))


def test_the_log_of_the_parent_is_replayed(reader: Reader, tmp_path: Path) -> None:
    """Case 23: in memory, as that of the child."""
    before = replace(PARENT, blocks={0: full(("p", 0))})
    after = with_blocks(before, {1: full("late"), 2: full("later")})
    path = journal(before, after).write(tmp_path)
    content = path.read_bytes()
    image = replace(CHILD, parent=after)
    assert_reads(reader, image.write(tmp_path), image=image)
    assert path.read_bytes() == content


def test_a_dirty_child_of_a_dirty_parent_is_read(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 23."""
    parent = with_blocks(PARENT, {})
    before = replace(PARENT, blocks={3: full(("p", 3)), 0: full(("p", 0))})
    journal(before, with_blocks(before, {1: full("late")})).write(tmp_path)
    parent = with_blocks(before, {1: full("late")})
    old = replace(CHILD, parent=parent, blocks={})
    new = replace(old, blocks={1: partial("own", 0b1010)})
    assert_reads(reader, journal(old, new).write(tmp_path), image=new)


def test_a_corrupt_parent_is_refused(reader: Reader, tmp_path: Path) -> None:
    path = CHILD.write_chain(tmp_path)
    replace(PARENT, tables=(None, None)).write(tmp_path)
    assert_refused(reader, path)


# Locators that are none (section 1.8).


def with_locator(data: bytes | None) -> Image:
    items = [item for item in CHILD.default_items() if item.guid != f.PARENT_LOCATOR]
    if data is not None:
        items.append(Item(guid=f.PARENT_LOCATOR, data=data))
    return replace(CHILD, items=tuple(items))


GOOD = f.encode_locator(CHILD.windows_locator().items())


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        GOOD[:19],
        GOOD[:20],
        GOOD[:40],
        GOOD[:-2],
        bytes(16) + GOOD[16:],
        f.encode_locator(CHILD.windows_locator().items(), kind=UUID(int=1)),
        GOOD[:18] + b"\0\0" + GOOD[20:],
        GOOD[:18] + b"\xff\xff" + GOOD[20:],
        GOOD[:20] + b"\xff\xff\xff\xff" + GOOD[24:],
        GOOD[:24] + b"\xfe\xff\xff\xff" + GOOD[28:],
        GOOD[:30] + b"\xff\xff" + GOOD[32:],
        f.encode_locator([("relative_path", ".\\parent.vhdx")]),
        f.encode_locator(
            [("PARENT_LINKAGE", LINKAGE), ("relative_path", ".\\parent.vhdx")]
        ),
        f.encode_locator([("parent_linkage", OTHER), *CHILD.windows_locator().items()]),
        f.encode_locator(
            [("parent_linkage", LINKAGE), *CHILD.windows_locator().items()]
        ),
        f.encode_locator([*CHILD.windows_locator().items(), ("parent_linkage", OTHER)]),
    ],
    ids=[
        "missing",
        "empty",
        "cut-header",
        "cut-entries",
        "cut-entry",
        "cut-string",
        "no-type",
        "unknown-type",
        "no-pairs",
        "most-pairs",
        "key-far",
        "value-overflows",
        "value-long",
        "no-linkage",
        "linkage-in-capitals",
        "linkage-twice-last-right",
        "linkage-twice-the-same",
        "linkage-twice-first-right",
    ],
)
def test_a_wrong_locator_is_refused(
    reader: Reader, tmp_path: Path, data: bytes | None
) -> None:
    PARENT.write(tmp_path)
    assert_refused(reader, with_locator(data).write(tmp_path))


def test_unknown_keys_in_a_locator_are_ignored(reader: Reader, tmp_path: Path) -> None:
    PARENT.write(tmp_path)
    pairs = {"made_by": "somebody", **CHILD.windows_locator(), "zzz": "ß"}
    assert_reads(reader, child(**pairs).write(tmp_path))


def test_the_content_of_a_child_does_not_come_from_a_raw_file_of_that_name(
    reader: Reader, tmp_path: Path
) -> None:
    """A parent is a VHDX file, or it is none."""
    (tmp_path / PARENT.name).write_bytes(bytes(4 * MIB))
    assert_refused(reader, CHILD.write(tmp_path))
