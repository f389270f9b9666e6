"""The run of a machine through the binding: what it stores, who may use it, how it ends."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hypercbt
from hypercbt import (
    Extents,
    Repository,
    RestorePoint,
    VirtualDisk,
    _native,
    asdict,
    errors,
)
from hypercbt.documents import now_microseconds, parse_list
from hypercbt.lab import TrackedDisk
from machines import MACHINE, Part, back_up, begin, read
from support import files_under
from support import hypercbt as command

MIB = 1 << 20
CHUNK = 64 << 10


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", chunk_size=CHUNK)


def make_disk(path: Path, seed: int = 1, size: int = 4 * MIB) -> bytes:
    """Make a VHDX with noise in it."""
    data = random.Random(seed).randbytes(size)
    path.parent.mkdir(exist_ok=True)
    with TrackedDisk.create(path, size, block_size=MIB) as disk:
        disk.write_at(0, data)
    return data


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    make_disk(tmp_path / "web01.vhdx")
    return tmp_path / "web01.vhdx"


def test_a_point_of_two_disks_and_three_files_gives_them_all_back(
    tmp_path: Path, repository: Repository
) -> None:
    disks = [tmp_path / "one.vhdx", tmp_path / "two.vhdx"]
    data = [make_disk(path, seed) for seed, path in enumerate(disks)]
    files = {
        "web01.vmcx": b"settings" * 999,
        "web01.vmrs": b"",
        "a.vmgs": b"\0" * CHUNK,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    point = back_up(
        repository,
        [Part(disks[0], "SCSI 0:0"), Part(disks[1], "SCSI 0:1")],
        files=[tmp_path / name for name in files],
        consistency="application",
    )
    assert point.machine == MACHINE
    assert point.consistency == point.stats.consistency == "application"
    assert [disk.location for disk in point.disks] == ["SCSI 0:0", "SCSI 0:1"]
    assert [disk.open().read() for disk in point.disks] == data
    stored = {file.name: file.open().read() for file in point.configuration}
    assert stored == files
    assert {file.name: file.size for file in point.configuration} == {
        name: len(content) for name, content in files.items()
    }
    assert repository.verify().clean
    again = repository.point(point.id)
    assert asdict(again) == asdict(point)
    assert asdict(again)["configuration"][0] == {"name": "web01.vmcx", "size": 7992}  # type: ignore[index]


def test_an_incremental_says_what_it_read(
    tmp_path: Path, repository: Repository
) -> None:
    path = tmp_path / "disk.vhdx"
    data = bytearray(make_disk(path))
    with TrackedDisk.open(path) as tracked:
        frozen = tracked.freeze()
        first = back_up(repository, [Part(frozen.file, sealed_in="disk.vhdx")])
        tracked.thaw()
        tracked.write_at(CHUNK, b"x" * 512)
        data[CHUNK : CHUNK + 512] = b"x" * 512
        frozen = tracked.freeze(since=[frozen.id])
        [changes] = frozen.changes.values()
        layer = tmp_path / "layer.avhdx"
        tracked.add_layer(layer, [(10 * CHUNK, b"y" * 512)])
        run = begin(repository, [first.id])
        part = Part(
            layer, method="rct", changes=changes, base=first.id, sealed_in="disk.vhdx"
        )
        read_of: dict[str, Any] = read(run, part)
        run.commit(consistency="crash")
        assert run.close() == []
    data[10 * CHUNK : 10 * CHUNK + 512] = b"y" * 512
    assert (read_of["method"], read_of["base"]) == ("rct", first.id)
    assert read_of["layer_extents"] == [[10 * CHUNK, 512]]
    assert read_of["stats"]["chunks"] == 2
    assert repository.point(run.id).open().read() == data


def test_layers_of_a_disk_say_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    make_disk(path)
    with TrackedDisk.open(path) as tracked:
        tracked.freeze()
        layer = tmp_path / "layer.avhdx"
        tracked.add_layer(layer, [(MIB, b"y" * 1024)])
        with VirtualDisk.open(layer) as disk:
            assert disk.allocated_above(0) == Extents()
            assert disk.allocated_above(1) == Extents([(MIB, 1024)])


def test_a_run_leaves_nothing_that_anybody_sees_if_it_is_aborted(
    repository: Repository, disk: Path
) -> None:
    run = begin(repository)
    read(run, Part(disk))
    run.abort()
    assert repository.points() == []
    assert parse_list(repository.native.leases()) == []
    assert repository.native.run_state(run.id) == "closed"
    with pytest.raises(ValueError, match="the run is over"):
        run.commit(consistency=None)
    with pytest.raises(ValueError, match="the run is over"):
        run.abort()


def test_a_run_that_is_dropped_leaves_its_lease_to_those_who_look_after_it(
    repository: Repository, disk: Path
) -> None:
    run = begin(repository)
    dropped = run.id
    read(run, Part(disk))
    del run
    [lease] = parse_list(repository.native.leases())
    assert (lease["run"], lease["machine"]) == (dropped, MACHINE)
    assert lease["state"] == repository.native.run_state(dropped) == "open"
    assert lease["owner"] == "here 1 2"
    assert lease["vm"] == {
        "host": "hv01",
        "checkpoints": ["checkpoint"],
        "reference_points": ["reference"],
    }
    now = now_microseconds()
    assert repository.native.fence(dropped, created=now)
    assert repository.native.run_state(dropped) == "fenced"
    assert repository.native.fence(dropped, created=now)
    repository.native.close_lease(dropped, committed=False)
    assert parse_list(repository.native.leases()) == []
    assert repository.native.run_state(dropped) == "closed"


def test_a_run_that_was_fenced_makes_no_point(
    repository: Repository, disk: Path
) -> None:
    run = begin(repository)
    read(run, Part(disk))
    repository.native.fence(run.id, created=now_microseconds())
    with pytest.raises(errors.RunFencedError):
        run.commit(consistency=None)
    run.abort()
    assert repository.points() == []


def test_a_run_that_was_first_is_not_fenced(repository: Repository, disk: Path) -> None:
    run = begin(repository)
    read(run, Part(disk))
    run.commit(consistency=None)
    assert not repository.native.fence(run.id, created=now_microseconds())
    [lease] = parse_list(repository.native.leases())
    assert lease["state"] == "committed"
    with pytest.raises(ValueError, match="not known to have ended"):
        repository.native.close_lease(run.id, committed=False)
    repository.native.close_lease(run.id, committed=True)
    assert len(repository.points()) == 1


def test_what_this_repository_knows_nothing_of_is_said_so(
    repository: Repository,
) -> None:
    assert repository.native.run_state("ab" * 16) == "unknown"
    assert repository.native.run_state("no id") == "unknown"
    with pytest.raises(ValueError, match="no id of a run"):
        repository.native.fence("no id", created=1)


def test_a_baseline_counts_until_it_is_void(repository: Repository, disk: Path) -> None:
    points = [back_up(repository, [Part(disk)], baseline=True) for _ in range(2)]

    def standing() -> list[tuple[str, int]]:
        entries = parse_list(repository.native.baselines())
        return [(entry["point"], len(entry["disks"])) for entry in entries]

    assert standing() == [(points[1].id, 1), (points[0].id, 1)]
    [entry, _] = parse_list(repository.native.baselines())
    assert (entry["machine"], entry["sequence"]) == (MACHINE, 2)
    assert entry["reference_point"] == "reference"
    assert entry["disks"] == [
        {
            "machine": MACHINE,
            "disk_id": points[1].disks[0].disk_id,
            "location": "SCSI 0:0",
            "size": 4 * MIB,
            "rct_id": "rct0",
        }
    ]
    repository.void_baselines("vm:another")
    repository.void_baselines(MACHINE, ["another disk"])
    assert standing() == [(points[1].id, 1), (points[0].id, 1)]
    repository.void_baselines(MACHINE)
    # They still name reference points that somebody has to take away.
    assert standing() == [(points[1].id, 0), (points[0].id, 0)]
    newer = back_up(repository, [Part(disk)], baseline=True)
    assert standing()[0] == (newer.id, 1)


# Misuse, and the order of things.


@pytest.mark.parametrize(
    "part",
    [
        {"method": "rct"},
        {"method": "rct", "base": "ab" * 16},
        {"method": "compare", "changes": Extents()},
        {"method": "full", "base": "ab" * 16},
        {"method": "guess"},
        {"audit": "sometimes"},
    ],
)
def test_a_request_that_says_two_things_is_misuse_and_the_run_goes_on(
    repository: Repository, disk: Path, part: dict[str, Any]
) -> None:
    run = begin(repository)
    with pytest.raises(ValueError, match=r"rct|method|audit"):
        read(run, Part(disk, **part))
    read(run, Part(disk))
    run.commit(consistency=None)
    run.close()


def test_a_state_that_no_point_can_have_makes_none(
    repository: Repository, disk: Path
) -> None:
    run = begin(repository)
    read(run, Part(disk))
    with pytest.raises(errors.HypercbtError):
        run.commit(consistency="perfect")
    run.abort()
    assert repository.points() == []


def test_a_base_that_is_not_there_is_said_so(repository: Repository) -> None:
    with pytest.raises(errors.PointNotFoundError):
        begin(repository, ["ab" * 16])


def test_two_copies_of_a_disk_at_one_place_end_the_run(
    repository: Repository, disk: Path
) -> None:
    run = begin(repository)
    read(run, Part(disk))
    with pytest.raises(errors.DiskIdentityError, match="two disks"):
        read(run, Part(disk))
    with pytest.raises(ValueError, match="can only be given up"):
        run.commit(consistency=None)
    run.abort()


def test_a_file_that_is_not_there_costs_the_file_and_not_the_point(
    tmp_path: Path, repository: Repository, disk: Path
) -> None:
    run = begin(repository)
    read(run, Part(disk))
    with pytest.raises(errors.SourceError, match="cannot open"):
        run.store_file("web01.vmcx", str(tmp_path / "absent"))
    with pytest.raises(errors.SourceError, match="cannot hold"):
        run.store_file("../web01.vmcx", str(disk))
    run.commit(consistency=None)
    assert run.close() == []
    [point] = repository.points()
    assert point.configuration == ()
    with pytest.raises(errors.PointNotFoundError):
        repository.native.point_file(point.id, "web01.vmcx")


# Progress, Ctrl-C, and other threads.


def test_what_progress_raises_ends_the_disk_and_is_raised(
    repository: Repository, disk: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    run = begin(repository)
    with VirtualDisk.open(disk) as opened, pytest.raises(KeyboardInterrupt):
        run.backup_disk(
            opened.native,
            disk_name="x",
            location=None,
            method="full",
            progress=interrupt,
        )
    with pytest.raises(ValueError, match="can only be given up"):
        run.commit(consistency=None)
    run.abort()
    assert repository.points() == []


def audited(
    run: _native.MachineRun,
    disk: Path,
    base: RestorePoint,
    progress: Callable[[str, int, int], None],
) -> str:
    """Read a disk of which nothing is said to have changed, and compare all of it."""
    with VirtualDisk.open(disk) as opened:
        return run.backup_disk(
            opened.native,
            disk_name="x",
            location="SCSI 0:0",
            method="rct",
            changes=Extents(),
            base=base.id,
            audit="full",
            progress=progress,
        )


def test_a_run_that_is_in_use_refuses_another_call_and_hears_that_its_audit_is_over(
    repository: Repository, disk: Path
) -> None:
    first = back_up(repository, [Part(disk, sealed_in=disk.name)])
    run = begin(repository, [first.id])
    refused: list[str] = []

    def progress(phase: str, *_: int) -> None:
        def call() -> None:
            with pytest.raises(ValueError, match="in use") as caught:
                run.commit(consistency=None)
            refused.append(str(caught.value))

        call()
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        run.stop_audit()

    document = audited(run, disk, first, progress)
    assert len(refused) >= 2
    read_of = json.loads(document)
    assert read_of["stats"]["audited_bytes"] == 0
    assert read_of["audit"]["owed_chunks"] == 4 * MIB // CHUNK
    run.abort()


def test_a_comparison_that_is_stopped_has_an_error_of_its_own(
    repository: Repository, disk: Path
) -> None:
    first = back_up(repository, [Part(disk, sealed_in=disk.name)])
    with TrackedDisk.open(disk) as tracked:
        tracked.write_at(MIB, b"missed" + bytes(506))
    run = begin(repository, [first.id])

    def progress(phase: str, *_: int) -> None:
        if phase == "audit":
            run.stop_audit()

    with pytest.raises(errors.AuditUnfinishedError) as caught:
        audited(run, disk, first, progress)
    assert caught.value.retryable
    run.abort()
    assert [point.id for point in repository.points()] == [first.id]


# The command line.


@pytest.fixture
def point(tmp_path: Path, repository: Repository, disk: Path) -> RestorePoint:
    """A point of one disk and two files."""
    for name in ("web01.vmcx", "web01.vmgs"):
        (tmp_path / name).write_bytes(name.encode() * 100)
    return back_up(
        repository,
        [Part(disk)],
        files=[tmp_path / "web01.vmcx", tmp_path / "web01.vmgs"],
        consistency="application",
    )


def test_show_and_points_say_what_a_machines_point_is(
    repository: Repository, point: RestorePoint
) -> None:
    done = command("show", point.id, "-r", repository.path)
    assert "application-consistent" in done.stdout
    assert "disk 0: web01 at SCSI 0:0" in done.stdout
    assert "configuration: web01.vmgs, 1000 B" in done.stdout
    done = command("show", point.id, "-r", repository.path, "--json")
    assert done.document["consistency"] == "application"
    assert done.document["disks"][0]["location"] == "SCSI 0:0"
    assert done.document["configuration"][0] == {"name": "web01.vmcx", "size": 1000}
    done = command("points", "web01", "-r", repository.path)
    assert "full (application)" in done.stdout


def test_restore_writes_the_configuration_instead_of_a_disk_and_beside_it(
    tmp_path: Path, repository: Repository, point: RestorePoint
) -> None:
    folder, output = tmp_path / "new" / "folder", tmp_path / "out.raw"
    words = ("restore", point.id, "-r", repository.path)
    done = command(*words, "--configuration", folder, "--json")
    assert done.exit_code == 0, done.stderr
    paths = [str(folder / "web01.vmcx"), str(folder / "web01.vmgs")]
    assert done.document == {
        "format": 1,
        "restore_point": point.id,
        "configuration": paths,
    }
    assert (folder / "web01.vmcx").read_bytes() == b"web01.vmcx" * 100
    assert files_under(folder) == ["web01.vmcx", "web01.vmgs"]
    done = command(*words, output, "--configuration", folder)
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert not output.exists()
    (folder / "web01.vmcx").write_bytes(b"old")
    done = command(*words, output, "--configuration", folder, "--overwrite", "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["configuration"] == paths
    assert done.document["output"] == str(output)
    assert output.read_bytes() == point.open().read()
    assert (folder / "web01.vmcx").read_bytes() == b"web01.vmcx" * 100
    assert files_under(folder) == ["web01.vmcx", "web01.vmgs"]


def test_restore_that_does_not_say_where_to_is_misuse(
    tmp_path: Path, repository: Repository, point: RestorePoint
) -> None:
    words = ("restore", point.id, "-r", repository.path)
    assert command(*words).exit_code == 2
    folder = tmp_path / "folder"
    done = command(*words, "--configuration", folder, "--disk", "0")
    assert (done.exit_code, folder.exists()) == (2, False)
    # A disk that cannot be leaves no configuration either.
    bad = command(*words, tmp_path / "no-suffix", "--configuration", folder)
    assert (bad.exit_code, folder.exists()) == (2, False)


def test_a_point_without_configuration_says_so(
    tmp_path: Path, repository: Repository, disk: Path
) -> None:
    point = hypercbt.backup_disk(disk, repository=repository)
    assert (point.configuration, point.consistency) == ((), None)
    assert point.disks[0].location is None
    with pytest.raises(ValueError, match="no configuration"):
        point.restore_configuration(tmp_path / "folder")


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, repository: Repository, point: RestorePoint
) -> None:
    [pack] = repository_packs(repository)
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    for at in range(200, len(data) - 200, 40):
        data[at] ^= 1
    pack.write_bytes(data)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(errors.IntegrityError):
        point.configuration[0].restore(folder / "web01.vmcx")
    assert files_under(folder) == []
    with pytest.raises(errors.TargetError):
        point.configuration[0].restore(folder / "absent" / "web01.vmcx")


def repository_packs(repository: Repository) -> list[Path]:
    return list(Path(repository.path).glob("pack/*/*"))
