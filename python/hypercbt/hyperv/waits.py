"""Waiting for a machine: until nobody else works on it, and until it runs on its former files again."""

from hypercbt.errors import VmBusyError
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.needs import Machine

MERGED_KINDS = ("avhdx", "avhd")


def until_idle(machine: Machine, limits: Limits) -> VirtualMachine:
    """Return the machine as soon as nobody works on it.

    Raises:
        VmBusyError: Somebody still does after `busy_seconds`; what, is said.
    """
    seen = machine.look()

    def idle() -> bool:
        nonlocal seen
        seen = machine.look()
        return seen.busy is None

    if seen.busy is None or limits.until(idle, limits.busy_seconds):
        return seen
    raise VmBusyError(
        f"{seen.name} is still {seen.busy} after {limits.busy_seconds:.0f} s"
    )


def until_merged(
    machine: Machine, files: frozenset[str] | None, limits: Limits
) -> str | None:
    """Wait, within limits, until what the checkpoint left is merged; return why it is not, or None.

    Args:
        machine: After its checkpoint has gone.
        files: What it ran on before, in lower case; None: nobody knows, so it is enough that nobody works on it
            and that no child is in use without a checkpoint.
        limits: How long.
    """
    watch = _Merge(machine, files, limits)
    limits.until(watch.settled, limits.merge_seconds)
    return watch.reason


class _Merge:
    """One wait for a merge: what was seen last, and since when the host has said that it does nothing."""

    def __init__(
        self, machine: Machine, files: frozenset[str] | None, limits: Limits
    ) -> None:
        self._machine = machine
        self._files = files
        self._limits = limits
        self._idle_since: float | None = None
        self.reason: str | None = None

    def settled(self) -> bool:
        """Tell whether nothing more is to be expected, good or bad."""
        vm = self._machine.look()
        if vm.busy is not None:
            self._idle_since = None
            self.reason = f"{vm.name} is still {vm.busy}"
            return False
        children = self._children(vm)
        if not children:
            self.reason = None
            return True
        self.reason = f"{vm.name} does not merge its disks: it still runs on {', '.join(children)}"
        now = self._limits.clock.now()
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= self._limits.settle_seconds

    def _children(self, vm: VirtualMachine) -> list[str]:
        """Return the files in use that should have been merged away."""
        disks = self._machine.attached(vm.settings_id)
        if self._files is not None:
            return [d.path for d in disks if d.path.lower() not in self._files]
        return unmerged(disks, bool(self._machine.checkpoints()))


def unmerged(disks: tuple[VmDisk, ...], has_checkpoints: bool) -> list[str]:
    """Return the children that a machine without checkpoints runs on: a merge is under way, suspended, or has failed."""
    if has_checkpoints:
        return []
    return [disk.path for disk in disks if disk.kind in MERGED_KINDS]
