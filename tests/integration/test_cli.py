"""The command line on real files: every command, its document, its exit code."""

import json
import struct
from pathlib import Path

import pytest

from hypercbt import VirtualDisk
from support import hypercbt, overwrite, write_disk

CHUNK = 64 << 10


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    done = hypercbt("init", "-r", path, "--chunk-size", "64KiB")
    assert done.exit_code == 0, done.stderr
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "web01.raw"
    write_disk(path)
    return path


def backup(repository: Path, disk: Path, *options: str | Path) -> str:
    done = hypercbt("backup", disk, "-r", repository, "--json", *options)
    assert done.exit_code == 0, done.stderr
    return str(done.document["restore_point"])


def test_init_says_what_it_made(tmp_path: Path) -> None:
    done = hypercbt("init", "-r", tmp_path / "new", "--json")
    assert done.exit_code == 0
    assert done.document["format"] == 1
    assert done.document["chunk_bytes"] == 256 << 10
    assert len(done.document["repository"]) == 32


def test_backup_says_what_it_did(repository: Path, disk: Path) -> None:
    done = hypercbt("backup", disk, "-r", repository, "--json")
    assert done.exit_code == 0
    assert done.document["name"] == "web01"
    (result,) = done.document["disks"]
    assert result["disk"] == "web01"
    assert result["disk_bytes"] == 8 << 20
    assert result["method"] == "full"
    assert result["changed_bytes"] is None
    assert result["new_bytes"] == 3 << 20
    assert result["new_chunks"] == 3 * 16
    assert result["missed_chunks"] == 0
    assert done.stderr == ""


def test_a_second_backup_of_the_same_disk_stores_nothing_new(
    repository: Path, disk: Path
) -> None:
    backup(repository, disk)
    done = hypercbt("backup", disk, "-r", repository, "--json")
    (result,) = done.document["disks"]
    assert (result["method"], result["new_bytes"]) == ("compare", 0)


def test_full_reads_everything_again(repository: Path, disk: Path) -> None:
    backup(repository, disk)
    done = hypercbt("backup", disk, "-r", repository, "--full", "--json")
    (result,) = done.document["disks"]
    assert (result["method"], result["new_bytes"]) == ("full", 0)
    assert result["read_bytes"] >= 3 << 20


def test_a_list_from_a_file_reads_only_what_it_claims(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    first = backup(repository, disk)
    data = overwrite(disk, (3 * CHUNK + 5, b"changed"))
    changes = tmp_path / "changes.json"
    changes.write_text(json.dumps([[3 * CHUNK + 5, 7]]))
    done = hypercbt(
        "backup", disk, "-r", repository, "--audit", "off", "--json",
        "--changes", changes, "--since", first,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (result,) = done.document["disks"]
    assert (result["method"], result["changed_bytes"]) == ("list", 7)
    assert (result["read_bytes"], result["new_bytes"]) == (CHUNK, CHUNK)
    assert restored(repository, done.document["restore_point"], tmp_path) == data


def test_a_list_from_standard_input_is_binary_pairs(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    backup(repository, disk)
    data = overwrite(disk, (0, b"first"), (5 * CHUNK, b"second"))
    done = hypercbt(
        "backup", disk, "-r", repository, "--changes", "-", "--since", "web01@latest",
        "--audit", "off", "--json",
        stdin=struct.pack("<4Q", 5 * CHUNK, 6, 0, 5),
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (result,) = done.document["disks"]
    assert (result["changed_bytes"], result["read_bytes"]) == (11, 2 * CHUNK)
    assert restored(repository, done.document["restore_point"], tmp_path) == data


def test_a_missed_change_exits_with_five_and_is_healed(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    first = backup(repository, disk)
    data = overwrite(disk, (0, b"claimed"), (8 * CHUNK, b"nobody said so"))
    claim = tmp_path / "changes.json"
    claim.write_text("[[0, 7]]")
    wrong = backup(
        repository, disk, "--changes", claim, "--since", first, "--audit", "off"
    )
    assert restored(repository, wrong, tmp_path) != data
    done = hypercbt(
        "backup", disk, "-r", repository, "--audit", "full", "--json",
        "--changes", claim, "--since", wrong,
    )  # fmt: skip
    assert done.exit_code == 5, done.stderr
    assert done.document["disks"][0]["missed_chunks"] == 1
    assert restored(repository, done.document["restore_point"], tmp_path) == data
    listed = hypercbt("points", "-r", repository, "--json").document
    (suspect,) = listed["suspects"]
    assert (suspect["first"], suspect["last"]) == (wrong, wrong)
    assert suspect["extents"] == [[8 * CHUNK, CHUNK]]
    text = hypercbt("points", "-r", repository)
    assert "suspect: 1 extents of disk web01 of file:web01" in text.stdout


def test_a_list_that_leaves_a_change_out_says_so_to_people(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    first = backup(repository, disk)
    overwrite(disk, (8 * CHUNK, b"nobody said so"))
    claim = tmp_path / "changes.json"
    claim.write_text("[]")
    done = hypercbt(
        "backup", disk, "-r", repository, "--audit", "full",
        "--changes", claim, "--since", first,
    )  # fmt: skip
    assert done.exit_code == 5
    assert "the list of changes missed 1 changed chunks" in done.stdout


def restored(repository: Path, point: str, folder: Path) -> bytes:
    output = folder / "restored.raw"
    done = hypercbt("restore", point, output, "-r", repository, "--overwrite")
    assert done.exit_code == 0, done.stderr
    return output.read_bytes()


def test_points_lists_the_newest_first(repository: Path, disk: Path) -> None:
    first = backup(repository, disk)
    second = backup(repository, disk, "--name", "shop")
    third = backup(repository, disk)
    listed = hypercbt("points", "-r", repository, "--json").document["points"]
    assert [point["restore_point"] for point in listed] == [third, second, first]
    listed = hypercbt("points", "shop", "-r", repository, "--json").document["points"]
    assert [point["restore_point"] for point in listed] == [second]
    text = hypercbt("points", "-r", repository).stdout
    assert first[:12] in text
    assert "shop" in text


def test_points_of_an_empty_repository_are_none(repository: Path) -> None:
    done = hypercbt("points", "-r", repository, "--json")
    assert (done.exit_code, done.document["points"]) == (0, [])
    assert hypercbt("points", "-r", repository).stdout == "no restore points\n"


@pytest.mark.parametrize("form", ["id", "prefix", "latest"])
def test_show_takes_every_form_of_a_point(
    repository: Path, disk: Path, form: str
) -> None:
    point = backup(repository, disk)
    text = {"id": point, "prefix": point[:6], "latest": "web01@latest"}[form]
    done = hypercbt("show", text, "-r", repository, "--json")
    assert done.exit_code == 0
    assert done.document["restore_point"] == point
    (shown,) = done.document["disks"]
    assert (shown["index"], shown["disk_format"]) == (0, "raw")
    assert point in hypercbt("show", text, "-r", repository).stdout


def test_diff_names_the_changed_chunks(repository: Path, disk: Path) -> None:
    first = backup(repository, disk)
    overwrite(disk, (CHUNK - 1, b"xy"), (20 * CHUNK, b"z"))
    second = backup(repository, disk)
    done = hypercbt("diff", first, second, "-r", repository, "--json")
    assert done.exit_code == 0
    (result,) = done.document["disks"]
    assert result["extents"] == [[0, 2 * CHUNK], [20 * CHUNK, CHUNK]]
    assert result["changed_bytes"] == 3 * CHUNK
    same = hypercbt("diff", second, second, "-r", repository, "--json")
    assert same.document["disks"][0]["extents"] == []


def test_restore_to_raw_and_to_vhdx_gives_every_byte(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    data = disk.read_bytes()
    point = backup(repository, disk)
    raw, vhdx = tmp_path / "out.raw", tmp_path / "out.vhdx"
    done = hypercbt("restore", point, raw, "-r", repository, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["disk_bytes"] == len(data)
    assert raw.read_bytes() == data
    done = hypercbt("restore", "web01@latest", vhdx, "-r", repository, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["output_format"] == "vhdx"
    with VirtualDisk.open(vhdx) as opened:
        assert opened.format == "vhdx"
        assert opened.read_at(0, opened.size) == data


def test_restore_can_be_told_the_disk_and_the_format(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    point = backup(repository, disk)
    output = tmp_path / "out.bak"
    done = hypercbt(
        "restore", point, output, "-r", repository, "--disk", "0", "--format", "raw"
    )
    assert done.exit_code == 0, done.stderr
    assert output.read_bytes() == disk.read_bytes()


def test_a_vhdx_is_backed_up_and_keeps_its_identity(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    data = disk.read_bytes()
    vhdx, again = tmp_path / "db.vhdx", tmp_path / "again.vhdx"
    hypercbt("restore", backup(repository, disk), vhdx, "-r", repository)
    point = backup(repository, vhdx)
    done = hypercbt("restore", point, again, "-r", repository)
    assert done.exit_code == 0, done.stderr
    with VirtualDisk.open(vhdx) as one, VirtualDisk.open(again) as two:
        assert one.disk_id == two.disk_id
        assert two.read_at(0, two.size) == data
    clone = tmp_path / "clone.vhdx"
    done = hypercbt("restore", point, clone, "-r", repository, "--new-disk-id")
    assert done.exit_code == 0, done.stderr
    with VirtualDisk.open(vhdx) as one, VirtualDisk.open(clone) as two:
        assert one.disk_id != two.disk_id


def test_verify_of_a_whole_repository_is_clean(repository: Path, disk: Path) -> None:
    first = backup(repository, disk)
    overwrite(disk, (0, b"new"))
    backup(repository, disk)
    everything = hypercbt("verify", "-r", repository, "--json")
    assert everything.exit_code == 0, everything.stderr
    assert everything.document["clean"] is True
    assert everything.document["chunks"] == 3 * 16 + 1
    since = hypercbt("verify", "-r", repository, "--since", first, "--json")
    assert since.exit_code == 0, since.stderr
    assert (since.document["scope"], since.document["chunks"]) == ("since", 1)
    sample = hypercbt("verify", "-r", repository, "--sample", "50", "--json")
    assert sample.exit_code == 0, sample.stderr
    assert sample.document["chunks"] < everything.document["chunks"]
    assert "nothing is damaged" in hypercbt("verify", "-r", repository).stdout


def test_verify_of_a_damaged_repository_exits_with_three_and_names_the_points(
    repository: Path, disk: Path
) -> None:
    point = backup(repository, disk)
    pack = max((repository / "pack").rglob("*"), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    middle = pack.stat().st_size // 2
    byte = pack.read_bytes()[middle]
    overwrite(pack, (middle, bytes([byte ^ 1])))
    done = hypercbt("verify", "-r", repository, "--json")
    assert done.exit_code == 3, done.stderr
    assert done.document["clean"] is False
    (record,) = done.document["damaged"]
    assert record["kind"] == "chunk"
    assert record["points"] == [point]


def test_delete_removes_one_point_and_harms_no_other(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    first = backup(repository, disk)
    data = overwrite(disk, (0, b"new"))
    second = backup(repository, disk)
    done = hypercbt("delete", first, "-r", repository, "--json")
    assert (done.exit_code, done.document["restore_point"]) == (0, first)
    listed = hypercbt("points", "-r", repository, "--json").document["points"]
    assert [point["restore_point"] for point in listed] == [second]
    assert hypercbt("show", first, "-r", repository).exit_code == 1
    assert restored(repository, second, tmp_path) == data


def test_a_damaged_point_is_deleted_by_its_whole_id(
    repository: Path, disk: Path
) -> None:
    ids = [
        hypercbt("backup", disk, "-r", repository, "--json").document["restore_point"]
        for _ in range(2)
    ]
    path = repository / "point" / ids[0]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    assert hypercbt("points", "-r", repository).exit_code == 3
    prefix = hypercbt("delete", ids[0][:12], "-r", repository, "--json")
    assert prefix.document["error"]["exit_code"] == 3
    assert path.exists()
    done = hypercbt("delete", ids[0], "-r", repository, "--json")
    assert (done.exit_code, done.document["name"]) == (0, None)
    left = hypercbt("points", "-r", repository, "--json")
    assert left.exit_code == 0
    assert [point["restore_point"] for point in left.document["points"]] == ids[1:]
    assert hypercbt("delete", ids[0], "-r", repository).exit_code == 1


def test_inspect_says_what_a_file_is(
    tmp_path: Path, repository: Path, disk: Path
) -> None:
    raw = hypercbt("inspect", disk, "--json")
    assert raw.exit_code == 0, raw.stderr
    assert raw.document["disk_format"] == "raw"
    assert raw.document["disk_bytes"] == 8 << 20
    vhdx = tmp_path / "out.vhdx"
    hypercbt("restore", backup(repository, disk), vhdx, "-r", repository)
    done = hypercbt("inspect", vhdx, "--json")
    assert done.document["disk_format"] == "vhdx"
    assert done.document["block_bytes"] > 0
    (layer,) = done.document["layers"]
    assert (layer["kind"], layer["log"]) == ("dynamic", "clean")
    assert layer["path"] == str(vhdx)
    assert "dynamic" in hypercbt("inspect", vhdx).stdout
