"""Several machines at once: which are meant, and what becomes of the batch."""

import _thread
from dataclasses import replace
from datetime import UTC, datetime
from threading import Barrier, Event
from typing import Any

import pytest

from hypercbt.errors import (
    HostUnreachableError,
    VmBusyError,
    VmNotFoundError,
)
from hypercbt.hyperv.backup import Done
from hypercbt.hyperv.batch import (
    BatchReport,
    StoppableClock,
    VmBackup,
    backup_all,
    chosen,
)
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.order import Order
from hypercbt.models import BackupStats, asdict
from unit.hyperv.backing_up import run
from unit.hyperv.pretend import Scene, virtual_machine


def named(name: str, number: int = 1, **changed: Any) -> VirtualMachine:
    guid = f"00000000-0000-4000-8000-{number:012}"
    return virtual_machine(id=guid, name=name, **changed)


WEB1, WEB2, DB = named("web01", 1), named("Web02", 2), named("db [prod]", 3)
REPLICA = named("web03", 4, replication="replica")
ALL = (WEB1, WEB2, DB, REPLICA)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["web01"], [WEB1]),
        (["WEB01"], [WEB1]),
        ([WEB2.id], [WEB2]),
        (["web*"], [WEB1, WEB2]),
        (["web0?"], [WEB1, WEB2]),
        (["*"], [WEB1, WEB2, DB]),
        (["db [prod]"], [DB]),
        (["db [*"], [DB]),
        (["web02", "web*"], [WEB2, WEB1]),
        (["web03"], [REPLICA]),
    ],
)
def test_machines_are_meant_by_name_id_or_pattern_each_once(
    patterns: list[str], expected: list[VirtualMachine]
) -> None:
    assert chosen(ALL, patterns) == expected


@pytest.mark.parametrize("pattern", ["web", "web.*", "x*", "", "web0[12]"])
def test_what_means_no_machine_is_an_error(pattern: str) -> None:
    with pytest.raises(VmNotFoundError):
        chosen(ALL, [pattern])


def stats(*findings: str, missed_chunks: int = 0) -> BackupStats:
    made = Scene()
    found = run(made).point.stats
    disks = tuple(replace(d, missed_chunks=missed_chunks) for d in found.disks)
    return replace(found, findings=findings, disks=disks)


def entry(error: Exception | None = None, *findings: str, **more: int) -> VmBackup:
    made = stats(*findings, **more) if error is None else None
    return VmBackup("web01", WEB1.id, made, error)


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([entry()], 0),
        ([entry(), entry(None, "does not merge")], 5),
        ([entry(None, missed_chunks=1)], 5),
        ([entry(None, "does not merge"), entry(HostUnreachableError("x"))], 4),
        ([entry(HostUnreachableError("x")), entry(HostUnreachableError("y"))], 4),
        ([entry(HostUnreachableError("x")), entry(VmBusyError("y"))], 1),
        ([entry(HostUnreachableError("x")), entry(ValueError("y"))], 1),
        ([entry(VmBusyError("y")), entry()], 1),
        ([entry(ValueError("no disk"))], 2),
        ([entry(ZeroDivisionError())], 1),
        ([], 0),
    ],
)
def test_the_exit_code_is_that_of_what_failed_then_of_what_was_found(
    entries: list[VmBackup], code: int
) -> None:
    assert BatchReport("hv01", tuple(entries)).exit_code == code


def test_the_json_has_an_entry_for_each_machine_whatever_became_of_it() -> None:
    error = VmBusyError("web02 is merging disks")
    error.add_note("and more")
    report = BatchReport(
        "hv01", (entry(None, "does not merge"), VmBackup("web02", WEB2.id, None, error))
    )
    document = asdict(report)
    backups = document.pop("backups")
    assert document == {"format": 1, "host": "hv01", "failed": 1, "findings": 1}
    assert isinstance(backups, list)
    good, bad = backups
    assert good["vm"] == "web01"
    assert good["findings"] == ["does not merge"]
    assert good["disks"][0]["method"] == "full"
    assert bad == {
        "vm": "web02",
        "vm_id": WEB2.id,
        "error": {
            "type": "VmBusyError",
            "message": "web02 is merging disks",
            "exit_code": 1,
            "notes": ["and more"],
        },
    }


FINISHED = run(Scene())


def done(vm: VirtualMachine, order: Order) -> Done:
    return FINISHED


def test_one_that_fails_does_not_keep_the_others_from_being_backed_up() -> None:
    def one(vm: VirtualMachine, order: Order) -> Done:
        if vm is WEB1:
            raise HostUnreachableError("no route")
        return done(vm, order)

    made = backup_all([WEB1, WEB2, DB], Order(), one)
    assert [(b.vm, b.error is None) for b in made] == [
        ("web01", False),
        ("Web02", True),
        ("db [prod]", True),
    ]


def test_so_many_are_backed_up_at_a_time_as_was_said() -> None:
    both = Barrier(2, timeout=30)

    def one(vm: VirtualMachine, order: Order) -> Done:
        both.wait()
        return done(vm, order)

    made = backup_all([WEB1, WEB2], Order(), one, parallel=2)
    assert all(b.error is None for b in made)
    with pytest.raises(ValueError, match="at least one"):
        backup_all([WEB1], Order(), one, parallel=0)


def test_ctrl_c_ends_those_under_way_and_starts_no_other() -> None:
    begun: list[str] = []
    ended = Event()

    def one(vm: VirtualMachine, order: Order) -> Done:
        begun.append(vm.name)
        _thread.interrupt_main()
        try:
            while True:
                order.limits.clock.sleep(60)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        backup_all([WEB1, WEB2], Order(), one)
    assert ended.is_set()
    assert begun == ["web01"]


def test_tidying_up_goes_on_when_the_end_was_asked_for() -> None:
    clock = StoppableClock()
    clock.stop()
    limits = replace(Order().limits, clock=clock)
    with pytest.raises(KeyboardInterrupt):
        limits.clock.sleep(0)
    limits.tidying().clock.sleep(0)
    assert datetime.now(UTC).tzinfo is not None
