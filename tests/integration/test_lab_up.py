"""`hypercbt lab up` as a process: a line is asked, a document is answered."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from integration.lab_process import lab_up
from support import command


def test_it_says_where_it_is_and_how_to_log_in(tmp_path: Path) -> None:
    with lab_up(tmp_path / "lab", "--vm", "web01=8MiB", "--vm", "db01=16MiB") as host:
        ready = host.ready
        assert ready["host"].startswith("http://127.0.0.1:")
        password = Path(ready["password_file"])
        assert password.read_text()
        if os.name == "posix":
            assert password.stat().st_mode & 0o777 == 0o600
        assert {vm["name"] for vm in ready["vms"]} == {"web01", "db01"}
        ((drive, folder),) = ready["map"].items()
        assert drive == "C:\\VMs"
        assert (Path(folder) / "web01" / "disk0.vhdx").exists()
        assert host.ask("stop") == {"ok": True, "command": "stop"}
        assert host.next() == {"event": "stopped"}
        assert host.process.wait(60) == 0
        assert host.process.stderr is not None
        text = host.process.stderr.read()
        assert ready["host"] in text
        assert password.read_text() not in text


def test_it_does_as_it_is_told(tmp_path: Path) -> None:
    with lab_up(tmp_path, "--vm", "web01=8MiB") as host:
        assert host.ask("write web01 4KiB 8KiB")["bytes"] == 8192
        assert host.ask("checkpoint web01")["id"]
        assert host.ask("vms")["vms"][0]["checkpoints"] == 1
        assert host.ask("revert web01")["ok"]
        assert host.ask("stop-vm web01")["ok"]
        assert host.ask("delete-checkpoint web01")["ok"]
        assert host.ask("start web01")["ok"]
        assert host.ask("counts")["counts"] == {}
        assert host.ask("vms")["vms"][0]["checkpoints"] == 0


@pytest.mark.parametrize(
    "line",
    [
        "fly",
        "write web01",
        "write nobody 0 512",
        "write web01 0 1GiB",
        "write web01 1 512",
        "checkpoint",
        "power-cut now",
        "revert web01",
    ],
)
def test_what_it_cannot_do_it_says_and_goes_on(tmp_path: Path, line: str) -> None:
    with lab_up(tmp_path, "--vm", "web01=8MiB") as host:
        answer = host.ask(line)
        assert answer["ok"] is False
        assert answer["error"]["message"]
        assert host.ask("vms")["ok"]


def test_a_power_cut_changes_neither_its_place_nor_its_machines(tmp_path: Path) -> None:
    with lab_up(tmp_path, "--vm", "web01=8MiB") as host:
        before = host.ask("vms")["vms"]
        assert host.ask("power-cut")["ok"]
        assert host.ask("vms")["vms"] == before
        assert host.ask("write web01 0 4KiB")["ok"]


def test_the_next_time_all_is_there_and_the_password_is_the_same(
    tmp_path: Path,
) -> None:
    with lab_up(tmp_path, "--vm", "web01=8MiB") as host:
        first, password = host.ready, Path(host.ready["password_file"]).read_text()
        host.ask("stop")
        host.process.wait(60)
    with lab_up(tmp_path, "--vm", "web01=8MiB") as host:
        assert host.ready["vms"] == first["vms"]
        assert Path(host.ready["password_file"]).read_text() == password


def test_guests_write_while_nobody_asks(tmp_path: Path) -> None:
    with lab_up(tmp_path, "--vm", "web01=8MiB", write_every="0.001") as host:
        file = Path(host.ready["vms"][0]["disks"][0]["file"])
        before = file.read_bytes()
        end = time.monotonic() + 120
        while file.read_bytes() == before:
            assert time.monotonic() < end, "no guest has written"
            host.ask("vms")


@pytest.mark.parametrize("vm", ["web01", "=8MiB", "a/b=8MiB", "web01=lots"])
def test_a_machine_that_makes_no_sense_is_misuse(tmp_path: Path, vm: str) -> None:
    done = subprocess.run(
        command("lab", "up", tmp_path, "--vm", vm),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert not (tmp_path / "state").exists()
