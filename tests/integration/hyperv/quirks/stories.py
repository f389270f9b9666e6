"""What shows a switch of the lab where a look at two plain backups does not."""

import re
import socket
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from hypercbt.errors import (
    ForeignCheckpointError,
    HostAccessDeniedError,
    HostFaultError,
    HostUnreachableError,
)
from hypercbt.hyperv.values import Reference
from hypercbt.lab import LabHost, LabVm, NewDisk
from hypercbt.lab.faults import FailJob, Run
from hypercbt.lab.model.services import MANAGEMENT, POINTS
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing
from integration.hyperv.backups import MIB, overwrite
from integration.hyperv.quirks.questions import CRASH, makes_a_checkpoint
from integration.hyperv.quirks.shows import CHANGES, Play, refused, said
from integration.hyperv.watched import Watched, until


class Seconds:
    """What enumerations expire by."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def a_reason_in_the_errors(bland: bool) -> Play:
    def play(world: Watched) -> None:
        vm = world.web01()
        world.fail("CreateSnapshot", FailJob(32768, "0x800423F2, sagt VSS"), times=2)
        done = world.try_backup()
        world.compare(done.point)
        assert done.point.consistency == "crash"
        assert "0x800423F2, sagt VSS" in done.warnings[0]
        said("Get Msvm_ConcreteJob", r"ErrorDescription>0x800423F2, sagt", never=bland)(
            world
        )
        world.story(vm, first="rct")

    return play


def without_selector(service: str, required: bool) -> Play:
    """Whoever does not name the class of the service is refused; we name it."""

    def play(world: Watched) -> None:
        world.story(world.web01())
        name = {MANAGEMENT: "vmms", POINTS: "rpsvc"}[service]
        method, arguments = {
            MANAGEMENT: ("ModifySystemSettings", {}),
            POINTS: (
                "DestroyReferencePoint",
                {
                    "AffectedReferencePoint": Reference(
                        "Msvm_VirtualSystemReferencePoint",
                        {"InstanceID": "Microsoft:none"},
                    )
                },
            ),
        }[service]
        with world.open() as host:
            target = Reference(service, {"Name": name})
            try:
                host.session.invoke(target, method, arguments)
            except HostFaultError as error:
                found = error.subcode
            else:
                found = None
        wanted = {MANAGEMENT: "Receiver", POINTS: "InternalError"}[service]
        assert (found == wanted) is required

    return play


def states(paused: int, saved: int) -> Play:
    def play(world: Watched) -> None:
        vm = world.web01()
        for change, code in ((vm.pause, paused), (vm.save, saved)):
            change()
            overwrite(vm, code)
            point = world.backup(audit="off")
            assert point.consistency == "crash"
            said("Get Msvm_ComputerSystem", f"EnabledState>{code}<")(world)
        assert world.methods(point) == ["rct"]
        world.assert_clean(vm)

    return play


def layered(there: bool) -> Play:
    def play(world: Watched) -> None:
        frozen: list[str] = []

        def hold(vm: LabVm, files: Mapping[str, Path]) -> None:
            world.hold(vm, files)
            frozen.extend(file.suffix for file in files.values())

        world.lab.when_frozen(hold)
        world.story(world.web01())
        assert frozen == [".avhdx" if there else ".vhdx"] * 3

    return play


def of_somebody_else(second: bool) -> Play:
    """A stale recovery checkpoint of another product: refused, and gone where it is adopted."""

    def play(world: Watched) -> None:
        vm = world.web01()
        vm.recovery_checkpoint("Bareos JobId 7")
        with pytest.raises(ForeignCheckpointError):
            world.backup()
        assert makes_a_checkpoint(world, vm, {"ConsistencyLevel": CRASH}) is second
        assert [found.name for found in vm.checkpoints] == ["Bareos JobId 7"]
        done = world.try_backup(adopt=True)
        world.compare(done.point)
        world.assert_clean(vm)
        world.story(vm, first="rct")

    return play


def a_failure_is_tidied_up(destroy_works: bool) -> Play:
    def play(world: Watched) -> None:
        vm = world.web01()
        world.backup()
        points = len(vm.reference_points)

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        overwrite(vm, 1)
        with pytest.raises(KeyboardInterrupt):
            world.backup(progress=stop)
        world.assert_clean(vm)
        assert len(vm.reference_points) == points
        said("DestroySnapshot", "ReturnValue>32775<", never=destroy_works)(world)
        world.story(vm, first="rct")

    return play


def ids_of_some(world: Watched) -> None:
    """The second disk is never tracked: the ids of the others are theirs."""
    disks = [NewDisk(4 * MIB), NewDisk(4 * MIB, kind="vhd"), NewDisk(6 * MIB)]
    vm = world.web01(disks=disks)
    world.backup()
    for seed in range(3):
        overwrite(vm, seed)
        point = world.backup(audit="off")
        assert world.methods(point) == ["rct", "compare", "rct"]
    world.assert_clean(vm)
    wanted = {"short": 2, "null": 3}[world.lab.quirks.untracked]
    seen = 0
    for answer in world.wire.answers("Enumerate Msvm_VirtualSystemReferencePoint"):
        points = answer.count("VirtualSystemIdentifier>") // 2
        said_ids = len(re.findall("<p:ResilientChangeTrackingIdentifiers", answer))
        assert said_ids == wanted * points
        seen += points
    assert seen > 0


def four_disks(shuffled: bool) -> Play:
    def play(world: Watched) -> None:
        vm = world.web01(disks=[4 * MIB] * 4)
        world.story(vm, times=3)
        slots = []
        for answer in world.wire.answers("Enumerate Msvm_VirtualSystemReferencePoint"):
            listed = re.findall(r"VirtualDiskIdentifiers>[^<]*\\(\d)\\L<", answer)
            slots += [listed[at : at + 4] for at in range(0, len(listed), 4)]
        assert slots
        assert all(one == ["0", "1", "2", "3"] for one in slots) is not shuffled

    return play


def lost(how: str, shows: Play) -> Play:
    def play(world: Watched) -> None:
        vm = world.web01()
        world.backup()
        overwrite(vm, 1)
        vm.disks[0].lose_tracking(0xC03A0021)
        point = world.backup()
        assert world.methods(point) == ["compare"]
        assert "change tracking was lost" in world.reason(point)
        if how != "return":
            assert "CTLOG_LOGFILE_SIZE_EXCEEDED_MAXSIZE" in world.reason(point)
        shows(world)
        vm.disks[0].lose_tracking(None)
        overwrite(vm, 2)
        assert world.methods(world.backup(audit="off")) == ["rct"]
        world.assert_clean(vm)

    return play


def by_a_fault(world: Watched) -> None:
    assert [code for code in world.subcodes(CHANGES) if code] != []


def handed_over(travels: bool) -> Play:
    def play(world: Watched) -> None:
        with LabHost(
            world.folder / "other",
            name="LAB2",
            quirks=world.lab.quirks,
            clock=world.clock,
        ) as other:
            other.when_frozen(world.hold)
            vm = world.web01()
            world.backup()
            overwrite(vm, 1)
            world.lab.move(vm, other)
            overwrite(vm, 2)
            for then in ("rct" if travels else "compare", "rct"):
                assert world.methods(world.backup(lab=other, audit="off")) == [then]
                overwrite(vm, 3)
            assert world.lab.counts["CreateSnapshot"] == 1
            assert other.counts["CreateSnapshot"] == 2
            world.assert_clean(vm)

    return play


def after_an_export(stops: bool) -> Play:
    def play(world: Watched) -> None:
        vm = world.web01()
        world.backup()
        export(world, vm)
        assert vm.machine.merging is not stops
        for seed in range(2):
            overwrite(vm, seed)
            done = world.try_backup(audit="off")
            world.compare(done.point)
            assert world.methods(done.point) == ["rct"]
            findings = " ".join(done.point.stats.findings)
            assert ("does not merge its disks" in findings) is stops
        assert any("avhdx" in disk.path for disk in vm.disks) is stops
        vm.set_merging(True)
        overwrite(vm, 5)
        done = world.try_backup(audit="off")
        world.compare(done.point)
        world.assert_clean(vm)

    return play


def export(world: Watched, vm: LabVm) -> None:
    """Let another product export the machine without its storage."""
    model = world.lab.model
    arguments: dict[str, Cim] = {
        "ComputerSystem": Ref("Msvm_ComputerSystem", {"Name": vm.id.upper()}),
        "ExportDirectory": "C:\\VMs\\export",
        "ExportSettingData": Thing(
            "Msvm_VirtualSystemExportSettingData", {"CopyVmStorage": False}
        ),
    }
    call = Call(
        MANAGEMENT,
        {"CreationClassName": MANAGEMENT},
        "ExportSystemDefinition",
        arguments,
        "lab",
        512_000,
    )
    assert model.invoke(call)["ReturnValue"] == 4096
    world.clock.advance(1.0)
    world.lab.settle()


def expired(happens: bool) -> Play:
    """Somebody thinks for half a minute between two pages."""

    def play(world: Watched) -> None:
        vm = world.web01()
        seconds = world.lab.options.clock
        assert isinstance(seconds, Seconds)
        world.fail("Pull", Run(lambda: seconds.pass_by(30)), nth=3)
        world.backup()
        assert world.lab.faults.struck
        refused("Pull", "n:InvalidEnumerationContext", never=not happens)(world)
        world.story(vm, first="rct")

    return play


def enumerations_of_others(happens: bool) -> Play:
    """An enumeration of the same user is under way, and ends after the first refusal."""

    def play(world: Watched) -> None:
        vm = world.web01()
        with world.open() as other:
            held = other.session.enumerate("Msvm_ComputerSystem")
            next(iter(held))
            world.fail("Enumerate", Run(closing(held).__exit__), nth=2)  # type: ignore[type-var]
            world.backup()
        refused("Enumerate", "w:QuotaLimit", never=not happens)(world)
        world.story(vm, first="rct")

    return play


def connections_of_others(happens: bool) -> Play:
    """Another client holds a connection."""

    def play(world: Watched) -> None:
        vm = world.web01()
        address = (str(world.lab.server.address), world.lab.server.port)
        threads = world.lab.server._listener._threads
        with socket.create_connection(address):
            until(lambda: len(threads) == 1)
            if happens:
                with pytest.raises(HostUnreachableError):
                    world.backup()
                assert world.lab.counts["*"] == 0
            else:
                world.backup()
        until(lambda: not threads)
        world.backup()
        until(lambda: not threads)
        overwrite(vm, 1)
        assert world.methods(world.backup(audit="off")) == ["rct"]

    return play


def idle(happens: bool) -> Play:
    """The client reads a disk, and says nothing to the host meanwhile."""

    def play(world: Watched) -> None:
        vm = world.web01()
        listener = world.lab.server._listener
        dropped = 0

        def wait(*_: object) -> None:
            nonlocal dropped
            if happens:
                until(lambda: not listener._threads)
                dropped += 1

        world.backup(progress=wait)
        overwrite(vm, 1)
        point = world.backup(progress=wait, audit="off")
        assert world.methods(point) == ["rct"]
        assert bool(dropped) is happens
        world.assert_clean(vm)

    return play


def denied(world: Watched) -> None:
    world.web01()
    with pytest.raises(HostAccessDeniedError):
        world.backup()
    assert world.lab.counts["CreateSnapshot"] == 0
    assert world.repository.native.leases() == "[]"


def in_the_clear(heard: bool) -> Play:
    """Who asks in the clear is heard, or not; we seal what we say either way."""

    def play(world: Watched) -> None:
        world.story(world.web01())
        host = (str(world.lab.server.address), world.lab.server.port)
        user = b64encode(b"lab:lab").decode()
        text = world.wire.asked("Get Msvm_ComputerSystem")[0]
        headers = {
            "Authorization": f"Basic {user}",
            "Content-Type": "application/soap+xml;charset=UTF-8",
        }
        with closing(HTTPConnection(*host)) as connection:
            connection.request("POST", "/wsman", text.encode(), headers)
            answer = connection.getresponse()
            assert (answer.status == 200) is heard
            answer.read()

    return play
