"""`hypercbt backup hyperv://…` and `hypercbt check`, as processes, against a lab host over real HTTP."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hypercbt import Repository
from hypercbt.hyperv.stale import marker
from hypercbt.lab import LabHost, LabVm, NewDisk
from hypercbt.lab.faults import Fault, Return, Run
from support import Finished, command, hypercbt

MIB = 1 << 20


@dataclass
class Site:
    """A lab host whose time is ours, and a repository."""

    lab: LabHost
    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def env(self) -> dict[str, str]:
        user, password = self.lab.credentials
        return {
            "HYPERCBT_USER": user,
            "HYPERCBT_PASSWORD": password,
            "HYPERCBT_REPOSITORY": str(self.repository),
        }

    @property
    def options(self) -> list[str]:
        return [
            *(f"--map={host}={local}" for host, local in self.lab.map.items()),
            "--space-floor=0",
        ]

    def source(self, vm: str = "") -> str:
        return f"hyperv+http://127.0.0.1:{self.lab.server.port}/{vm}".rstrip("/")

    def run(self, *arguments: str) -> Finished:
        return hypercbt(*arguments, *self.options, env=self.env)

    def add_vm(self, name: str, **more: object) -> LabVm:
        vm = self.lab.add_vm(name, **{"disks": [4 * MIB], **more})  # type: ignore[arg-type]
        vm.disks[0].write(0, name.encode().ljust(4096))
        return vm


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with LabHost(tmp_path / "lab") as lab:
        Repository.create(tmp_path / "repository").close()
        yield Site(lab, tmp_path)


def assert_clean(site: Site, *vms: LabVm) -> None:
    for vm in vms:
        assert vm.checkpoints == ()
    with Repository.open(site.repository) as repository:
        assert repository.native.leases() == "[]"


def test_a_machine_is_backed_up_by_its_name_or_its_id(site: Site) -> None:
    vm = site.add_vm("web01")
    done = site.run("backup", site.source("WEB01"), "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["name"] == "web01"
    assert done.document["machine"] == f"vm:{vm.id}"
    assert done.document["consistency"] == "application"
    assert done.document["findings"] == []
    again = site.run("backup", site.source(vm.id), "--json")
    assert again.document["disks"][0]["method"] == "rct"
    assert_clean(site, vm)


def test_people_are_told_the_level_and_each_disk(site: Site) -> None:
    site.add_vm("web01")
    done = site.run("backup", site.source("web01"))
    assert done.exit_code == 0, done.stderr
    assert "application-consistent" in done.stdout
    assert "full" in done.stdout


def test_no_password_is_needed_on_the_command_line_and_none_is_shown(
    site: Site,
) -> None:
    site.add_vm("web01")
    env = {**site.env, "HYPERCBT_PASSWORD": "wrong-and-secret"}
    done = hypercbt("backup", site.source("web01"), "--json", *site.options, env=env)
    assert done.exit_code == 4
    assert done.document["error"]["type"] == "HostAuthenticationError"
    assert "wrong-and-secret" not in done.stdout + done.stderr


def test_a_finding_is_exit_code_5(site: Site) -> None:
    site.add_vm("web01")
    site.lab.faults.add(Fault("ConvertToReferencePoint", Return(32768), times=None))
    done = site.run("backup", site.source("web01"), "--json")
    assert done.exit_code == 5
    assert "no baseline" in done.document["findings"][0]


def test_a_machine_that_is_not_there_is_an_error(site: Site) -> None:
    done = site.run("backup", site.source("web09"), "--json")
    assert done.exit_code == 1
    assert done.document["error"]["type"] == "VmNotFoundError"


@pytest.mark.parametrize(
    "arguments",
    [
        ["hyperv://hv01"],
        ["hyperv://"],
        ["hyperv:///web01"],
        ["hyperv://hv01/web01", "hyperv://hv02/web02"],
        ["hyperv://hv01/web01", "--all"],
        ["hyperv://hv01/web*", "--disk", "SCSI 0:0"],
        ["hyperv://hv01/web*", "--record", "transcript"],
        ["hyperv://hv01/web01", "--ca", "not there"],
        ["hyperv://hv01/web01", "--name", "web01"],
        ["hyperv://hv01/web01", "--changes", "-", "--since", "x"],
        ["hyperv://hv01/web01", "--parallel", "0"],
        ["hyperv://hv01/web01", "--merge-timeout", "-1"],
        ["one.vhdx", "two.vhdx"],
        [],
    ],
)
def test_misuse_is_told_before_anything_is_sent(
    site: Site, arguments: list[str]
) -> None:
    done = site.run("backup", *arguments, "--json")
    assert done.exit_code == 2, done.stderr
    assert site.lab.counts["*"] == 0


def test_a_batch_has_an_entry_for_each_machine_and_one_that_fails_stops_none(
    site: Site,
) -> None:
    web1, web2 = site.add_vm("web01"), site.add_vm("web02")
    site.add_vm(
        "web03", disks=[NewDisk(4 * MIB), NewDisk(4 * MIB, kind="pass-through")]
    )
    site.add_vm("db01")
    done = site.run("backup", site.source("web*"), "--parallel", "2", "--json")
    assert done.exit_code == 1, done.stderr
    document = done.document
    assert (document["format"], document["failed"], document["findings"]) == (1, 1, 0)
    assert [entry["vm"] for entry in document["backups"]] == ["web01", "web02", "web03"]
    good, _, bad = document["backups"]
    assert good["restore_point"]
    assert bad["error"]["type"] == "VmUnsupportedError"
    assert_clean(site, web1, web2)


def test_all_machines_are_all_but_replicas(site: Site) -> None:
    site.add_vm("web01")
    site.add_vm("db 01")
    site.add_vm("copy", replica=True)
    done = site.run("backup", site.source(), "--all", "--json")
    assert done.exit_code == 0, done.stderr
    assert [entry["vm"] for entry in done.document["backups"]] == ["db 01", "web01"]


def test_several_machines_are_told_to_people(site: Site) -> None:
    site.add_vm("web01")
    site.add_vm("db 01")
    done = site.run("backup", site.source("web01"), site.source("db%2001"))
    assert done.exit_code == 0, done.stderr
    assert "2 backed up, 0 failed" in done.stdout


def test_two_backups_of_one_machine_at_once_the_second_refuses(site: Site) -> None:
    vm = site.add_vm("web01")
    site.run("backup", site.source("web01"))
    second: list[Finished] = []

    def meanwhile() -> None:
        second.append(site.run("backup", site.source("web01"), "--json"))

    site.lab.faults.add(Fault("GetVirtualDiskChanges", Run(meanwhile)))
    first = site.run("backup", site.source("web01"))
    assert first.exit_code == 0, first.stderr
    assert second[0].exit_code == 1
    error = second[0].document["error"]
    assert error["type"] == "VmBusyError"
    assert "is being backed up by process" in error["message"]
    assert_clean(site, vm)


def test_a_floor_that_the_volume_does_not_reach_is_seen_before_anything_is_touched(
    site: Site,
) -> None:
    vm = site.add_vm("web01")
    floor = "--space-floor=900000GiB"
    words = [*site.options[:-1], floor, "--json"]
    done = hypercbt("backup", site.source("web01"), *words, env=site.env)
    assert done.document["error"]["type"] == "HostSpaceError"
    assert site.lab.counts["CreateSnapshot"] == 0
    assert_clean(site, vm)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    "call", ["ModifySystemSettings", "GetVirtualDiskChanges", "ConvertToReferencePoint"]
)
def test_a_signal_takes_the_checkpoint_back(
    site: Site, number: signal.Signals, code: int, batch: bool, call: str
) -> None:
    vm = site.add_vm("web01")
    assert site.run("backup", site.source("web01")).exit_code == 0
    pids: list[int] = []
    # Right before the answer, so that the signal comes while the host is asked.
    site.lab.faults.add(Fault(call, Run(lambda: os.kill(pids[0], number), after=True)))
    more = ["--all"] if batch else []
    words = ["backup", site.source("" if batch else "web01"), *more, *site.options]
    with subprocess.Popen(
        command(*words),
        env={**os.environ, **site.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        pids.append(process.pid)
        _, told = process.communicate(timeout=120)
    assert site.lab.faults.struck
    assert process.returncode == code, told.decode()
    assert_clean(site, vm)
    assert len(vm.reference_points) <= 2
    done = site.run("backup", site.source("web01"), "--json")
    assert done.exit_code == 0, done.stderr
    assert done.document["disks"][0]["method"] == "rct"


# check


def check(site: Site, *arguments: str, repository: bool = False) -> Finished:
    env = {k: v for k, v in site.env.items() if repository or "REPO" not in k}
    return hypercbt("check", *arguments, *site.options, "--json", env=env)


def test_a_host_on_which_everything_is_there_is_0(site: Site) -> None:
    site.add_vm("web01")
    done = check(site, site.lab.host)
    assert done.exit_code == 0, done.stderr
    (vm,) = done.document["vms"]
    assert vm["vm"] == "web01"
    assert vm["problems"] == []
    (disk,) = vm["disks"]
    assert disk["readable"] is True


@pytest.mark.parametrize(
    ("missing", "tracked"), [("", "on"), (".rct", "off"), (".mrt", "off")]
)
def test_tracking_is_on_where_both_of_its_files_lie_beside_the_disk(
    site: Site, missing: str, tracked: str
) -> None:
    (file,) = site.add_vm("web01").disks[0].files
    if missing:
        Path(f"{file}{missing}").unlink()
    (vm,) = check(site, site.lab.host, "web01").document["vms"]
    assert vm["disks"][0]["tracked"] == tracked


def test_what_a_backup_would_fail_with_is_exit_code_1(site: Site) -> None:
    site.add_vm("web01")
    site.add_vm("web02").recovery_checkpoint("Bareos JobId 7")
    done = check(site, site.lab.host, "web*")
    assert done.exit_code == 1
    good, bad = done.document["vms"]
    assert good["problems"] == []
    assert bad["problems"][0]["blocking"] is True
    assert "Bareos JobId 7" in bad["problems"][0]["text"]


def test_what_is_good_to_know_is_exit_code_5(site: Site) -> None:
    site.add_vm("web01", version="5.0")
    done = check(site, site.lab.host)
    assert done.exit_code == 5
    assert "compared each time" in done.document["vms"][0]["problems"][0]["text"]


def test_that_merging_is_suspended_is_said_before_the_first_backup(site: Site) -> None:
    vm = site.add_vm("web01")
    vm.set_merging(False)
    done = check(site, site.lab.host)
    assert done.exit_code == 5
    (problem,) = done.document["vms"][0]["problems"]
    assert "merging is suspended" in problem["text"]
    vm.set_merging(True)
    assert check(site, site.lab.host).exit_code == 0


def test_a_configuration_elsewhere_is_said_before_the_first_backup(site: Site) -> None:
    vm = site.add_vm("web01")
    for file in site.lab.folder.rglob("*.vmcx"):
        file.unlink()
    done = check(site, site.lab.host, vm.id)
    assert done.exit_code == 5
    (problem,) = done.document["vms"][0]["problems"]
    assert "configuration" in problem["text"]


def test_a_host_that_does_not_answer_is_exit_code_4(tmp_path: Path) -> None:
    env = {"HYPERCBT_USER": "lab", "HYPERCBT_PASSWORD": "lab"}
    done = hypercbt("check", "http://127.0.0.1:1", "--json", env=env)
    assert done.exit_code == 4
    assert done.document["error"]["type"] == "HostUnreachableError"


def test_a_check_with_the_repository_takes_away_what_its_dead_runs_left(
    site: Site,
) -> None:
    vm = site.add_vm("web01")
    code = (
        "import sys, os, hypercbt\n"
        "repository = hypercbt.Repository.open(sys.argv[1])\n"
        "from hypercbt.hyperv.owners import this_process\n"
        "run = repository.native.begin_machine(machine=f'vm:{sys.argv[2]}', name='web01', created=1, bases=[],"
        " owner=this_process(), host='x', checkpoints=[], reference_points=[])\n"
        "print(repository.id, run.id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    words = [*command()[:1], "-c", code, str(site.repository), vm.id]
    told = subprocess.run(words, capture_output=True, check=False, timeout=60)
    repository, run = told.stdout.decode().split()
    vm.recovery_checkpoint(marker(repository, run))
    assert check(site, site.lab.host).exit_code == 1
    done = check(site, site.lab.host, repository=True)
    assert done.exit_code == 0, done.stderr
    assert "removed the checkpoint" in done.document["vms"][0]["removed"][0]
    assert_clean(site, vm)
    assert hypercbt("check", site.lab.host, env=site.env).stdout
