"""A machine that was restored: imported from its backup, over the wire, by a client that is not ours; and its next backup.

It is step D of the recorded sequence: disks and configuration are written beside each other, the configuration is imported, the disks
are named, the machine is validated and realized. The next backup of it must not build upon what was before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

import pytest

from hypercbt import RestorePoint
from hypercbt.lab import LabHost
from integration.hyperv.backups import MIB, Bench, overwrite
from lab.wire.asking import Said
from lab.wire.restoring import COMPUTER, PLANNED, SETTINGS, Restorer, settings, system
from lab.wire.test_other_clients import pypsrp_client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pypsrp")

FOLDER = "C:\\VMs\\restored"


@contextmanager
def restorer(world: Bench, lab: LabHost) -> Iterator[Restorer]:
    with pypsrp_client(lab.server, password="lab") as client:

        def send(data: bytes) -> Said:
            return Said(200, client.transport.send(data).decode())

        yield Restorer(send, lambda: world.clock.advance(0.01))


def write_files(
    lab: LabHost, point: RestorePoint, *, new_disk_id: bool
) -> tuple[str, list[str]]:
    """Restore a point into a folder of the host: its configuration file, and its disk files."""
    ((_, root),) = lab.map.items()
    folder = root / "restored"
    names = map(Path, point.restore_configuration(folder))
    (definition,) = [name for name in names if name.suffix == ".vmcx"]
    disks = []
    for disk in point.disks:
        disks.append(f"{FOLDER}\\{disk.index}.vhdx")
        disk.restore(folder / f"{disk.index}.vhdx", new_disk_id=new_disk_id)
    return f"{FOLDER}\\{definition.name}", disks


def rename(client: Restorer, guid: str, name: str) -> None:
    where = f"Microsoft:{guid}"
    said = settings("SystemSettings", SETTINGS, InstanceID=where, ElementName=name)
    assert client.code(client.invoke("ModifySystemSettings", said)) == 0


def start(client: Restorer, guid: str) -> None:
    said = "<p:RequestedState>2</p:RequestedState>"
    client.done(client.invoke("RequestStateChange", said, system(COMPUTER, guid)))


def test_a_copy_beside_the_original_gets_an_id_of_its_own_and_begins_with_a_full_backup(
    world: Bench,
) -> None:
    vm = world.add_vm(disks=[8 * MIB, 4 * MIB])
    point = world.backup()
    lost = dict(world.truth)
    definition, files = write_files(world.lab, point, new_disk_id=True)
    with restorer(world, world.lab) as client:
        # The original stands, so its id cannot be had again.
        job = client.job(client.bring_in(definition, fresh=False))
        assert job.state == 10
        assert vm.machine.id in job.error
        planned = client.planned(definition, fresh=True)
        # The definition names the frozen files, which are gone.
        assert len(client.job(client.validate(planned)).reasons) == 2
        for disk, file in zip(client.disks(planned.name), files, strict=True):
            client.done(client.rewire(disk, file))
        client.done(client.validate(planned))
        rename(client, planned.name, "web02")

        # Nobody takes the planned machine for one that stands.
        with world.open() as host:
            assert [each.id for each in host.vms()] == [vm.id]
        overwrite(vm, 1)
        assert world.methods(world.backup(audit="off")) == ["rct", "rct"]

        (made,) = client.done(client.realize(planned))
        assert made == system(COMPUTER, planned.name)
        start(client, made.name)
    copy = world.lab.vm("web02")
    overwrite(copy, 2)
    again = world.backup("web02")
    assert again.machine == f"vm:{planned.name.lower()}" != point.machine
    assert world.methods(again) == ["full", "full"]
    assert world.truth.keys() == lost.keys()
    overwrite(copy, 3)
    assert world.methods(world.backup("web02", audit="off")) == ["rct", "rct"]
    overwrite(vm, 4)
    assert world.methods(world.backup(vm.id, audit="off")) == ["rct", "rct"]
    world.assert_clean(vm)
    world.assert_clean(copy)


@pytest.mark.parametrize(
    ("new_disk_id", "method"), [(True, "full"), (False, "compare")]
)
def test_a_machine_that_comes_back_on_another_host_keeps_its_id_and_is_read_as_a_whole(
    world: Bench, new_disk_id: bool, method: str
) -> None:
    vm = world.add_vm()
    world.backup()
    overwrite(vm, 1)
    point = world.backup()
    before = world.truth["SCSI 0:0"]
    with LabHost(world.folder / "new", name="LAB2", clock=world.clock) as other:
        other.when_frozen(world.hold)
        definition, (file,) = write_files(other, point, new_disk_id=new_disk_id)
        with restorer(world, other) as client:
            planned = client.planned(definition, fresh=False)
            assert planned == system(PLANNED, vm.machine.id)
            (disk,) = client.disks(planned.name)
            client.done(client.rewire(disk, file))
            client.done(client.realize(planned))
            start(client, planned.name)
        restored = other.vm(vm.id)
        assert PureWindowsPath(restored.disks[0].path) == PureWindowsPath(file)
        assert restored.disks[0].read(0, len(before)) == before
        assert restored.reference_points == ()
        overwrite(restored, 2)
        done = world.try_backup(lab=other)
        world.compare(done.point)
        assert done.point.machine == point.machine
        assert world.methods(done.point) == [method]
        if method == "compare":
            assert "reference point" in world.reason(done.point)
        overwrite(restored, 3)
        done = world.try_backup(lab=other, audit="off")
        world.compare(done.point)
        assert world.methods(done.point) == ["rct"]
