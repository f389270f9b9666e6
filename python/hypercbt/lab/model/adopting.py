"""The disk files of a machine that is imported: they are there already, and others may have them open."""

from contextlib import suppress

from hypercbt.lab.model.files import Files
from hypercbt.lab.model.state import Machine
from hypercbt.lab.model.store import Store
from hypercbt.lab.model.vhd import VhdFile
from hypercbt.lab.tracked_disk import TrackedDisk


def adopt(files: Files, machine: Machine, *, travels: bool) -> None:
    """Take its disk files as they are, make its configuration, and open them.

    Args:
        files: Where they will be open.
        machine: Whose they become.
        travels: Go on with the trackers beside them.

    What VHDX files say of themselves has been noted when the machine was validated.

    Raises:
        DiskInUseError: Another host has one open.
        OSError: One cannot be read.
        SourceError: One is no disk.
    """
    for disk in machine.disks:
        path = files.local(disk.files[0])
        if disk.kind == "vhdx":
            TrackedDisk.open(path).close()  # nobody else has it
        elif disk.kind == "vhd":
            with VhdFile([path]) as opened:
                disk.size = opened.size
        disk.tracked = disk.kind == "vhdx" and machine.has_version(8, 0)
        disk.made = True
    if not travels:
        files.drop_trackers(machine)
    files.make(machine)
    files.open_disks(machine)


def give_up(files: Files, store: Store, machine: Machine) -> None:
    """Undo what a failed `adopt` has done. Disk files stay."""
    files.close(machine)
    store.remove(machine)
    machine.made = False
    with suppress(OSError):  # what failed may have been these
        files.remove_configuration(machine, None)
