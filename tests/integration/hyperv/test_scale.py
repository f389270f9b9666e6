"""What a large host costs: the same requests for one machine, however many there are beside it; `make hyperv-scale` has the times."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import hypercbt
from hypercbt import Extents, Repository
from hypercbt.cli.app import run
from hypercbt.hyperv.backup import backup_machine
from hypercbt.hyperv.changes import changed_extents
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.enumeration import PAGE_ITEMS
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.order import Order
from hypercbt.lab import LabHost, LabVm, ManualClock, Quirks
from hypercbt.lab.wire.options import WireOptions

MIB, TIB = 1 << 20, 1 << 40
FEW, MANY = 10, 110
POINTS_EACH = 5
RANGES = 12_000
APART = 2 * TIB // RANGES // 4096 * 4096


@dataclass
class Traffic:
    """What was asked, by kind of request."""

    requests: Counter[str]
    reply_bytes: int


class Estate:
    """A host with one machine that is backed up, and others."""

    def __init__(
        self, lab: LabHost, clock: ManualClock, repository: Repository
    ) -> None:
        self.lab = lab
        self.clock = clock
        self.repository = repository
        self.vm = lab.add_vm("web01", disks=[8 * MIB, 4 * MIB])

    def now(self) -> float:
        return self.clock.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def add_others(self, count: int) -> None:
        for number in range(count):
            other = self.lab.add_vm(f"other{number:04}", light=True)
            other.add_reference_points(POINTS_EACH)

    @contextmanager
    def open(self) -> Iterator[hypercbt.Host]:
        credentials = Credentials(*self.lab.credentials)
        with hypercbt.Host(
            self.lab.host, credentials=credentials, map=self.lab.map
        ) as host:
            yield host

    def backup(self, by: str = "web01") -> tuple[str, Traffic]:
        """Back up the one machine; how its first disk was read, and what was asked of the host."""
        seen = len(self.lab.server.requests)
        with self.open() as host:
            done = backup_machine(
                HostedMachine(host, host.vm(by).id, self),
                self.repository,
                Order(space_floor_bytes=0, limits=Limits(clock=self, tidy_clock=self)),
            )
        assert done.point.stats.findings == ()
        self.vm.disks[0].write(0, b"the guest goes on".ljust(4096))
        return done.point.stats.disks[0].method, self.traffic(seen)

    def traffic(self, seen: int) -> Traffic:
        records = self.lab.server.requests[seen:]
        requests = Counter(str(record.asked) for record in records)
        return Traffic(requests, sum(record.reply_bytes for record in records))


@contextmanager
def estate(
    folder: Path, others: int, *, options: WireOptions | None = None
) -> Iterator[Estate]:
    clock = ManualClock()
    with (
        LabHost(folder / "host", clock=clock, options=options, seed=1) as lab,
        Repository.create(folder / "repository") as repository,
    ):
        made = Estate(lab, clock, repository)
        made.add_others(others)
        yield made


def test_a_backup_sends_the_same_requests_to_a_large_host_and_receives_as_much(
    tmp_path: Path,
) -> None:
    costs = []
    for others in (FEW, MANY):
        with estate(tmp_path / str(others), others) as made:
            costs.append([made.backup() for _ in range(4)])
    few, many = costs
    assert [method for method, _ in many] == ["full", "rct", "rct", "rct"]
    for (_, small), (_, large) in zip(few, many, strict=True):
        assert large.requests == small.requests
        assert large.reply_bytes == pytest.approx(small.reply_bytes, rel=0.01)


def test_a_machine_is_found_by_its_id_as_cheaply_as_by_its_name(tmp_path: Path) -> None:
    with estate(tmp_path, MANY) as made:
        made.backup()
        _, by_name = made.backup()
        _, by_id = made.backup(made.vm.id)
        assert by_id.requests.total() <= by_name.requests.total() + 5


def test_reference_points_of_the_machine_itself_cost_pages_and_no_requests_each(
    tmp_path: Path,
) -> None:
    with estate(tmp_path, 0) as made:
        made.backup()
        made.backup()
        _, before = made.backup()
        made.vm.add_reference_points(3 * PAGE_ITEMS)
        _, after = made.backup()
    more = after.requests - before.requests
    listings = after.requests["Enumerate Msvm_VirtualSystemReferencePoint"]
    assert more == {"Pull Msvm_VirtualSystemReferencePoint": 3 * listings}


def test_all_machines_are_listed_by_two_enumerations_page_after_page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with estate(tmp_path, MANY) as made:
        user, password = made.lab.credentials
        monkeypatch.setenv("HYPERCBT_USER", user)
        monkeypatch.setenv("HYPERCBT_PASSWORD", password)
        seen = len(made.lab.server.requests)
        assert run(["vms", made.lab.host, "--json"]) == 0
        traffic = made.traffic(seen)
    assert len(json.loads(capsys.readouterr().out)["vms"]) == MANY + 1
    machines = MANY + 1
    assert traffic.requests == {
        "Enumerate Msvm_VirtualSystemSettingData": 1,
        "Pull Msvm_VirtualSystemSettingData": pages(machines) - 1,
        "Enumerate Msvm_ComputerSystem": 1,
        "Pull Msvm_ComputerSystem": pages(machines + 1) - 1,  # with the host itself
    }


def test_where_filters_are_refused_only_the_pages_of_what_is_asked_for_grow(
    tmp_path: Path,
) -> None:
    costs = []
    for others in (FEW, MANY):
        options = WireOptions(refuse_filters=True)
        with estate(tmp_path / str(others), others, options=options) as made:
            costs.append(made.backup()[1])
    few, many = costs
    assert set(many.requests - few.requests) == {
        "Pull Msvm_ComputerSystem",
        "Pull Msvm_VirtualSystemSettingData",
        "Pull Msvm_ResourceAllocationSettingData",
        "Pull Msvm_StorageAllocationSettingData",
        "Pull Msvm_VirtualSystemReferencePoint",
    }


def pages(instances: int) -> int:
    return -(-instances // PAGE_ITEMS)


@dataclass
class Huge:
    """A machine with a sparse disk of 2 TiB, a moment of it, and what the host says has changed since."""

    lab: LabHost
    vm: LabVm
    since: str
    said: Extents

    def ask(self) -> Extents:
        disk = self.vm.disks[0]
        with hypercbt.Host(
            self.lab.host, credentials=Credentials(*self.lab.credentials)
        ) as host:
            return changed_extents(host.session, disk.path, self.since, disk.size)


@contextmanager
def huge(folder: Path, quirks: Quirks, options: WireOptions) -> Iterator[Huge]:
    said = [(number * APART, 512 * (1 + number % 7)) for number in range(RANGES)]
    with LabHost(folder, quirks=quirks, options=options, seed=1) as lab:
        vm = lab.add_vm("web01", disks=[2 * TIB])
        vm.recovery_checkpoint()
        since = vm.checkpoints[0].disks[0].rct_id
        assert since is not None
        vm.disks[0].pretend(said)
        yield Huge(lab, vm, since, Extents(said))


@pytest.mark.parametrize(
    ("quirks", "options"),
    [
        (Quirks(), WireOptions()),
        (Quirks(), WireOptions(max_envelope_bytes=150 << 10)),
        (Quirks(short_answers=False), WireOptions()),
        (Quirks(short_answers=False), WireOptions(max_envelope_bytes=150 << 10)),
        (Quirks(most_ranges=100), WireOptions()),
        (Quirks(most_ranges=1), WireOptions(max_envelope_bytes=150 << 10)),
    ],
    ids=["short answers", "small envelopes", "faults", "faults, small", "few ranges", "one range"],
)  # fmt: skip
def test_a_long_list_of_changes_arrives_whole(
    tmp_path: Path, quirks: Quirks, options: WireOptions
) -> None:
    with huge(tmp_path, quirks, options) as made:
        if quirks.most_ranges == 1:  # a request for each
            made.said = Extents(list(made.said)[:300])
            made.vm.disks[0].pretend(made.said)
        assert list(made.ask()) == list(made.said)


def test_a_long_list_in_coarse_ranges_covers_what_changed_and_no_more_than_the_grid(
    tmp_path: Path,
) -> None:
    with huge(tmp_path, Quirks(coarse_bytes=1 << 20), WireOptions()) as made:
        found = made.ask()
        assert found == made.said.align(1 << 20)
