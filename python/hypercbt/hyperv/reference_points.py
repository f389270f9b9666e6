"""Reference points: the moments from which a host tracks what changes.

Several products may share a machine, so only what is recorded as ours is ever destroyed; that is decided elsewhere.
"""

from collections.abc import Collection
from dataclasses import dataclass

from hypercbt.hyperv import effects
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock
from hypercbt.hyperv.reading import device_of, required_guid, text, texts
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Instance, Reference

REFERENCE_POINT = "Msvm_VirtualSystemReferencePoint"
SERVICE = "Msvm_VirtualSystemReferencePointService"
SERVICE_KEYS = ("CreationClassName", "Name", "SystemCreationClassName", "SystemName")

Pairs = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class ReferencePoint:
    """A reference point of a machine."""

    reference: Reference
    id: str
    """Its `InstanceID`."""
    vm_id: str
    """The GUID of its machine, lower case."""
    disks: Pairs
    """The `InstanceID` of each disk's settings, and its RCT id: None where it has none, or none that is surely its own.
    In no order, and maybe of disks that are gone. `hypercbt.hyperv.reading.device_of` makes the ids comparable."""

    @property
    def rct_ids(self) -> dict[str, str]:
        """The RCT ids by `VmDisk.device`."""
        return {
            device_of(disk): rct_id for disk, rct_id in self.disks if rct_id is not None
        }


def list_reference_points(
    session: Session, vm_id: str, *, tracked: Collection[str] = ()
) -> tuple[ReferencePoint, ...]:
    """Return the reference points of a machine, of all products.

    Args:
        session: The host.
        vm_id: The machine's GUID.
        tracked: The devices (`VmDisk.device`) that can have an RCT id, where known. See `pair`.
    """
    found = session.query(
        REFERENCE_POINT, where={"VirtualSystemIdentifier": vm_id.upper()}
    )
    return tuple(_point(one, tracked) for one in found)


def destroy_reference_point(
    session: Session, point: ReferencePoint, *, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Destroy a reference point. One that is gone is no error.

    Raises:
        HostJobError: The host would not, or could not.
    """
    effects.delete(
        session,
        point.reference,
        _service(session),
        "DestroyReferencePoint",
        "AffectedReferencePoint",
        what=f"destroy the reference point {point.id}",
        busy=lambda: False,
        on_poll=None,
        clock=clock,
    )


def pair(
    disks: tuple[str | None, ...],
    rct_ids: tuple[str | None, ...],
    tracked: Collection[str] = (),
) -> Pairs:
    """Return each disk with its RCT id.

    The arrays are parallel. But where a disk has no tracking, one may be shorter (hyperv-rct 1.6), and then a place in
    one is no place in the other. What another disk's id would be answered with is not known, so an id goes to a disk
    only where that is sure: the places agree, or there are exactly as many ids as disks that can be tracked.
    """
    takers: list[str | None] = list(disks)
    if len(rct_ids) != len(disks):
        takers = [disk for disk in disks if disk and device_of(disk) in tracked]
    if len(rct_ids) != len(takers):
        return tuple((disk, None) for disk in disks if disk)
    known = dict(zip(takers, rct_ids, strict=True))
    return tuple((disk, known.get(disk)) for disk in disks if disk)


def _point(instance: Instance, tracked: Collection[str]) -> ReferencePoint:
    instance_id = text(instance, "InstanceID")
    # Both keys, spelled as the host does: its own endpoint reference has no more.
    keys = {
        "InstanceID": instance_id,
        "VirtualSystemIdentifier": text(instance, "VirtualSystemIdentifier"),
    }
    return ReferencePoint(
        reference=Reference(REFERENCE_POINT, keys),
        id=instance_id,
        vm_id=required_guid(instance, "VirtualSystemIdentifier"),
        disks=pair(
            texts(instance, "VirtualDiskIdentifiers"),
            texts(instance, "ResilientChangeTrackingIdentifiers"),
            tracked,
        ),
    )


def _service(session: Session) -> Reference:
    """Return the one instance of the service: which of its keys a host wants to hear is not known (hyperv-rct U10)."""
    keys = {"CreationClassName": SERVICE}
    for instance in session.enumerate(SERVICE):
        for name in SERVICE_KEYS:
            value = instance.properties.get(name)
            if isinstance(value, str) and value:
                keys[name] = value
        break
    return Reference(SERVICE, keys)
