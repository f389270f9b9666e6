"""The switches of the lab, each in every position, and what shows that it is: for test_quirks.py."""

import re
import socket
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from hypercbt.errors import (
    ForeignCheckpointError,
    HostAccessDeniedError,
    HostFaultError,
    HostUnreachableError,
)
from hypercbt.hyperv.values import Reference
from hypercbt.lab import LabHost, LabVm, NewDisk, Quirks
from hypercbt.lab.faults import FailJob, Run
from hypercbt.lab.model.services import MANAGEMENT, POINTS
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing
from integration.hyperv.backups import CHUNK, MIB, overwrite
from integration.hyperv.watched import Watched, until

CHANGES = "GetVirtualDiskChanges"
Play = Callable[[Watched], None]


@dataclass(frozen=True)
class Case:
    """A switch in one position, and what shows that it is."""

    switch: str
    value: object
    play: Play
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Other switches that it needs to show."""

    def quirks(self) -> Quirks:
        return Quirks(**self._of(Quirks))

    def options(self) -> WireOptions:
        return WireOptions(**self._of(WireOptions))

    def _of(self, kind: type[Quirks | WireOptions]) -> dict[str, Any]:
        said = {**self.beside, self.switch: self.value}
        return {
            name: value
            for name, value in said.items()
            if name in {known.name for known in fields(kind)}
        }


# What shows it


def plain(*shown: Play, times: int = 2, **more: Any) -> Play:
    """Let two or three backups pass, and look at what was said."""

    def play(world: Watched) -> None:
        world.story(world.web01(**more), times=times)
        for one in shown:
            one(world)

    return play


def said(what: str, pattern: str, *, never: bool = False) -> Play:
    """Something is in an answer, or in none."""

    def look(world: Watched) -> None:
        answers = world.wire.answers(what)
        assert answers, what
        found = [one for one in answers if re.search(pattern, one)]
        assert bool(found) is not never, pattern

    return look


def asked(what: str, pattern: str, *, never: bool = False) -> Play:
    """Something is in each request, or in none."""

    def look(world: Watched) -> None:
        requests = world.wire.asked(what)
        assert requests, what
        for one in requests:
            assert bool(re.search(pattern, one)) is not never, pattern

    return look


def never_asked(what: str) -> Play:
    """No such request was sent."""

    def look(world: Watched) -> None:
        assert world.wire.asked(what) == []

    return look


def refused(call: str, subcode: str, *, never: bool = False) -> Play:
    """A request was refused like this, or none was."""

    def look(world: Watched) -> None:
        assert (subcode in world.subcodes(call)) is not never

    return look


def scattered(vm: LabVm) -> int:
    """Let a guest write in so many places that an answer gets long; how many."""
    (disk,) = vm.disks
    places = range(0, disk.size, 4 * 4096)
    for at in places:
        disk.write(at, at.to_bytes(8) * 512)
    return len(places)


def much_changed(*shown: Play) -> Play:
    """Have an answer of hundreds of ranges."""

    def play(world: Watched) -> None:
        vm = world.web01()
        world.backup(consistency="crash")
        scattered(vm)
        point = world.backup(consistency="crash", audit="off")
        assert world.methods(point) == ["rct"]
        world.assert_clean(vm)
        for one in shown:
            one(world)

    return play


def nothing_changed(*shown: Play) -> Play:
    """Have an answer without ranges."""

    def play(world: Watched) -> None:
        world.web01()
        world.backup(consistency="crash")
        point = world.backup(consistency="crash", audit="off")
        assert world.methods(point) == ["rct"]
        assert point.stats.read_bytes == 0
        for one in shown:
            one(world)

    return play


def in_pieces(least: int, most: int) -> Play:
    """The changes were asked for so often."""

    def look(world: Watched) -> None:
        assert least <= len(world.wire.asked(CHANGES)) <= most

    return look


# What needs more than that


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


def off(world: Watched) -> None:
    vm = world.web01()
    vm.stop()
    world.story(vm)
    points = world.repository.points()
    assert {point.consistency for point in points} == {"off"}
    asked("CreateSnapshot", "ConsistencyLevel.*?<VALUE>2<|ConsistencyLevel.*?&gt;2&lt;")


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


def of_somebody_else(world: Watched) -> None:
    """A stale recovery checkpoint of another product: refused, and gone where it is adopted."""
    vm = world.web01()
    vm.recovery_checkpoint("Bareos JobId 7")
    with pytest.raises(ForeignCheckpointError):
        world.backup()
    assert [found.name for found in vm.checkpoints] == ["Bareos JobId 7"]
    done = world.try_backup(adopt=True)
    world.compare(done.point)
    world.assert_clean(vm)
    world.story(vm, first="rct")


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
    for answer in world.wire.answers("Enumerate Msvm_VirtualSystemReferencePoint"):
        points = answer.count("VirtualSystemIdentifier>") // 2
        said_ids = len(re.findall("<p:ResilientChangeTrackingIdentifiers", answer))
        assert said_ids == wanted * points


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
                done = world.try_backup(lab=other, audit="off")
                world.compare(done.point)
                assert world.methods(done.point) == [then]
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


class Seconds:
    """What enumerations expire by."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


ROWS = "Enumerate Msvm_AffectedJobElement"
MADE_MACHINE = (
    "<p:AffectedElement>(?:(?!</p:AffectedElement>).)*v2/Msvm_ComputerSystem<"
    "(?:(?!</p:Msvm_).)*ElementEffects>5<"
)
"""A row of a job that says it has made a machine: it is none of ours."""
DISK_INFO = "GetVirtualHardDiskSettingData"
LOWER = "[0-9]*[a-f][0-9a-f]*-"
UPPER = "[0-9]*[A-F][0-9A-F]*-"
DISK_ID = '"VirtualDiskId" TYPE="string"&gt;&lt;VALUE&gt;{}'
PARENT = 'Parent>[^<]*InstanceID="Microsoft:'
SMALL = {"max_envelope_bytes": 16_384}
PAGED = {"max_batch_items": 1}
FAULTS = {"lost": "fault"}

CASES = [
    # Jobs
    Case("jobs_end_with_warnings", False, plain(said("Get Msvm_C", "JobState>7<"))),
    Case("jobs_end_with_warnings", True, plain(said("Get Msvm_C", "JobState>32768<"))),
    Case("bland_job_errors", False, a_reason_in_the_errors(False)),
    Case("bland_job_errors", True, a_reason_in_the_errors(True)),
    Case("rename_by_job", False, plain(said("ModifySystemS", "ReturnValue>0<"))),
    Case("rename_by_job", True, plain(said("ModifySystemS", "ReturnValue>4096<"))),
    Case("clean_up_by_job", False, plain(said("DestroyRef", "ReturnValue>0<"))),
    Case("clean_up_by_job", True, plain(said("DestroyRef", "ReturnValue>4096<"))),
    Case(
        "affected_rows_of_others",
        False,
        plain(said(ROWS, MADE_MACHINE, never=True), said(ROWS, "Effects>0<")),
    ),
    Case("affected_rows_of_others", True, plain(said(ROWS, MADE_MACHINE))),
    # What a list looks like
    Case("guid_case_varies", False, plain(said(DISK_INFO, DISK_ID.format(UPPER)))),
    Case("guid_case_varies", True, plain(said(DISK_INFO, DISK_ID.format(LOWER)))),
    Case(
        "parent_case_varies",
        False,
        plain(said("Msvm_Storage", PARENT + UPPER)),
    ),
    Case(
        "parent_case_varies",
        True,
        plain(said("Msvm_Storage", PARENT + LOWER)),
    ),
    Case("shuffle_seed", None, plain(disks=[4 * MIB] * 3)),
    Case("shuffle_seed", 0, plain(disks=[4 * MIB] * 3)),
    Case("shuffle_seed", 5, plain(disks=[4 * MIB] * 3)),
    # Virtual machines and services
    Case("documented_states", False, states(9, 6)),
    Case("documented_states", True, states(32768, 32769)),
    Case("selectors_required", False, without_selector(MANAGEMENT, False)),
    Case("selectors_required", True, without_selector(MANAGEMENT, True)),
    Case("reference_point_selectors_required", False, without_selector(POINTS, False)),
    Case("reference_point_selectors_required", True, without_selector(POINTS, True)),
    Case("namespace_selector", False, plain(said("Enum", "__cim", never=True))),
    Case("namespace_selector", True, plain(said("CreateSnapshot", "__cimnamespace"))),
    # Checkpoints
    Case("guest_backup_type", True, plain(asked("CreateS", "GuestB", never=True))),
    Case("guest_backup_type", False, plain(asked("CreateS", "GuestB", never=True))),
    Case("empty_settings", True, plain(asked("CreateS", "ConsistencyLevel"))),
    Case("empty_settings", False, plain(asked("CreateS", "ConsistencyLevel"))),
    Case("application_layer", True, layered(True)),
    Case("application_layer", False, layered(False)),
    Case("layer_in_changes", True, layered(True)),
    Case("layer_in_changes", False, layered(True)),
    Case("application_of_off", True, off),
    Case("application_of_off", False, off),
    Case("second_recovery_checkpoint", True, of_somebody_else),
    Case("second_recovery_checkpoint", False, of_somebody_else),
    Case("recovery_destroy_works", True, a_failure_is_tidied_up(True)),
    Case("recovery_destroy_works", False, a_failure_is_tidied_up(False)),
    # Reference points
    Case("untracked", "short", ids_of_some),
    Case("untracked", "null", ids_of_some),
    Case("shuffled_disks", True, four_disks(True)),
    Case("shuffled_disks", False, four_disks(False)),
    # Changes
    Case(
        "short_answers",
        True,
        much_changed(in_pieces(2, 8), refused(CHANGES, "w:EncodingLimit", never=True)),
        SMALL,
    ),
    Case(
        "short_answers",
        False,
        much_changed(in_pieces(3, 20), refused(CHANGES, "w:EncodingLimit")),
        SMALL,
    ),
    Case("most_ranges", None, much_changed(in_pieces(1, 1))),
    Case("most_ranges", 7, much_changed(in_pieces(37, 37))),
    Case("coarse_bytes", 0, plain(said(CHANGES, "Lengths>4096<"))),
    Case("coarse_bytes", MIB, plain(said(CHANGES, "Lengths>1048576<"))),
    Case("coarse_bytes", 3 * CHUNK, plain(said(CHANGES, "Lengths>196608<"))),
    Case("lost", "return", lost("return", said(CHANGES, "ReturnValue>32768<"))),
    Case("lost", "job", lost("job", said("Get Msvm_StorageJob", "JobState>10<"))),
    Case("lost", "fault", lost("fault", by_a_fault)),
    Case("whole_length", True, plain(said(CHANGES, "Value>32773<", never=True))),
    Case("whole_length", False, plain(said(CHANGES, "Value>32773<"))),
    Case("tracking_travels", True, handed_over(True)),
    Case("tracking_travels", False, handed_over(False)),
    # Merges
    Case("export_stops_merging", True, after_an_export(True)),
    Case("export_stops_merging", False, after_an_export(False)),
    # The wire
    Case("host_name", "LAB1", plain(said("Msvm_Resource", r"\\\\LAB1\\root"))),
    Case("host_name", "web01", plain(said("Msvm_ResourceA", r"\\\\web01\\root"))),
    Case("language", "de-DE", plain(said("Get", 'lang="de-DE"'))),
    Case("language", "en-US", plain(said("Get", 'lang="en-US"'))),
    Case("language", "ja-JP", plain(said("Get", 'lang="ja-JP"'))),
    Case("max_envelope_bytes", 512_000, much_changed(in_pieces(1, 1))),
    Case("max_envelope_bytes", 16_384, much_changed(in_pieces(2, 8))),
    Case("max_batch_items", 32_000, plain(never_asked("Pull"))),
    Case("max_batch_items", 1, plain(said("Pull", "EndOfSequence"))),
    Case(
        "enumeration_timeout_seconds",
        60.0,
        expired(False),
        {"clock": Seconds(), **PAGED},
    ),
    Case(
        "enumeration_timeout_seconds", 5.0, expired(True), {"clock": Seconds(), **PAGED}
    ),
    Case("max_enumerations", 1500, enumerations_of_others(False), PAGED),
    Case("max_enumerations", 1, enumerations_of_others(True), PAGED),
    Case("max_connections", 300, connections_of_others(False)),
    Case("max_connections", 1, connections_of_others(True)),
    Case("connection_timeout_seconds", 120.0, idle(False)),
    Case("connection_timeout_seconds", 0.05, idle(True)),
    Case("one_item_pulls", True, plain(asked("Enumerate", "MaxElements>50<"))),
    Case("one_item_pulls", False, plain(asked("Enumerate", "MaxElements>50<"))),
    Case("last_pull_empty", False, plain(never_asked("Pull"))),
    Case("last_pull_empty", True, plain(said("Pull", "Items></n:Items>"))),
    Case("refuse_filters", False, plain(asked("Enumerate Msvm_St", "WQL"))),
    Case("refuse_filters", True, plain(refused("Enumerate", "w:CannotProcessFilter"))),
    # Nothing is asked for by properties, so neither form comes.
    Case(
        "projected_fragments",
        True,
        plain(asked("Enumerate", "SELECT (?![*])", never=True)),
    ),
    Case(
        "projected_fragments",
        False,
        plain(asked("Enumerate", "SELECT (?![*])", never=True)),
    ),
    Case(
        "empty_array_is_nil",
        False,
        nothing_changed(said(CHANGES, "ByteOffsets", never=True)),
    ),
    Case(
        "empty_array_is_nil",
        True,
        nothing_changed(said(CHANGES, 'ByteOffsets xsi:nil="true"')),
    ),
    Case(
        "wmi_error_alone", False, lost("fault", said(CHANGES, "f:WSManFault")), FAULTS
    ),
    Case(
        "wmi_error_alone",
        True,
        lost("fault", said(CHANGES, "f:WSManFault", never=True)),
        FAULTS,
    ),
    Case("channel_bindings", True, plain()),
    Case("channel_bindings", False, plain()),
    Case("allow_unencrypted", False, in_the_clear(False)),
    Case("allow_unencrypted", True, in_the_clear(True)),
    Case("denied_users", frozenset(), plain()),
    Case("denied_users", frozenset({"lab"}), denied),
]
