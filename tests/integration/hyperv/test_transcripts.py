"""Transcripts: one of the lab host, recorded and played back, and one that was recorded long ago.

What is played back is asked exactly as it was recorded. So a fixture from a real host needs a story like this one:
each step taken from what the host has told, and nothing from anywhere else.
"""

from pathlib import Path

from hypercbt.hyperv.conversation import Conversation
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.transcript import Replay
from hypercbt.hyperv.values import Instance, Reference, Value
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab import LabHost, ManualClock, Pace

RECORDED = Path(__file__).parents[2] / "data" / "transcripts" / "lab-host.jsonl"
MIB = 1 << 20


def service(class_name: str) -> Reference:
    return Reference(class_name, {"CreationClassName": class_name})


def story(session: Session, label: str) -> dict[str, object]:
    """Make a recovery checkpoint of a machine, follow its job, and ask what is asked of a disk."""
    told: dict[str, object] = {}
    [vm] = session.query("Msvm_ComputerSystem", where={"ElementName": label})
    name = vm.properties["Name"]
    assert isinstance(name, str)
    told["state"] = vm.properties["OperationalStatus"]
    settings = {
        str(found.properties["VirtualSystemType"]): found
        for found in session.query(
            "Msvm_VirtualSystemSettingData", where={"VirtualSystemIdentifier": name}
        )
    }
    told["settings"] = sorted(settings)
    disks = [
        str(path[0])
        for found in session.query(
            "Msvm_StorageAllocationSettingData",
            prefix={"InstanceID": f"Microsoft:{name}\\"},
        )
        if isinstance(path := found.properties["HostResource"], tuple)
    ]
    told["disks"] = [path.rpartition(".")[2] for path in disks]
    disk = session.invoke(
        service("Msvm_ImageManagementService"),
        "GetVirtualHardDiskSettingData",
        {"Path": disks[0]},
        repeatable=True,
    ).out["SettingData"]
    assert isinstance(disk, Instance)
    told["size"] = disk.properties["MaxInternalSize"]
    answer = session.invoke(
        service("Msvm_VirtualSystemSnapshotService"),
        "CreateSnapshot",
        {
            "AffectedSystem": Reference("Msvm_ComputerSystem", {"Name": name}),
            "SnapshotSettings": Instance(
                "Msvm_VirtualSystemSnapshotSettingData", {"ConsistencyLevel": 2}
            ),
            "SnapshotType": 32768,
        },
    )
    told["created"] = answer.return_value
    told["job"] = states(session, answer.out["Job"])
    told["unknown id"] = session.invoke(
        service("Msvm_ImageManagementService"),
        "GetVirtualDiskChanges",
        {"Path": disks[0], "LimitId": "rctX:0", "ByteOffset": 0, "ByteLength": MIB},
        repeatable=True,
    ).return_value
    return told


def states(session: Session, job: Value) -> list[Value]:
    assert isinstance(job, Reference)
    seen: list[Value] = []
    for _ in range(100):
        found = session.get(job)
        assert found is not None
        seen.append(found.properties["JobState"])
        if seen[-1] == 7:
            break
    return seen


def test_a_transcript_of_the_lab_host_can_be_played_back(tmp_path: Path) -> None:
    path = tmp_path / "transcript"
    clock = ManualClock(step_seconds=0.2)
    with LabHost(tmp_path / "lab", clock=clock, pace=Pace()) as lab:
        lab.add_vm("web01", disks=[8 * MIB])
        who = Credentials(*lab.credentials)
        with WsmanSession.open(lab.host, credentials=who, record=path) as session:
            told = story(session, "web01")

    text = path.read_text()
    assert "web01" not in text.lower()
    label = next(n for n in (f"word{i}" for i in range(1, 20)) if f"= '{n}'" in text)
    replay = Replay(path)
    with Conversation("anywhere", replay, sleep=lambda _: None) as again:
        assert story(again, label) == told
    assert not replay.unasked


def test_a_transcript_of_old_can_be_played_back() -> None:
    replay = Replay(RECORDED)
    with Conversation("anywhere", replay, sleep=lambda _: None) as session:
        told = story(session, "word1")

    jobs = told.pop("job")
    assert isinstance(jobs, list)
    assert jobs[-1] == 7
    assert set(jobs) <= {2, 3, 4, 7}
    assert told == {
        "state": (2,),
        "settings": ["Microsoft:Hyper-V:System:Realized"],
        "disks": ["vhdx", "iso"],
        "size": 8 * MIB,
        "created": 4096,
        "unknown id": 32768,
    }
    assert not replay.unasked
