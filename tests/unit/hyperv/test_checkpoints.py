"""Checkpoints are made, named, converted and deleted; and what is done where nobody says what happened."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from hypercbt.errors import (
    CheckpointError,
    HostFaultError,
    HostJobError,
    HostReplyError,
    JobUnfinishedError,
    JobVanishedError,
    LostReplyError,
)
from hypercbt.hyperv.checkpoints import (
    Checkpoint,
    Level,
    configuration_files,
    convert,
    create_checkpoint,
    destroy,
    list_checkpoints,
    rename,
)
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.machines import Configuration, find_vm
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.values import Answer, Instance, Value
from unit.hyperv.scripted import (
    DB01,
    RECOVERY,
    SCSI,
    SNAPSHOT,
    USER,
    WEB01,
    ManualClock,
    ScriptedSession,
    affected,
    checkpoint,
    computer,
    host_system,
    job,
    point_reference,
    reference_point,
    settings,
    settings_reference,
    started,
    vm,
    vm_reference,
)

OTHER = "5AA95407-0000-4000-8000-00000000000B"
POINT = "4E4E4E4E-0000-4000-8000-000000000001"
POINT_2 = "4E4E4E4E-0000-4000-8000-000000000002"
LOST = LostReplyError("the connection broke")
STANDING = f"Microsoft:{OTHER}"


def a_host() -> ScriptedSession:
    return ScriptedSession(host_system(), *vm(WEB01, "web01"))


def then(
    session: ScriptedSession, answer: Answer | Exception, *made: Instance
) -> Callable[[Mapping[str, Value]], Answer]:
    """A method that makes something, and answers (or breaks the connection)."""

    def step(_: Mapping[str, Value]) -> Answer:
        session.add(*made)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return step


def create(
    session: ScriptedSession,
    before: tuple[str, ...] = (),
    level: Level = "application",
    clock: ManualClock | None = None,
) -> Checkpoint:
    machine = find_vm(session, "web01")
    return create_checkpoint(
        session, machine, level=level, before=before, clock=clock or ManualClock()
    )


def the_checkpoint(session: ScriptedSession, id: str = SNAPSHOT) -> Checkpoint:
    (found,) = [
        one
        for one in list_checkpoints(session, WEB01.lower())
        if one.id == f"Microsoft:{id}"
    ]
    return found


# --- listing


def test_checkpoints_of_all_kinds_are_listed_oldest_first() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    planned = "Microsoft:Hyper-V:Snapshot:Planned"
    session = a_host()
    session.add(
        settings(WEB01, "late", id=SNAPSHOT, kind=RECOVERY, CreationTime=late),
        settings(WEB01, "early", id=OTHER, kind=USER, CreationTime=early),
        settings(WEB01, "never", id=POINT, kind=planned, CreationTime=None),
        checkpoint(POINT_2, vm=DB01),
    )

    found = list_checkpoints(session, WEB01.lower())

    assert [(one.name, one.kind) for one in found] == [
        ("never", "other"),
        ("early", "user"),
        ("late", "recovery"),
    ]
    assert found[2].vm == WEB01.lower()
    assert found[2].created == late


@pytest.mark.parametrize(
    "changed",
    [
        {"VirtualSystemType": None},
        {"InstanceID": 5},
        {"ElementName": None},
        {"CreationTime": "2026"},
    ],
)
def test_a_checkpoint_that_makes_no_sense_is_not_believed(
    changed: dict[str, Any],
) -> None:
    good = checkpoint()
    session = ScriptedSession(Instance(good.class_name, {**good.properties, **changed}))

    with pytest.raises(HostReplyError):
        list_checkpoints(session, WEB01)


# --- making


@pytest.mark.parametrize(("level", "number"), [("application", 1), ("crash", 2)])
def test_a_recovery_checkpoint_is_asked_for_at_its_level(
    level: Level, number: int
) -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, Answer(0, {}), checkpoint()))

    assert create(session, level=level).id == f"Microsoft:{SNAPSHOT}"

    (call,) = session.calls
    wanted = call.arguments["SnapshotSettings"]
    assert isinstance(wanted, Instance)
    assert dict(wanted.properties) == {
        "ConsistencyLevel": number,
        "IgnoreNonSnapshottableDisks": True,
    }
    assert call.arguments["SnapshotType"] == 32768
    assert call.arguments["AffectedSystem"] == vm_reference(WEB01)
    assert not call.repeatable


def test_of_two_new_ones_the_job_says_which_is_ours() -> None:
    session = a_host()
    session.add(
        job("J", 7),
        affected("J", vm_reference(WEB01), 0),
        affected("OTHER", settings_reference(OTHER), 5),
        affected("J", settings_reference(OTHER), 0),
        affected("j", settings_reference(SNAPSHOT.lower()), 5),
        Instance("Msvm_AffectedJobElement", {"AffectingElement": None}),
    )
    session.on(
        "CreateSnapshot",
        then(session, started("J"), checkpoint(), checkpoint(OTHER)),
    )

    assert create(session).id == f"Microsoft:{SNAPSHOT}"


def test_without_a_word_of_the_job_the_only_new_one_is_ours() -> None:
    session = a_host()
    session.add(job("J", 7), checkpoint(OTHER), checkpoint(POINT, kind=USER))
    session.on(
        "CreateSnapshot",
        then(session, started("J"), checkpoint(), checkpoint(POINT_2, kind=USER)),
    )

    assert create(session, (STANDING.lower(),)).id == f"Microsoft:{SNAPSHOT}"


def test_without_a_word_of_the_job_neither_of_two_new_ones_is_ours() -> None:
    session = a_host()
    session.add(job("J", 7))
    session.on(
        "CreateSnapshot",
        then(session, started("J"), checkpoint(), checkpoint(OTHER)),
    )

    with pytest.raises(CheckpointError, match="cannot be told") as raised:
        create(session)
    assert SNAPSHOT in str(raised.value)
    assert OTHER in str(raised.value)


def test_what_the_job_names_must_be_new_and_a_recovery_checkpoint() -> None:
    session = a_host()
    session.add(
        job("J", 7), checkpoint(OTHER), affected("J", settings_reference(OTHER), 5)
    )
    session.on("CreateSnapshot", then(session, started("J"), checkpoint()))

    with pytest.raises(CheckpointError, match="not there before"):
        create(session, (STANDING,))


def test_done_without_a_checkpoint_is_a_failure() -> None:
    session = a_host()
    session.on("CreateSnapshot", Answer(0, {}))

    with pytest.raises(CheckpointError, match="not there before"):
        create(session)


def test_a_result_that_is_named_at_once_saves_the_question() -> None:
    session = a_host()
    result = {"ResultingSnapshot": settings_reference(SNAPSHOT)}
    session.on(
        "CreateSnapshot",
        then(session, Answer(0, result), checkpoint(), checkpoint(OTHER)),
    )

    assert create(session).id == f"Microsoft:{SNAPSHOT}"
    assert "Enumerate Msvm_AffectedJobElement" not in session.requests


def test_a_failed_job_is_a_failure_with_the_hosts_words() -> None:
    session = a_host()
    session.add(job("J", 10, ErrorCode=32768, ErrorDescription="VSS 0x800423F2"))
    session.on("CreateSnapshot", started("J"))
    session.on("GetErrorEx", Answer(0, {"Errors": None}))

    with pytest.raises(HostJobError, match="checkpoint of web01: VSS 0x800423F2"):
        create(session)


def test_a_busy_machine_is_asked_again() -> None:
    session = a_host()
    session.on("CreateSnapshot", Answer(32775, {}))
    session.on("CreateSnapshot", then(session, Answer(0, {}), checkpoint()))

    assert create(session).id == f"Microsoft:{SNAPSHOT}"


# --- lost answers


def test_a_lost_answer_is_looked_for_and_not_asked_for_again() -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, LOST, checkpoint()))

    assert create(session).id == f"Microsoft:{SNAPSHOT}"
    assert len(session.called("CreateSnapshot")) == 1


def test_a_vanished_job_is_looked_for_too() -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, started("J"), checkpoint()))

    assert create(session).id == f"Microsoft:{SNAPSHOT}"


def test_a_checkpoint_that_is_still_being_made_is_waited_for() -> None:
    session, clock = a_host(), ManualClock()
    busy = computer(WEB01, "web01", OperationalStatus=(2, 32768))
    session.on("CreateSnapshot", then(session, LOST, checkpoint(), checkpoint(OTHER)))
    machine = find_vm(session, "web01")
    session.on_get("Msvm_ComputerSystem", *[busy] * 30)

    made = create_checkpoint(
        session, machine, level="crash", before=(STANDING,), clock=clock
    )

    assert made.id == f"Microsoft:{SNAPSHOT}"
    assert session.requests.count("Get Msvm_ComputerSystem") == 31
    assert clock.time > 20


def test_the_quiet_seconds_begin_when_the_host_has_ended_its_work() -> None:
    session, clock = a_host(), ManualClock()
    machine = find_vm(session, "web01")
    busy = computer(WEB01, "web01", OperationalStatus=(2, 32772))
    session.on("CreateSnapshot", LOST)
    session.on_get("Msvm_ComputerSystem", *[busy] * 30)
    # Nothing is listed while the host works, and five quiet looks see nothing yet.
    session.on_query("Msvm_VirtualSystemSettingData", *[[]] * 5)
    session.add(checkpoint())

    made = create_checkpoint(session, machine, level="crash", before=(), clock=clock)

    assert made.id == f"Microsoft:{SNAPSHOT}"
    assert clock.time > 25


def test_a_request_that_never_arrived_is_lost_after_ten_quiet_seconds() -> None:
    session, clock = a_host(), ManualClock()
    session.on("CreateSnapshot", LOST)

    with pytest.raises(LostReplyError):
        create(session, clock=clock)

    assert 10 <= clock.time < 12
    assert len(session.called("CreateSnapshot")) == 1


def test_after_a_lost_answer_neither_of_two_new_ones_is_ours() -> None:
    session = a_host()
    session.on("CreateSnapshot", then(session, LOST, checkpoint(), checkpoint(OTHER)))

    with pytest.raises(CheckpointError, match="cannot be told"):
        create(session)


def test_a_machine_that_stays_busy_is_given_up_on() -> None:
    session, clock = a_host(), ManualClock()
    machine = find_vm(session, "web01")
    session.instances = vm(WEB01, "web01", OperationalStatus=(2, 32768))
    session.on("CreateSnapshot", LOST)

    with pytest.raises(LostReplyError):
        create_checkpoint(session, machine, level="crash", before=(), clock=clock)
    assert clock.time == pytest.approx(900)


def test_a_job_that_does_not_end_says_so() -> None:
    session = a_host()
    session.add(job("J", 4))
    session.on("CreateSnapshot", started("J"))

    with pytest.raises(JobUnfinishedError):
        create(session)


# --- naming


def test_a_name_is_changed_with_two_properties_and_no_more() -> None:
    session = a_host()
    session.add(checkpoint(), job("J", 7))
    session.on("ModifySystemSettings", started("J"))

    rename(session, the_checkpoint(session), "hypercbt x y", clock=ManualClock())

    (call,) = session.calls
    changed = call.arguments["SystemSettings"]
    assert isinstance(changed, Instance)
    assert changed.class_name == "Msvm_VirtualSystemSettingData"
    assert changed.properties == {
        "InstanceID": f"Microsoft:{SNAPSHOT}",
        "ElementName": "hypercbt x y",
    }
    assert call.repeatable


# --- converting


def converted(
    session: ScriptedSession, disks: tuple[VmDisk, ...] = ()
) -> ReferencePoint:
    return convert(session, the_checkpoint(session), disks=disks, clock=ManualClock())


def becomes(
    session: ScriptedSession, answer: Answer | Exception, *points: Instance
) -> Callable[[Mapping[str, Value]], Answer]:
    step = then(session, answer, *points)

    def convert_step(arguments: Mapping[str, Value]) -> Answer:
        session.remove(f"Microsoft:{SNAPSHOT}")
        return step(arguments)

    return convert_step


def test_a_checkpoint_becomes_the_reference_point_that_the_job_names() -> None:
    session = a_host()
    session.add(
        checkpoint(),
        reference_point(OTHER),
        job("J", 7),
        affected("J", point_reference(POINT), 5),
    )
    session.on(
        "ConvertToReferencePoint",
        becomes(
            session, started("J"), reference_point(POINT), reference_point(POINT_2)
        ),
    )

    point = converted(session)

    assert point.id == f"Microsoft:{POINT}"
    (call,) = session.calls
    assert call.arguments == {"AffectedSnapshot": settings_reference(SNAPSHOT)}
    assert not call.repeatable


def test_of_two_new_reference_points_without_a_name_neither_is_ours() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on(
        "ConvertToReferencePoint",
        becomes(
            session, Answer(0, {}), reference_point(POINT), reference_point(POINT_2)
        ),
    )

    with pytest.raises(CheckpointError, match="cannot be told"):
        converted(session)


def test_a_lost_conversion_is_looked_for() -> None:
    session = a_host()
    session.add(checkpoint(), reference_point(OTHER))
    session.on(
        "ConvertToReferencePoint", becomes(session, LOST, reference_point(POINT))
    )

    assert converted(session).id == f"Microsoft:{POINT}"
    assert len(session.called("ConvertToReferencePoint")) == 1


def test_while_the_checkpoint_stands_a_new_reference_point_is_not_what_it_became() -> (
    None
):
    session = a_host()
    session.add(checkpoint())
    session.on("ConvertToReferencePoint", then(session, LOST, reference_point(POINT)))

    with pytest.raises(LostReplyError):
        converted(session)


def test_the_kinds_of_the_disks_say_whose_an_id_is() -> None:
    device = f"{SCSI}\\0\\{{}}\\L"
    session = a_host()
    session.add(checkpoint())
    ids = [f"Microsoft:{WEB01}\\{device.format(slot)}" for slot in (0, 1)]
    session.on(
        "ConvertToReferencePoint",
        becomes(
            session,
            Answer(0, {}),
            reference_point(POINT, disks=tuple(ids), ids=("rctX:1",)),
        ),
    )
    old = VmDisk(
        f"Microsoft:{SNAPSHOT}\\{device.format(0)}", "a.vhd", "vhd", "SCSI 0:0"
    )
    new = VmDisk(
        f"Microsoft:{SNAPSHOT}\\{device.format(1)}", "b.vhdx", "vhdx", "SCSI 0:1"
    )

    point = converted(session, (old, new))

    assert point.disks == ((ids[0], None), (ids[1], "rctX:1"))
    assert point.rct_ids == {new.device: "rctX:1"}


# --- deleting


def destroyed(session: ScriptedSession, clock: ManualClock | None = None) -> None:
    target = the_checkpoint(session)
    destroy(session, target, clock=clock or ManualClock())


def goes(
    session: ScriptedSession, answer: Answer | Exception
) -> Callable[[Mapping[str, Value]], Answer]:
    return becomes(session, answer)


def test_a_checkpoint_is_deleted_by_its_reference() -> None:
    session = a_host()
    session.add(checkpoint(), job("J", 7))
    session.on("DestroySnapshot", goes(session, started("J")))

    destroyed(session)

    assert session.calls[0].arguments == {
        "AffectedSnapshot": settings_reference(SNAPSHOT)
    }


def test_a_checkpoint_that_is_gone_is_not_deleted_again() -> None:
    session = a_host()
    session.add(checkpoint())
    target = the_checkpoint(session)
    session.remove(target.id)

    destroy(session, target, clock=ManualClock())

    assert session.calls == []


@pytest.mark.parametrize("answer", [Answer(4, {}), HostFaultError("no such object")])
def test_a_refusal_for_something_that_is_gone_is_no_error(
    answer: Answer | Exception,
) -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", goes(session, answer))

    destroyed(session)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(32769, {}), HostJobError), (HostFaultError("no"), HostFaultError)],
)
def test_a_refusal_is_an_error_while_it_stands(
    answer: Answer | Exception, error: type[Exception]
) -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", answer)

    with pytest.raises(error):
        destroyed(session)


def test_a_lost_deletion_is_looked_at() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", goes(session, LOST))

    destroyed(session)

    assert len(session.calls) == 1


def test_a_deletion_that_provably_never_arrived_is_asked_for_again() -> None:
    session, clock = a_host(), ManualClock()
    session.add(checkpoint())
    session.on("DestroySnapshot", LOST, goes(session, Answer(0, {})))

    destroyed(session, clock)

    assert len(session.calls) == 2
    assert clock.time >= 10


def test_a_deletion_that_is_always_lost_is_given_up_on() -> None:
    session = a_host()
    session.add(checkpoint())
    session.always("DestroySnapshot", LOST)

    with pytest.raises(LostReplyError):
        destroyed(session)
    assert len(session.calls) == 3


def test_deleted_and_still_there_is_an_error() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", Answer(0, {}))

    with pytest.raises(HostJobError, match="still there"):
        destroyed(session)


def test_a_vanished_job_of_a_deletion_is_looked_at() -> None:
    session = a_host()
    session.add(checkpoint())
    session.on("DestroySnapshot", started("J"), started("J"), started("J"))

    with pytest.raises(JobVanishedError):
        destroyed(session)
    assert len(session.called("DestroySnapshot")) == 3


# --- configuration


def a_checkpoint(configuration: Configuration | None) -> Checkpoint:
    return Checkpoint("Microsoft:X", WEB01, "x", "recovery", None, configuration)


def test_the_configuration_is_three_files() -> None:
    found = configuration_files(
        a_checkpoint(Configuration("C:\\VMs\\web01\\", "Snapshots\\A.VMCX"))
    )

    assert found == (
        "C:\\VMs\\web01\\Snapshots\\A.vmcx",
        "C:\\VMs\\web01\\Snapshots\\A.vmrs",
        "C:\\VMs\\web01\\Snapshots\\A.vmgs",
    )


def test_an_old_configuration_is_one_file() -> None:
    found = configuration_files(a_checkpoint(Configuration("C:\\VMs", "A.xml")))

    assert found == ("C:\\VMs\\A.xml",)


def test_a_configuration_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(CheckpointError):
        configuration_files(a_checkpoint(None))
