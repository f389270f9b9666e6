"""The one machine that is backed up, by its id, on an open host."""

from collections.abc import Collection, Sequence

from hypercbt._native import Extents
from hypercbt.hyperv import (
    changes,
    checkpoints,
    disks,
    machines,
    reference_points,
)
from hypercbt.hyperv.checkpoints import Checkpoint, Level
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.host import Host
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.virtual_disk import VirtualDisk


class HostedMachine:
    """A machine on an open host, as `hypercbt.hyperv.needs.Machine`."""

    def __init__(
        self,
        host: Host,
        id: str,
        clock: Clock = SYSTEM_CLOCK,
        tidy_clock: Clock | None = None,
    ) -> None:
        self._host = host
        self._session = host.session
        self._id = id
        self._clock = clock
        self._tidy_clock = tidy_clock or clock

    def tidying(self) -> "HostedMachine":
        """See `Machine`."""
        return HostedMachine(self._host, self._id, self._tidy_clock)

    @property
    def id(self) -> str:
        """Its GUID."""
        return self._id

    @property
    def host(self) -> str:
        """The host as it was asked for."""
        return self._session.host

    def look(self) -> VirtualMachine:
        """See `Machine`."""
        return machines.find_vm(self._session, self._id)

    def disks(self, settings_id: str) -> tuple[VmDisk, ...]:
        """See `Machine`."""
        return disks.vm_disks(self._session, settings_id, clock=self._clock)

    def attached(self, settings_id: str) -> tuple[VmDisk, ...]:
        """See `Machine`."""
        return disks.attached_disks(self._session, settings_id)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """See `Machine`."""
        return checkpoints.list_checkpoints(self._session, self._id)

    def create_checkpoint(
        self, vm: VirtualMachine, level: Level, before: Collection[str]
    ) -> Checkpoint:
        """See `Machine`."""
        return checkpoints.create_checkpoint(
            self._session, vm, level=level, before=before, clock=self._clock
        )

    def rename(self, checkpoint: Checkpoint, name: str) -> None:
        """See `Machine`."""
        checkpoints.rename(self._session, checkpoint, name, clock=self._clock)

    def convert(
        self, checkpoint: Checkpoint, disks: Sequence[VmDisk] = ()
    ) -> ReferencePoint:
        """See `Machine`."""
        return checkpoints.convert(
            self._session, checkpoint, disks=disks, clock=self._clock
        )

    def destroy(self, checkpoint: Checkpoint) -> None:
        """See `Machine`."""
        checkpoints.destroy(self._session, checkpoint, clock=self._clock)

    def reference_points(self) -> tuple[ReferencePoint, ...]:
        """See `Machine`."""
        return reference_points.list_reference_points(self._session, self._id)

    def destroy_reference_point(self, point: ReferencePoint) -> None:
        """See `Machine`."""
        reference_points.destroy_reference_point(
            self._session, point, clock=self._clock
        )

    def changed_extents(self, path: str, since: str, size: int) -> Extents:
        """See `Machine`."""
        return changes.changed_extents(
            self._session, path, since, size, clock=self._clock
        )

    def open(self, disk: VmDisk) -> VirtualDisk:
        """See `Machine`."""
        return self._host.files.open_chain(disk.path, disk.parents)

    def configuration_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """See `Machine`."""
        return checkpoints.configuration_files(checkpoint)

    def local(self, host_path: str) -> str:
        """See `Machine`."""
        return str(self._host.files.local(host_path))

    def merging_is_suspended(self) -> bool:
        """See `Machine`."""
        return machines.merging_is_suspended(self._session, self._id)

    def see_readable(self, host_path: str) -> None:
        """See `Machine`."""
        self._host.files.readable(host_path)

    def exists(self, host_path: str) -> bool:
        """See `Machine`."""
        return self._host.files.exists(host_path)

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        """See `Machine`."""
        return self._host.files.free_bytes(host_path)
