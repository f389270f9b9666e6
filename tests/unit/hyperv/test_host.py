"""A host as callers hold it, and what it says changed."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import hypercbt
from hypercbt.errors import VmNotFoundError
from hypercbt.hyperv import credentials, wsman
from hypercbt.hyperv.host import Host
from hypercbt.hyperv.machine_changes import is_rct_id
from hypercbt.hyperv.values import Answer
from hypercbt.models import asdict
from hypercbt.repository import Repository
from unit.hyperv.scripted import (
    DISK_ID,
    WEB01,
    ScriptedSession,
    Slot,
    computer,
    describes,
    disk_answer,
    reference_point,
    settings,
    storage,
    vm,
)

C = "C:\\VMs\\web01\\"
POINT = "4E4E4E4E-0000-4000-8000-000000000001"
OLD_POINT = "4E4E4E4E-0000-4000-8000-000000000002"
RCT = "rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001"
GIB = 1 << 30


def changed(*ranges: tuple[int, int]) -> Answer:
    return Answer(
        0,
        {
            "ChangedByteOffsets": tuple(at for at, _ in ranges),
            "ChangedByteLengths": tuple(length for _, length in ranges),
            "ProcessedByteLength": GIB,
        },
    )


def a_host(*slots: Slot) -> ScriptedSession:
    session = ScriptedSession(*vm(WEB01, "web01"), *storage(WEB01, *slots))
    session.always(
        "GetVirtualHardDiskSettingData",
        describes(*((slot.path, disk_answer(slot.path)) for slot in slots)),
    )
    return session


def a_repository(*baselines: dict[str, Any]) -> Repository:
    """A repository of which only baselines and points are asked."""
    native = SimpleNamespace(
        baselines=lambda: json.dumps(baselines),
    )
    return Repository(cast("Any", native))


def a_baseline(point: str, reference: str = POINT, **disk: object) -> dict[str, Any]:
    machine = f"vm:{WEB01.lower()}"
    entry = {
        "machine": machine,
        "disk_id": DISK_ID.lower(),
        "size": GIB,
        "rct_id": RCT,
        "location": "SCSI 0:0",
        **disk,
    }
    return {
        "point": point,
        "machine": machine,
        "reference_point": f"Microsoft:{reference}",
        "disks": [entry],
    }


# --- the host


def test_a_host_finds_its_machines_and_closes_its_session() -> None:
    session = a_host()

    with Host("hv01", session=session) as host:
        assert [one.name for one in host.vms()] == ["web01"]
        assert host.vm("WEB01").id == WEB01.lower()
        with pytest.raises(VmNotFoundError):
            host.vm("db01")

    assert session.closed
    with pytest.raises(ValueError, match="closed"):
        host.vms()


def test_nothing_is_sent_and_nobody_asked_before_the_first_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}
    session = a_host()

    def opened(host: str, **said: Any) -> ScriptedSession:
        seen.update(said, host=host)
        return session

    def found(host: str, *, user: str | None, ask: bool, ticket: bool) -> str:
        return f"{user}@{host} {ask} {ticket}"

    monkeypatch.setattr(wsman.WsmanSession, "open", opened)
    monkeypatch.setattr(credentials, "find_credentials", found)

    host = hypercbt.Host("hv01", user="ops", ca="ca.pem", port=5986, transport="ntlm")
    assert seen == {}

    assert host.session is host.session is session
    assert seen == {
        "host": "hv01",
        "credentials": "ops@hv01 False False",
        "transport": "ntlm",
        "port": 5986,
        "tls": None,
        "ca": Path("ca.pem"),
        "verify": True,
        "timeout_seconds": 60,
        "record": None,
    }


def test_a_host_that_was_never_asked_is_closed_without_a_word() -> None:
    Host("hv01").close()


def test_a_host_shows_its_name_and_nothing_else() -> None:
    host = Host("hv01", credentials=credentials.Credentials("ops", "secret"))

    assert repr(host) == "<Host hv01>"
    assert "secret" not in str(vars(host))


def test_a_host_has_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.vhdx").write_bytes(b"x")

    host = Host("hv01", map={"C:\\VMs": tmp_path})

    assert host.files.local("C:\\VMs\\A.vhdx") == tmp_path / "a.vhdx"


# --- what changed


def test_changes_are_told_since_the_newest_point_that_can_be_built_upon() -> None:
    session = a_host(Slot(C + "a.vhdx"))
    session.add(reference_point(OLD_POINT))
    session.on("GetVirtualDiskChanges", changed((0, 512), (4096, 512)))
    repository = a_repository(
        a_baseline("f00d", POINT), a_baseline("beef", OLD_POINT, rct_id="rctX:old")
    )

    report = Host("hv01", session=session).changes("web01", repository=repository)

    (disk,) = report.disks
    assert (disk.base, disk.since, disk.reason) == ("beef", "rctX:old", None)
    assert disk.changed_bytes == 1024
    call = session.called("GetVirtualDiskChanges")[0]
    assert call.arguments["Path"] == C + "a.vhdx"
    assert call.arguments["LimitId"] == "rctX:old"
    assert not session.called("CreateSnapshot")


def test_changes_since_a_point_are_those_since_this_one() -> None:
    session = a_host(Slot(C + "a.vhdx"))
    session.add(reference_point(OLD_POINT), reference_point(POINT))
    session.on("GetVirtualDiskChanges", changed())
    repository = a_repository(
        a_baseline("f00d" * 8, POINT),
        a_baseline("beef" * 8, OLD_POINT, rct_id="rctX:old"),
    )
    point = cast("Any", object.__new__(hypercbt.RestorePoint))
    object.__setattr__(point, "id", "beef" * 8)

    report = Host("hv01", session=session).changes(
        "web01", since=point, repository=repository
    )

    assert report.disks[0].since == "rctX:old"


def test_an_id_of_the_hosts_needs_no_repository() -> None:
    session = a_host(Slot(C + "a.vhdx"), Slot(C + "b.vhd", slot=1))
    session.on("GetVirtualDiskChanges", changed((0, 512)))

    report = Host("hv01", session=session).changes("web01", since=RCT)

    first, second = report.disks
    assert (first.base, first.since, first.changed_bytes) == (None, RCT, 512)
    assert second.reason == "a vhd disk has no change tracking"
    assert second.changed_bytes is None


def test_lost_tracking_is_said_of_the_disk_and_the_others_are_told() -> None:
    session = a_host(Slot(C + "a.vhdx"), Slot(C + "b.vhdx", slot=1))
    session.on(
        "GetVirtualDiskChanges",
        Answer(0xC03A0022, {}),
        changed((0, 512)),
    )

    first, second = Host("hv01", session=session).changes("web01", since=RCT).disks

    assert first.extents is None
    assert "CTLOG_VHD_CHANGED_OFFLINE" in str(first.reason)
    assert second.changed_bytes == 512


@pytest.mark.parametrize(
    ("baselines", "reason"),
    [
        ([], "no restore point of this machine"),
        ([a_baseline("f00d", OLD_POINT)], "no longer has the reference point"),
        ([a_baseline("f00d", size=5)], "bytes"),
    ],
)
def test_a_disk_without_a_base_says_why(
    baselines: list[dict[str, Any]], reason: str
) -> None:
    session = a_host(Slot(C + "a.vhdx"))
    session.add(reference_point(POINT))

    report = Host("hv01", session=session).changes(
        "web01", repository=a_repository(*baselines)
    )

    assert reason in str(report.disks[0].reason)
    assert not session.called("GetVirtualDiskChanges")


def test_without_a_moment_there_is_no_question() -> None:
    with pytest.raises(ValueError, match="since when"):
        Host("hv01", session=a_host()).changes("web01")


@pytest.mark.parametrize(
    ("state", "status", "exact"),
    [(2, (2,), False), (3, (2,), True), (6, (2,), True), (3, (2, 32772), False)],
)
def test_only_of_a_machine_at_rest_the_answer_is_exact(
    state: int, status: tuple[int, ...], exact: bool
) -> None:
    session = ScriptedSession(
        computer(WEB01, "web01", EnabledState=state, OperationalStatus=status),
        settings(WEB01, "web01"),
    )

    assert Host("hv01", session=session).changes("web01", since=RCT).exact is exact


def test_the_report_is_its_json() -> None:
    session = a_host(Slot(C + "a.vhdx"))
    session.on("GetVirtualDiskChanges", changed((0, 512)))

    report = Host("hv01", session=session).changes("web01", since=RCT)

    assert asdict(report) == {
        "format": 1,
        "host": "hv01",
        "vm": "web01",
        "vm_id": WEB01.lower(),
        "exact": False,
        "disks": [
            {
                "location": "SCSI 0:0",
                "path": C + "a.vhdx",
                "disk_id": DISK_ID.lower(),
                "disk_bytes": GIB,
                "base": None,
                "since": RCT,
                "changed_bytes": 512,
                "extents": [[0, 512]],
                "reason": None,
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "is_id"),
    [(RCT, True), ("f00dbeef", False), ("web01@latest", False), ("a:b@latest", False)],
)
def test_an_id_of_the_hosts_is_told_from_a_points(text: str, is_id: bool) -> None:
    assert is_rct_id(text) is is_id


def test_who_speaks_to_no_host_loads_nothing_for_it() -> None:
    code = (
        "import sys, hypercbt; "
        "print([name for name in ('winrm', 'keyring', 'requests') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
