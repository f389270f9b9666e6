"""Listing and naming checkpoints, and where their configuration lies."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hypercbt.errors import (
    CheckpointError,
    HostReplyError,
)
from hypercbt.hyperv.checkpoints import (
    Checkpoint,
    configuration_files,
    list_checkpoints,
    rename,
)
from hypercbt.hyperv.machines import Configuration
from hypercbt.hyperv.values import Instance
from unit.hyperv.checkpointing import OTHER, POINT, a_host, the_checkpoint
from unit.hyperv.scripted import (
    DB01,
    RECOVERY,
    SNAPSHOT,
    USER,
    WEB01,
    ManualClock,
    ScriptedSession,
    checkpoint,
    job,
    settings,
    started,
)

POINT_2 = "4E4E4E4E-0000-4000-8000-000000000002"


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
