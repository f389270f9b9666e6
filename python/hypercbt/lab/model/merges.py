"""Merging in the background: what is left of a checkpoint that has gone goes back into the file below."""

from collections.abc import Iterator
from datetime import timedelta

from hypercbt.errors import HypercbtError
from hypercbt.lab.model.files import Files
from hypercbt.lab.model.paths import key
from hypercbt.lab.model.state import Disk, Machine
from hypercbt.lab.model.world import MERGING, World


class Merges:
    """Those that run. None is forgotten: at each start of the host they are looked for again."""

    def __init__(self, world: World, files: Files) -> None:
        self._world = world
        self._files = files

    def start(self, machine: Machine) -> None:
        """Begin to merge what no checkpoint needs any more. The virtual machine says so meanwhile.

        Whatever else is being done to it comes first, and begins the merge at its end.
        """
        world = self._world
        if machine.id in world.busy or not machine.merging or not any(_loose(machine)):
            return
        world.busy[machine.id] = MERGING
        ends = world.clock.now() + timedelta(seconds=world.pace.merge_seconds)
        world.agenda.at(ends, lambda: self._end(machine))

    def _end(self, machine: Machine) -> None:
        if self._world.store.machine(machine.id) is not machine:
            return  # it has been handed over
        self._world.busy.pop(machine.id, None)
        if machine.failing_merges > 0:
            # Its .avhdx stays, and the next checkpoint freezes that (quirk Q19, [V]: event 19100).
            machine.failing_merges -= 1
        else:
            self._merge(machine)
        self._world.store.save(machine)

    def _merge(self, machine: Machine) -> None:
        try:
            for disk in _loose(machine):
                while _is_loose(machine, disk):
                    self._files.thaw(machine, disk)
        except (HypercbtError, OSError):
            pass  # the .avhdx stays, and the next merge takes it along
        except ValueError:
            if not self._world.dead:  # else the power was cut in the middle of it
                raise


def _loose(machine: Machine) -> Iterator[Disk]:
    return (disk for disk in machine.disks if _is_loose(machine, disk))


def _is_loose(machine: Machine, disk: Disk) -> bool:
    """Whether the newest file of a disk stands on one that no checkpoint has frozen."""
    if len(disk.files) < 2:
        return False
    below = key(disk.files[-2])
    return not any(key(frozen.file) == below for frozen in machine.frozen)
