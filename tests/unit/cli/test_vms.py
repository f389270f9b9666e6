"""`hypercbt vms` and `hypercbt changes`, and how they are told where a host is."""

import json
from pathlib import Path

import pytest

from hypercbt.cli import changes as changes_command
from hypercbt.cli import vms as vms_command
from hypercbt.cli.app import run
from hypercbt.cli.host_options import HostOptions, open_host, parse_maps
from hypercbt.errors import HostAuthenticationError
from hypercbt.hyperv import credentials
from hypercbt.hyperv.host import Host
from hypercbt.hyperv.values import Answer
from unit.hyperv.scripted import (
    DB01,
    WEB01,
    ScriptedSession,
    Slot,
    describes,
    disk_answer,
    host_system,
    storage,
    vm,
)

GIB = 1 << 30
RCT = "rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001"


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> ScriptedSession:
    """A host that the commands find whatever they are told."""
    scripted = ScriptedSession(
        host_system(),
        *vm(WEB01, "web01"),
        *vm(DB01, "db[red]01", EnabledState=3, OperationalStatus=(2, 32772)),
        *storage(WEB01, Slot("C:\\VMs\\a.vhdx"), Slot("C:\\VMs\\b.vhd", slot=1)),
    )
    scripted.always(
        "GetVirtualHardDiskSettingData",
        describes(
            ("C:\\VMs\\a.vhdx", disk_answer("")), ("C:\\VMs\\b.vhd", disk_answer(""))
        ),
    )

    def opened(host: str, options: HostOptions | None) -> Host:
        return Host(host, session=scripted)

    monkeypatch.setattr(vms_command, "open_host", opened)
    monkeypatch.setattr(changes_command, "open_host", opened)
    return scripted


def test_vms_is_a_table(
    session: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vms", "hv01"]) == 0

    out = capsys.readouterr().out
    assert "web01      running             10.0     2    " + WEB01.lower() in out
    assert "db[red]01  off, merging disks  10.0     2    " + DB01.lower() in out
    assert session.closed


def test_vms_is_a_document(
    session: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vms", "hv01", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["host"]) == (1, "hv01")
    assert document["vms"][1] == {
        "id": WEB01.lower(),
        "name": "web01",
        "state": "running",
        "busy": None,
        "version": "10.0",
        "generation": 2,
        "checkpoint_type": "production",
        "replication": "none",
        "settings_id": f"Microsoft:{WEB01}",
        "configuration": {
            "root": "C:\\VMs\\web01",
            "file": f"Virtual Machines\\{WEB01}.vmcx",
        },
    }


def test_changes_says_what_it_cannot_tell_and_ends_with_five(
    session: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    session.on(
        "GetVirtualDiskChanges",
        Answer(
            0,
            {
                "ChangedByteOffsets": (0, 8192),
                "ChangedByteLengths": (512, 512),
                "ProcessedByteLength": GIB,
            },
        ),
    )

    assert run(["changes", "hv01", "web01", "--since", RCT]) == 5

    out = capsys.readouterr().out
    assert "1.0 KiB" in out
    assert "SCSI 0:1: a vhd disk has no change tracking" in out
    assert "not exact" in out


def test_changes_without_a_moment_is_misuse(
    session: ScriptedSession, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["changes", "hv01", "web01", "--json"]) == 2

    document = json.loads(capsys.readouterr().out)
    assert "since when" in document["error"]["message"]


def test_a_machine_that_is_not_there_is_a_failure(session: ScriptedSession) -> None:
    assert run(["changes", "hv01", "nobody", "--since", RCT]) == 1


# --- options


def test_the_options_reach_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[HostOptions | None] = []

    def opened(host: str, options: HostOptions | None) -> Host:
        seen.append(options)
        return Host(host, session=ScriptedSession())

    monkeypatch.setattr(vms_command, "open_host", opened)

    code = run(
        [
            "vms", "--user", "ops", "--transport", "kerberos", "--port", "5985",
            "--map", "C:\\VMs=/mnt/vms", "--map", "D:=/mnt/d", "--insecure", "hv01",
        ]
    )  # fmt: skip

    assert code == 0
    assert seen == [
        HostOptions(
            user="ops",
            transport="kerberos",
            port=5985,
            map=("C:\\VMs=/mnt/vms", "D:=/mnt/d"),
            insecure=True,
        )
    ]


def test_no_command_takes_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vms", "hv01", "--password", "x"]) == 2


@pytest.mark.parametrize("text", ["C:\\VMs", "=/mnt", "C:\\VMs=", ""])
def test_a_mapping_without_two_sides_is_misuse(text: str) -> None:
    with pytest.raises(ValueError, match="maps nothing"):
        parse_maps((text,))


def test_mappings_are_folders() -> None:
    assert parse_maps(("C:\\VMs=/mnt/a=b", "D:=/mnt/d")) == {
        "C:\\VMs": Path("/mnt/a=b"),
        "D:": Path("/mnt/d"),
    }
    with pytest.raises(ValueError, match="twice"):
        parse_maps(("D:=/a", "D:=/b"))


def test_people_are_asked_once_for_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def found(
        host: str, *, user: str | None, ask: bool, ticket: bool
    ) -> credentials.Credentials:
        assert not ticket
        asked.append(user)
        return credentials.Credentials(user, "secret")

    monkeypatch.setattr(credentials, "find_credentials", found)
    for _ in range(3):
        open_host("asked-once.example", HostOptions(user="ops"))
    open_host("asked-once.example", HostOptions(user="other"))

    assert asked == ["ops", "other"]


def test_with_a_ticket_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(
        credentials, "find_credentials", lambda *_, **said: seen.append(said["ticket"])
    )
    open_host("ticket.example", HostOptions(transport="kerberos"))
    assert seen == [True]


def test_a_certificate_takes_the_place_of_a_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(host: str, **_: object) -> None:
        raise HostAuthenticationError("nobody")

    monkeypatch.setattr(credentials, "find_credentials", found)

    open_host("hv01", HostOptions(certificate=Path("c.pem"), key=Path("k.pem")))
    with pytest.raises(ValueError, match="needs its key"):
        open_host("hv01", HostOptions(certificate=Path("c.pem")))
