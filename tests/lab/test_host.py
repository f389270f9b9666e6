"""The lab host whole, over real HTTP, asked by a client that is not ours: the requests stand here as they are sent."""

import gc
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercbt import VirtualDisk
from hypercbt.lab import LabHost, LabVm, ManualClock
from hypercbt.lab.faults import Drop, FailJob, Fault, FaultPlan, Return, Run
from lab.wire.asking import V2, A, W, local
from lab.wire.test_other_clients import (
    element,
    enumerate_element,
    pypsrp_client,
    selectors,
    texts,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pypsrp")

SNAPSHOTS = "Msvm_VirtualSystemSnapshotService"
IMAGES = "Msvm_ImageManagementService"
CONSISTENT = (
    '<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData">'
    '<PROPERTY NAME="ConsistencyLevel" TYPE="uint8"><VALUE>{level}</VALUE></PROPERTY></INSTANCE>'
)


class Client:
    """A backup program, as short as can be, on pypsrp."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.open = pypsrp_client(host.server)

    def query(self, wql: str) -> Any:
        return self.open.enumerate(f"{V2}/*", enumerate_element(wql))

    def invoke(self, service: str, method: str, inside: str) -> Any:
        uri = f"{V2}/{service}"
        body = element(
            f'<p:{method}_INPUT xmlns:p="{uri}" xmlns:a="{A}" xmlns:w="{W}">{inside}</p:{method}_INPUT>'
        )
        chosen = selectors(CreationClassName=service)
        return self.open.invoke(f"{uri}/{method}", uri, body, selector_set=chosen)

    def reference(self, name: str, class_name: str, **keys: str) -> str:
        chosen = "".join(
            f'<w:Selector Name="{key}">{value}</w:Selector>'
            for key, value in keys.items()
        )
        return (
            f"<p:{name}><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>"
            f"<a:ReferenceParameters><w:ResourceURI>{V2}/{class_name}</w:ResourceURI>"
            f"<w:SelectorSet>{chosen}</w:SelectorSet></a:ReferenceParameters></p:{name}>"
        )

    def snapshot(self, vm: LabVm, level: int = 2) -> Any:
        text = CONSISTENT.format(level=level).replace("<", "&lt;")
        return self.invoke(
            SNAPSHOTS,
            "CreateSnapshot",
            self.reference("AffectedSystem", "Msvm_ComputerSystem", Name=vm.id.upper())
            + f"<p:SnapshotSettings>{text}</p:SnapshotSettings><p:SnapshotType>32768</p:SnapshotType>",
        )

    def convert(self, snapshot: str) -> Any:
        target = self.reference(
            "AffectedSnapshot", "Msvm_VirtualSystemSettingData", InstanceID=snapshot
        )
        return self.invoke(SNAPSHOTS, "ConvertToReferencePoint", target)

    def changes(self, path: str, since: str, length: int) -> list[tuple[int, int]]:
        found = self.invoke(
            IMAGES,
            "GetVirtualDiskChanges",
            f"<p:Path>{path}</p:Path><p:LimitId>{since}</p:LimitId><p:TargetSnapshotId></p:TargetSnapshotId>"
            f"<p:ByteOffset>0</p:ByteOffset><p:ByteLength>{length}</p:ByteLength>",
        )
        assert texts(found, "ReturnValue") == ["0"]
        numbers = [
            [int(str(text)) for text in texts(found, name)]
            for name in ("ChangedByteOffsets", "ChangedByteLengths")
        ]
        return list(zip(*numbers, strict=True))

    def job(self, answer: Any) -> tuple[str | None, str | None]:
        """Follow the job to its end: its state, and what it says of errors."""
        assert texts(answer, "ReturnValue") == ["4096"]
        (job,) = [one for one in answer.iter() if local(str(one.tag)) == "Job"]
        (instance_id,) = texts(job, "Selector")
        while True:
            found = self.open.get(
                f"{V2}/Msvm_ConcreteJob",
                selector_set=selectors(InstanceID=str(instance_id)),
            )
            (state,) = texts(found, "JobState")
            if state not in ("2", "3", "4"):
                (said,) = texts(found, "ErrorDescription")
                return state, said

    def snapshots(self, vm: LabVm) -> list[str | None]:
        return texts(
            self.query(
                "SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemType="
                f"'Microsoft:Hyper-V:Snapshot:Recovery' AND VirtualSystemIdentifier='{vm.id.upper()}'"
            ),
            "InstanceID",
        )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LabHost]:
    # Each look at the clock takes a few milliseconds of its time, so that jobs end by being asked for.
    clock = ManualClock(step_seconds=0.002)
    with LabHost(
        tmp_path,
        users={"lab": "geheim"},
        faults=FaultPlan(),
        clock=clock,
        power_cuts=True,
    ) as made:
        yield made


def rest(client: Client) -> None:
    """Ask until nothing is done to any machine."""
    while any(
        status == "32772"
        for status in texts(
            client.query("SELECT * FROM Msvm_ComputerSystem"), "OperationalStatus"
        )
    ):
        pass


def frozen_file(vm: LabVm) -> str:
    (disk,) = vm.checkpoints[-1].disks
    return disk.layer or disk.file


def backup(client: Client, vm: LabVm) -> tuple[bytes, str, list[str | None]]:
    """A checkpoint, its whole content, and the reference point that it becomes."""
    assert client.job(client.snapshot(vm))[0] == "7"
    (snapshot,) = client.snapshots(vm)
    path = frozen_file(vm)
    with VirtualDisk.open(vm.host.model.files.local(path)) as disk:
        content = disk.read_at(0, disk.size)
    assert client.job(client.convert(str(snapshot)))[0] == "7"
    rest(client)
    points = client.query(
        "SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE VirtualSystemIdentifier="
        f"'{vm.id.upper()}'"
    )
    return content, path, texts(points, "ResilientChangeTrackingIdentifiers")


def test_a_backup_program_that_is_not_ours_gets_through(host: LabHost) -> None:
    vm = host.add_vm("web01", disks=[8 << 20])
    client = Client(host)
    vm.disks[0].write(0, b"1" * 4096)
    content, _, (since,) = backup(client, vm)
    assert content[:4096] == b"1" * 4096
    vm.disks[0].write(1 << 20, b"2" * 4096)
    assert client.job(client.snapshot(vm))[0] == "7"
    assert client.changes(frozen_file(vm), str(since), 8 << 20) == [(1 << 20, 4096)]


def test_a_job_fails_where_the_plan_wants_it(host: LabHost) -> None:
    vm = host.add_vm("web01", disks=[8 << 20])
    client = Client(host)
    host.faults.add(Fault("CreateSnapshot", FailJob(32768, "Kein Platz (0x80070070)")))
    assert client.job(client.snapshot(vm)) == ("10", "Kein Platz (0x80070070)")
    assert client.snapshots(vm) == []
    assert client.job(client.snapshot(vm)) == ("7", None)


def test_a_method_is_refused_where_the_plan_wants_it(host: LabHost) -> None:
    vm = host.add_vm("web01", disks=[8 << 20])
    client = Client(host)
    host.faults.add(Fault("CreateSnapshot", Return(32775)))
    assert texts(client.snapshot(vm), "ReturnValue") == ["32775"]
    assert vm.checkpoints == ()


def test_a_lost_answer_may_have_started_the_job(host: LabHost) -> None:
    vm = host.add_vm("web01", disks=[8 << 20])
    client = Client(host)
    host.faults.add(Fault("CreateSnapshot", Drop(after=True)))
    with pytest.raises(Exception, match=r"(?i)connection|aborted|remote|protocol"):
        client.snapshot(vm)
    client = Client(host)
    while not client.snapshots(vm):
        pass
    assert len(vm.checkpoints) == 1


def test_the_power_is_cut_in_the_middle_of_a_request(host: LabHost) -> None:
    vm = host.add_vm("web01", disks=[8 << 20])
    client = Client(host)
    before = host.host
    _, _, (since,) = backup(client, vm)
    vm.disks[0].write(0, b"3" * 4096)
    vm.disks[0].flush()
    host.faults.add(Fault("CreateSnapshot", Run(host.power_cut, after=True)))
    with pytest.raises(Exception, match=r"(?i)connection|aborted|remote|protocol"):
        client.snapshot(vm)
    host.restart()
    assert host.host == before
    client = Client(host)
    assert client.snapshots(vm) == []
    assert client.job(client.snapshot(vm))[0] == "7"
    changes = client.changes(frozen_file(vm), str(since), 8 << 20)
    assert any(at <= 0 < at + length for at, length in changes)


def test_a_connection_that_breaks_before_its_answer_is_closed_at_once(
    host: LabHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is closed when memory is tidied up, whoever runs then."""
    left: list[object] = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    host.faults.add(Fault("*", Run(host.power_cut)))
    with pytest.raises(Exception, match=r"(?i)connection|aborted|remote|protocol"):
        Client(host).query("SELECT * FROM Msvm_ComputerSystem")
    host.restart()
    gc.collect()
    assert left == []


def test_power_that_is_gone_is_not_cut_again(
    host: LabHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the same fault strikes the next request too, the first cut is still under way."""
    broken: list[None] = []
    monkeypatch.setattr(host.server, "drop_connections", lambda: broken.append(None))
    host.power_cut()
    host.power_cut()
    assert len(broken) == 1
    host.restart()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no port can be held")
def test_nobody_else_is_given_the_port_of_a_host_that_is_down(host: LabHost) -> None:
    place = ("127.0.0.1", host.server.port)
    host.server.close()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(place)
    host.close()
    with socket.socket() as other:
        other.bind(place)


WRITES = st.lists(
    st.tuples(st.integers(0, 63), st.integers(1, 4), st.integers(1, 255)), max_size=5
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=st.lists(WRITES, min_size=1, max_size=3), cuts=st.sets(st.integers(0, 2)))
def test_whatever_is_written_and_cut_what_changed_is_told(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: list[list[tuple[int, int, int]]],
    cuts: set[int],
) -> None:
    """Patching the last content with what is reported gives the present one."""
    size, unit = 1 << 20, 16384
    clock = ManualClock(step_seconds=0.002)
    with LabHost(
        tmp_path_factory.mktemp("lab"),
        users={"lab": "geheim"},
        clock=clock,
        power_cuts=True,
    ) as host:
        vm = host.add_vm("web01", disks=[size])
        client = Client(host)
        known, _, ids = backup(client, vm)
        for number, writes in enumerate(rounds):
            _write(vm, writes, unit, size)
            if number in cuts:
                host.power_cut()
                host.restart()
                client = Client(host)
            assert client.job(client.snapshot(vm))[0] == "7"
            path = frozen_file(vm)
            with VirtualDisk.open(host.model.files.local(path)) as disk:
                content = disk.read_at(0, size)
            patched = bytearray(known)
            for at, length in client.changes(path, str(ids[-1]), size):
                patched[at : at + length] = content[at : at + length]
            assert patched == content
            (snapshot,) = client.snapshots(vm)
            assert client.job(client.convert(str(snapshot)))[0] == "7"
            rest(client)
            known = content
            ids = [vm.reference_points[-1].disks[0][1]]


def _write(vm: LabVm, writes: list[tuple[int, int, int]], unit: int, size: int) -> None:
    write: Callable[[int, bytes], None] = vm.disks[0].write
    for at, length, byte in writes:
        data = bytes([byte]) * min(length * unit, size - at * unit)
        write(at * unit, data)
    if len(writes) % 2:  # else a power cut may take some of it
        vm.disks[0].flush()
