"""A host that does not report every change, day after day: the audit finds what still stands within its period.

Small lives of each kind; `make audit` plays many.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audit_campaign.judge import judge
from audit_campaign.kinds import KINDS, Size, single
from audit_campaign.life import CHUNK, PERIOD_DAYS, Life
from hypercbt.cli.app import run

MIB = 1 << 20
SMALL = Size(disks=3, disk_bytes=8 * MIB, period=6, more_runs=2, writes=3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_host_misses_is_found_within_a_period_wherever_it_is(
    tmp_path: Path, kind: str
) -> None:
    with KINDS[kind](tmp_path, 1, SMALL) as life:
        judge(life)
        # How many is a matter of the seed; when which is found, also of what an audit reads at random.
        assert life.totals().total() >= 3


def test_within_28_daily_runs_one_missed_chunk_is_found_once_and_every_later_point_is_right(
    tmp_path: Path,
) -> None:
    size = replace(SMALL, disks=1, period=PERIOD_DAYS, more_runs=1)
    with single(tmp_path, 2, size) as life:
        judge(life)
        for chronicle in life.chronicles.values():
            ((_, since, until),) = chronicle.found
            assert [bool(wrong) for wrong in chronicle.wrong_in] == [
                since <= number < until for number in range(life.runs)
            ]


def test_a_missed_change_that_the_guest_overwrites_is_healed_unseen_and_raises_no_alarm(
    tmp_path: Path,
) -> None:
    with Life(tmp_path, disks=1, disk_bytes=8 * MIB, seed=4) as life:
        life.fill()
        life.next_day()
        (disk,) = life.vm.disks
        place = 100
        disk.under_report([(place * CHUNK, CHUNK)])
        life.write(disk, place * CHUNK)
        life.next_day(audit="off")
        disk.under_report([])
        life.write(disk, place * CHUNK + 8192)
        life.next_day()
        judge(life)
        (chronicle,) = life.chronicles.values()
        assert chronicle.healed == [(place, 1, 2)]
        assert life.points[-1].stats.missed_chunks == 0
        assert life.repository.suspects() == []


def test_the_command_line_says_what_was_missed_and_which_points_may_be_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Life(tmp_path, disks=1, disk_bytes=8 * MIB, seed=3, step_seconds=0.1) as life:
        life.fill()
        life.next_day()
        (disk,) = life.vm.disks
        place = 127
        disk.under_report([(place * CHUNK, CHUNK)])
        life.write(disk, place * CHUNK)
        life.next_day(audit="off")
        assert life.chronicles[disk.location].wrong_in[-1] == {place}
        user, password = life.host.credentials
        monkeypatch.setenv("HYPERCBT_USER", user)
        monkeypatch.setenv("HYPERCBT_PASSWORD", password)
        repository = ["--repository", str(life.repository_folder)]
        folder = life.host.map["C:\\VMs"]
        address = life.host.host.replace("http:", "hyperv+http:") + "/web01"
        capsys.readouterr()
        backup = ["backup", address, *repository, "--map", f"C:\\VMs={folder}"]
        more = ["--audit", "full", "--space-floor", "0", "--json"]
        assert run([*backup, *more]) == 5
        said = json.loads(capsys.readouterr().out)
        assert said["disks"][0]["missed_chunks"] == 1
        assert run(["points", *repository, "--json"]) == 0
        (suspect,) = json.loads(capsys.readouterr().out)["suspects"]
    assert suspect["disk"] == disk.id
    assert suspect["extents"] == [[place * CHUNK, CHUNK]]
    assert suspect["first"] == suspect["last"] == life.points[1].id
    assert suspect["found_by"] == said["restore_point"]
