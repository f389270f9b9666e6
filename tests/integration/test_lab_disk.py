"""`hypercbt lab disk`: a tracked disk served over NBD, told what to do line by line."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from hypercbt import Repository, VirtualDisk, backup_disk
from integration.lab_process import lab_disk
from integration.test_tracked_disk import DISK_BYTES, MIB, UNKNOWN_ID
from support import hypercbt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web01.vhdx"


def needs_qemu_io() -> None:
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is not installed")


def test_a_server_says_what_it_serves_and_does_what_it_is_told(path: Path) -> None:
    with lab_disk(path, "--create", "8MiB") as server:
        ready = server.ready
        assert ready["event"] == "ready"
        assert ready["disk_bytes"] == DISK_BYTES
        assert ready["tracking"] == "started"
        assert (ready["frozen"], ready["ids"], ready["reason"]) == (None, [], None)
        assert ready["checkpoints"] == []
        sealed = server.ask("seal")["id"]
        frozen = server.ask("freeze")
        assert frozen == {
            "ok": True,
            "command": "freeze",
            "id": frozen["id"],
            "file": str(path),
        }
        assert server.ask("ids")["ids"] == [sealed, frozen["id"]]
        changes = server.ask(f"changes {frozen['id']}")
        assert (changes["changed_bytes"], changes["changes"]) == (0, [])
        assert server.ask("write-back") == {"ok": True, "command": "write-back"}
        assert server.ask("thaw") == {"ok": True, "command": "thaw"}
        assert server.ask(f"forget {sealed}")["ok"] is True
        assert server.ask("stop") == {"ok": True, "command": "stop"}
        assert server.next() == {"event": "stopped"}
        assert server.end() == 0
        assert not server.socket.exists()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("thaw", "ValueError"),
        ("discard", "ValueError"),
        ("dance", "ValueError"),
        ("changes", "ValueError"),
        ("seal now", "ValueError"),
        ("changes what", "ValueError"),
        (f"changes {UNKNOWN_ID}", "ChangeTrackingLostError"),
        (f"forget {UNKNOWN_ID}", "ChangeTrackingLostError"),
    ],
)
def test_what_cannot_be_done_is_answered_and_does_not_stop_the_server(
    path: Path, line: str, kind: str
) -> None:
    with lab_disk(path, "--create", "8MiB") as server:
        answer = server.ask(line)
        assert (answer["ok"], answer["command"]) == (False, line.split()[0])
        assert answer["error"]["type"] == kind
        assert server.ask("ids")["ok"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_clean_stop_also_while_frozen(
    path: Path, number: signal.Signals
) -> None:
    with lab_disk(path, "--create", "8MiB") as server:
        frozen = server.ask("freeze")["id"]
        server.process.send_signal(number)
        assert server.next() == {"event": "stopped"}
        assert server.end() == 0
    with lab_disk(path) as server:
        assert server.ready["tracking"] == "continued"
        assert server.ready["frozen"] == {"id": None, "file": str(path)}
        assert server.ready["checkpoints"] == [server.ready["frozen"]]
        assert server.ready["ids"] == [frozen]
        assert server.ask("freeze")["file"] != str(path)
        assert server.ask("discard") == {"ok": True, "command": "discard"}
        assert server.ask("ids")["ids"] == []
        assert server.ask("thaw")["ok"] is True
        assert server.ask("thaw")["ok"] is True


def test_it_goes_on_without_standard_input(path: Path) -> None:
    with lab_disk(path, "--create", "8MiB") as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        server.process.stdin = None
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.1)
        server.process.send_signal(signal.SIGTERM)
        assert server.next() == {"event": "stopped"}


def test_a_guest_over_nbd_is_tracked_through_a_kill(path: Path, tmp_path: Path) -> None:
    needs_qemu_io()
    repository = Repository.create(tmp_path / "repository")
    with lab_disk(path, "--create", "8MiB", "--write-back", "0") as server:
        server.io("write -P 1 0 2M", "flush")
        frozen = server.ask("freeze")
        first = backup_disk(path, repository=repository)
        server.io("write -P 2 64k 4k")
        server.ask("thaw")
        server.io("write -f -P 3 5M 8k", "discard 1M 512k", "write -z -u 256k 64k")
        server.process.kill()
        server.end()
    with lab_disk(path) as server:
        assert server.ready["tracking"] == "continued"
        server.io(
            "read -P 2 64k 4k", "read -P 3 5M 8k", "read -P 0 256k 64k", "read -P 1 0 64k"
        )  # fmt: skip
        server.ask("freeze")
        answer = server.ask(f"changes {frozen['id']}")
        second = backup_disk(
            path,
            repository=repository,
            changes=[(offset, length) for offset, length in answer["changes"]],
            since=first,
            audit="off",
        )
        with VirtualDisk.open(path) as disk:
            assert second.open().read() == disk.read_at(0, DISK_BYTES)
        assert server.ask("stop")["ok"] is True


def test_holes_are_told_as_holes(path: Path) -> None:
    needs_qemu_io()
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    with lab_disk(path, "--create", "8MiB") as server:
        server.io("write -P 1 2M 2M")
        done = subprocess.run(
            ["qemu-img", "map", "--output=json", "-f", "raw", server.ready["nbd"]],
            capture_output=True,
            check=True,
        )
        data = [(e["start"], e["length"]) for e in json.loads(done.stdout) if e["data"]]
        assert data == [(2 * MIB, 2 * MIB)]


def test_a_server_that_cannot_start_says_why(path: Path) -> None:
    missing = hypercbt("lab", "disk", path, "--nbd", path.with_name("s"))
    assert missing.exit_code == 1
    assert "web01.vhdx" in missing.stderr
    path.write_bytes(b"something")
    options = ("--nbd", path.with_name("s"), "--create", "1GiB")
    there = hypercbt("lab", "disk", path, *options)
    assert there.exit_code == 2
    assert "there already" in there.stderr
    assert path.read_bytes() == b"something"
