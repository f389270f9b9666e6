"""What a backup asks of the host of its machine, and nothing else."""

from collections.abc import Collection, Sequence
from typing import Protocol

from hypercbt._native import Extents
from hypercbt.hyperv.checkpoints import Checkpoint, Level
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.virtual_disk import VirtualDisk


class Machine(Protocol):
    """One machine. `hypercbt.hyperv.hosted.HostedMachine` is the real one; tests have others."""

    @property
    def id(self) -> str:
        """Its GUID, lower case."""
        ...

    @property
    def host(self) -> str:
        """The host as it was asked for."""
        ...

    def tidying(self) -> "Machine":
        """Return the same for tidying up: it waits also where somebody has asked for the end."""
        ...

    def look(self) -> VirtualMachine:
        """Return what the machine is and does at this moment."""
        ...

    def disks(self, settings_id: str) -> tuple[VmDisk, ...]:
        """Return the disks of its own settings or of a checkpoint's, sorted by location."""
        ...

    def attached(self, settings_id: str) -> tuple[VmDisk, ...]:
        """Return the disks with no more than path, kind and location: that costs little."""
        ...

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return its checkpoints of all kinds."""
        ...

    def create_checkpoint(
        self, vm: VirtualMachine, level: Level, before: Collection[str]
    ) -> Checkpoint:
        """Make a recovery checkpoint; `before` are the ids of those that stood."""
        ...

    def rename(self, checkpoint: Checkpoint, name: str) -> None:
        """Give a checkpoint another name."""
        ...

    def convert(
        self, checkpoint: Checkpoint, disks: Sequence[VmDisk] = ()
    ) -> ReferencePoint:
        """Turn a recovery checkpoint, with its disks, into a reference point."""
        ...

    def destroy(self, checkpoint: Checkpoint) -> None:
        """Delete a checkpoint."""
        ...

    def reference_points(self) -> tuple[ReferencePoint, ...]:
        """Return its reference points, of all products."""
        ...

    def destroy_reference_point(self, point: ReferencePoint) -> None:
        """Delete a reference point; one that is gone already is no error."""
        ...

    def changed_extents(self, path: str, since: str, size: int) -> Extents:
        """Return what the host says has changed."""
        ...

    def open(self, disk: VmDisk) -> VirtualDisk:
        """Open a frozen disk with its parents."""
        ...

    def configuration_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Return the host paths of the checkpoint's configuration."""
        ...

    def local(self, host_path: str) -> str:
        """Return where a file of the host is from here."""
        ...

    def merging_is_suspended(self) -> bool:
        """Tell whether the host says that it does not merge the machine's disks."""
        ...

    def see_readable(self, host_path: str) -> None:
        """See that a file of the host is there and can be opened from here."""
        ...

    def exists(self, host_path: str) -> bool:
        """Return whether a file of the host is there; that says nothing of whether it can be read."""
        ...

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        """Return what is free and what there is in all, of the volume of a path."""
        ...
