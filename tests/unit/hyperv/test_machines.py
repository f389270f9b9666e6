"""Which machines a host has."""

import pytest

from hypercbt.errors import (
    AmbiguousVmError,
    HostFaultError,
    HostReplyError,
    VmNotFoundError,
)
from hypercbt.hyperv.machines import find_vm, list_vms, merging_is_suspended
from hypercbt.hyperv.values import Instance, Value
from unit.hyperv.scripted import (
    DB01,
    RECOVERY,
    WEB01,
    ScriptedSession,
    checkpoint,
    computer,
    host_system,
    settings,
    vm,
)


def test_the_host_is_no_machine_and_checkpoints_are_no_settings() -> None:
    session = ScriptedSession(
        host_system("WEB01"), checkpoint(), *vm(WEB01, "web01"), *vm(DB01, "db01")
    )

    assert [(one.name, one.id) for one in list_vms(session)] == [
        ("db01", DB01.lower()),
        ("web01", WEB01.lower()),
    ]


def test_a_list_costs_two_requests() -> None:
    guids = [f"{number:08X}-0000-4000-8000-000000000000" for number in range(100)]
    session = ScriptedSession(host_system())
    session.add(*(one for guid in guids for one in vm(guid, "same")))

    assert len(list_vms(session)) == 100
    assert len(session.requests) == 2


@pytest.mark.parametrize("spelled", ["{" + WEB01 + "}", WEB01.lower(), WEB01])
def test_a_machine_is_found_by_its_guid_in_any_spelling(spelled: str) -> None:
    session = ScriptedSession(host_system(), *vm(WEB01, "web01"), *vm(DB01, "db01"))

    found = find_vm(session, spelled)

    assert found.name == "web01"
    assert found.settings_id == f"Microsoft:{WEB01}"
    assert session.requests == [
        "Get Msvm_ComputerSystem",
        "Query Msvm_VirtualSystemSettingData",
    ]


@pytest.mark.parametrize(
    ("state", "suspended"), [(0, True), (1, False), (2, False), (None, False)]
)
def test_merging_is_suspended_where_the_host_says_so(
    state: int | None, suspended: bool
) -> None:
    session = ScriptedSession(*vm(WEB01, "web01"))
    assert not merging_is_suspended(session, WEB01.lower())  # no such instance

    key = rf"Microsoft:{WEB01}\DeviceSpecificData"
    said: dict[str, Value] = {"InstanceID": key, "EnabledState": state}
    session.add(Instance("Msvm_DiskMergeSettingData", said))
    assert merging_is_suspended(session, WEB01.lower()) is suspended


def test_a_host_that_does_not_show_what_it_merges_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise HostFaultError("no such class")

    session = ScriptedSession(*vm(WEB01, "web01"))
    monkeypatch.setattr(session, "get", refuse)
    assert not merging_is_suspended(session, WEB01.lower())


def test_settings_that_spell_the_guid_otherwise_are_those_of_the_machine() -> None:
    session = ScriptedSession(
        computer(WEB01, "web01"), settings(WEB01.lower(), "web01")
    )

    assert find_vm(session, "web01").id == list_vms(session)[0].id == WEB01.lower()


def test_a_name_that_looks_like_a_guid_is_a_name_too() -> None:
    session = ScriptedSession(*vm(WEB01, DB01))

    assert find_vm(session, DB01).id == WEB01.lower()


def test_the_name_of_the_host_finds_no_machine() -> None:
    session = ScriptedSession(host_system("HV01"))

    with pytest.raises(
        VmNotFoundError, match=r"hv01 has no virtual machine 'HV01'.*cluster.*node"
    ):
        find_vm(session, "HV01")


def test_two_machines_of_one_name_are_told_apart_by_the_caller() -> None:
    session = ScriptedSession(*vm(WEB01, "web"), *vm(DB01, "web"))

    with pytest.raises(AmbiguousVmError) as raised:
        find_vm(session, "web")

    assert f"{WEB01.lower()}, {DB01.lower()}" in str(raised.value)


def test_the_spelling_tells_two_names_apart_that_differ_by_case_alone() -> None:
    session = ScriptedSession(*vm(WEB01, "web"), *vm(DB01, "WEB"))

    assert find_vm(session, "WEB").id == DB01.lower()
    with pytest.raises(AmbiguousVmError):
        find_vm(session, "Web")


def test_a_machine_that_went_away_while_it_was_listed_is_left_out() -> None:
    session = ScriptedSession(computer(WEB01, "web01"), *vm(DB01, "db01"))

    assert [one.name for one in list_vms(session)] == ["db01"]
    with pytest.raises(VmNotFoundError, match="without settings"):
        find_vm(session, "web01")


def test_a_machine_that_came_while_it_was_listed_is_looked_up() -> None:
    session = ScriptedSession(*vm(WEB01, "web01"))
    session.on_query("Msvm_VirtualSystemSettingData", [])

    assert [one.name for one in list_vms(session)] == ["web01"]


@pytest.mark.parametrize(
    ("enabled", "state"),
    [
        (2, "running"),
        (3, "off"),
        (6, "saved"),
        (32769, "saved"),
        (9, "paused"),
        (32768, "paused"),
        (10, "other"),
        (None, "other"),
    ],
)
def test_states_have_names(enabled: int | None, state: str) -> None:
    session = ScriptedSession(*vm(WEB01, "web01", EnabledState=enabled))

    assert find_vm(session, "web01").state == state


@pytest.mark.parametrize(
    ("status", "busy"),
    [
        ((2,), None),
        ((2, 0), None),
        ((2, None), None),
        (None, None),
        ((2, 32768), "creating a checkpoint"),
        ((2, 32772), "merging disks"),
        ((2, 32774), "migrating"),
        ((2, 40000), "busy (status 40000)"),
        ((2, None, 32770), "deleting a checkpoint"),
    ],
)
def test_the_second_status_says_what_a_machine_is_busy_with(
    status: Value, busy: str | None
) -> None:
    session = ScriptedSession(*vm(WEB01, "web01", OperationalStatus=status))

    assert find_vm(session, "web01").busy == busy


def test_what_the_settings_say() -> None:
    session = ScriptedSession(
        computer(WEB01, "web01", ReplicationMode=2),
        settings(
            WEB01,
            "web01",
            Version="5.0",
            VirtualSystemSubType="Microsoft:Hyper-V:SubType:1",
            UserSnapshotType=5,
            ConfigurationDataRoot="C:\\VMs\\web01\\",
        ),
        settings(WEB01, "other", id=DB01, kind=RECOVERY, Version="9.0"),
    )

    found = find_vm(session, "web01")

    assert (found.version, found.generation) == ("5.0", 1)
    assert (found.checkpoint_type, found.replication) == ("standard", "replica")
    assert found.configuration is not None
    assert found.configuration.path == f"C:\\VMs\\web01\\Virtual Machines\\{WEB01}.vmcx"
    assert found.reference.selectors["Name"] == WEB01


@pytest.mark.parametrize(
    "changed",
    [
        {"Name": None},
        {"Name": 5},
        {"ElementName": None},
        {"EnabledState": "2"},
        {"OperationalStatus": (2, "busy")},
        {"ReplicationMode": True},
    ],
)
def test_an_answer_that_makes_no_sense_is_not_believed(
    changed: dict[str, Value],
) -> None:
    session = ScriptedSession(
        computer(WEB01, "web01", **changed), settings(WEB01, "web01")
    )

    with pytest.raises(HostReplyError):
        list_vms(session)


@pytest.mark.parametrize(
    "changed",
    [
        {"VirtualSystemIdentifier": "web01"},
        {"InstanceID": None},
        {"UserSnapshotType": "3"},
        {"Version": 10},
    ],
)
def test_settings_that_make_no_sense_are_not_believed(
    changed: dict[str, Value],
) -> None:
    good = settings(WEB01, "web01")
    bad = Instance(good.class_name, {**good.properties, **changed})
    session = ScriptedSession(computer(WEB01, "web01"), bad)

    with pytest.raises(HostReplyError):
        list_vms(session)
