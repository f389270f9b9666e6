"""Several machines of one host, some at a time: one that fails does not keep the others from being backed up.

The JSON of a batch: `{"format": 1, "host", "backups": [...], "failed": n, "findings": n}`. An entry has `vm` and `vm_id`,
and either what a single backup gives or `error` with `type`, `message`, `exit_code` and `notes`. The exit code: where
some failed, the code that they have in common, else 1; where none failed but there are findings, 5; else 0.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from threading import Condition, Event

from hypercbt.errors import HypercbtError, VmNotFoundError
from hypercbt.hyperv.backup import Done
from hypercbt.hyperv.machines import WHERE_TO_LOOK, VirtualMachine
from hypercbt.hyperv.order import Order
from hypercbt.models import BackupStats, asdict

FAILED, MISUSE, FINDING = 1, 2, 5
LOOK_SECONDS = 0.2
"""How long a signal may have to wait while threads work: Python handles it in the main one."""


@dataclass(frozen=True, slots=True)
class VmBackup:
    """What became of one machine of a batch."""

    vm: str
    vm_id: str
    stats: BackupStats | None
    error: Exception | None
    warnings: tuple[str, ...] = ()

    @property
    def has_finding(self) -> bool:
        """Whether it was backed up, and somebody must read what was found."""
        stats = self.stats
        return stats is not None and bool(stats.findings or stats.missed_chunks)

    @property
    def exit_code(self) -> int:
        """What it says on its own: 0, or the code of its error."""
        match self.error:
            case None:
                return 0
            case HypercbtError():
                return self.error.exit_code
            case ValueError():
                return MISUSE
        return FAILED

    def _json(self) -> dict[str, object]:
        entry: dict[str, object] = {"vm": self.vm, "vm_id": self.vm_id}
        if self.stats is not None:
            entry |= {k: v for k, v in asdict(self.stats).items() if k != "format"}
        if self.error is not None:
            entry["error"] = {
                "type": type(self.error).__name__,
                "message": str(self.error),
                "exit_code": self.exit_code,
                "notes": list(getattr(self.error, "__notes__", ())),
            }
        return entry


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of a batch, in the order in which the machines were named."""

    host: str
    backups: tuple[VmBackup, ...]

    @property
    def failed(self) -> int:
        """How many could not be backed up."""
        return sum(backup.error is not None for backup in self.backups)

    @property
    def exit_code(self) -> int:
        """See the module."""
        codes = {backup.exit_code for backup in self.backups if backup.error}
        if codes:
            return codes.pop() if len(codes) == 1 else FAILED
        return FINDING if any(backup.has_finding for backup in self.backups) else 0

    def _json(self) -> dict[str, object]:
        return {
            "host": self.host,
            "backups": self.backups,
            "failed": self.failed,
            "findings": sum(b.has_finding for b in self.backups),
        }


def chosen(
    vms: Iterable[VirtualMachine], patterns: Sequence[str]
) -> list[VirtualMachine]:
    """Return the machines that names, ids and patterns with `*` and `?` mean, each once.

    Replicas are left out where a pattern means them: their primary is what is backed up.

    Raises:
        VmNotFoundError: One of them means none.
    """
    found: dict[str, VirtualMachine] = {}
    known = list(vms)
    for pattern in patterns:
        fitting = [vm for vm in known if _fits(pattern, vm)]
        if is_pattern(pattern):
            fitting = [vm for vm in fitting if "replica" not in vm.replication]
        if not fitting:
            raise VmNotFoundError(
                f"there is no virtual machine {pattern!r}; {WHERE_TO_LOOK}"
            )
        found |= {vm.id: vm for vm in fitting}
    return list(found.values())


def is_pattern(text: str) -> bool:
    """Tell whether a name may mean several machines."""
    return "*" in text or "?" in text


def backup_all(
    vms: Sequence[VirtualMachine],
    order: Order,
    backup_one: Callable[[VirtualMachine, Order], Done],
    *,
    parallel: int = 1,
) -> tuple[VmBackup, ...]:
    """Back up machines, `parallel` at a time.

    Ctrl-C ends all that are under way as it ends a single backup, and starts no other.

    Args:
        vms: Which.
        order: How, each of them.
        backup_one: Backs up one, in a conversation of its own with the host.
        parallel: How many at a time.
    """
    if parallel < 1:
        raise ValueError("at least one machine is backed up at a time")
    stop, under_way = StoppableClock(), UnderWay()
    mine = replace(order, limits=replace(order.limits, clock=stop))

    def one(vm: VirtualMachine) -> VmBackup:
        with under_way:
            stop.sleep(0)
            try:
                done = backup_one(vm, mine)
            except Exception as error:  # whatever it is, the others are backed up
                return VmBackup(vm.name, vm.id, None, error)
        return VmBackup(vm.name, vm.id, done.point.stats, None, done.warnings)

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        futures: list[Future[VmBackup]] = []
        try:
            futures.extend(pool.submit(one, vm) for vm in vms)
            while wait(futures, timeout=LOOK_SECONDS).not_done:
                pass
        except BaseException:
            stop.stop()
            for future in futures:
                future.cancel()
            under_way.none_is_left()
            raise
        return tuple(future.result() for future in futures)


class StoppableClock:
    """This machine's clock, for threads that somebody wants to end: what sleeps wakes up with `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self._stopped = Event()

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`, unless the end was asked for."""
        if self._stopped.wait(seconds):
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Ask for the end."""
        self._stopped.set()


class UnderWay:
    """What threads have begun and not ended. Unlike a pool, it also knows of a thread whose start was interrupted."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._count = 0

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def none_is_left(self) -> None:
        """Return when everything has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


def _fits(pattern: str, vm: VirtualMachine) -> bool:
    """Tell whether a name, an id or a pattern means a machine; case does not matter, as on a host."""
    if pattern.casefold() in (vm.name.casefold(), vm.id):
        return True
    parts = ({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return bool(re.fullmatch("".join(parts), vm.name, re.IGNORECASE | re.DOTALL))
