"""After the commit: the checkpoint becomes the reference point that the next backup asks from.

The restore point stands and is whole by now, so nothing here makes the backup fail: what goes wrong is a finding, and
costs a comparison the next time.
"""

from collections.abc import Sequence

from hypercbt.documents import now_microseconds
from hypercbt.errors import HypercbtError
from hypercbt.hyperv import bases, policy
from hypercbt.hyperv.attempt import Attempt
from hypercbt.hyperv.bases import Baseline
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.frozen import FrozenDisk
from hypercbt.hyperv.reference_points import ReferencePoint
from hypercbt.hyperv.waits import until_merged


def seal(attempt: Attempt, disks: Sequence[FrozenDisk]) -> None:
    """Convert the checkpoint, write the baseline, close the lease. Nothing of the frozen disks is read from here on."""
    assert attempt.checkpoint is not None
    try:
        with attempt.asking():
            reference = attempt.machine.convert(
                attempt.checkpoint, [frozen.disk for frozen in disks]
            )
        attempt.reference_point = reference.id
        known = rct_ids(attempt, reference, disks)
        attempt.run.add_baseline(
            created=now_microseconds(), reference_point=reference.id, disks=known
        )
        attempt.sealed = True
    except HypercbtError as error:
        attempt.remarks.findings.append(
            f"no baseline, so the next backup compares: {error}"
        )
        if not _taken_back(attempt):
            attempt.leave_open()
            return
    try:
        attempt.remarks.warnings.extend(attempt.close())
    except HypercbtError as error:
        attempt.remarks.findings.append(f"the run's lease could not be closed: {error}")


def rct_ids(
    attempt: Attempt, reference: ReferencePoint, disks: Sequence[FrozenDisk]
) -> list[tuple[str, int, str, str | None]]:
    """Return the RCT ids of a reference point as a baseline takes them: (disk id, size, RCT id, location).

    A disk that should be tracked and has no id is a finding.
    """
    known: list[tuple[str, int, str, str | None]] = []
    for frozen in disks:
        disk = frozen.planned.disk
        rct_id = reference.rct_ids.get(disk.device)
        if rct_id is not None and disk.disk_id is not None:
            known.append((disk.disk_id, frozen.size, rct_id, disk.location))
        elif _should_be_tracked(attempt, disk):
            attempt.remarks.findings.append(
                f"{policy.title(disk)}: the host gave no change tracking id; the next backup compares it"
            )
    return known


def drop_older(attempt: Attempt) -> None:
    """Destroy the reference points of ours that no backup will ask from any more; one that is gone is fine."""
    if attempt.reference_point is None or not attempt.sealed:
        return
    new = Baseline(attempt.id, attempt.reference_point, ())
    try:
        standing = attempt.machine.reference_points()
    except HypercbtError as error:
        attempt.remarks.warnings.append(
            f"older reference points could not be looked for: {error}"
        )
        return
    for point in bases.older([new, *attempt.plan.baselines], standing):
        try:
            attempt.machine.destroy_reference_point(point)
        except HypercbtError as error:
            attempt.remarks.warnings.append(
                f"the older reference point {point.id} could not be destroyed: {error}"
            )


def await_merge(attempt: Attempt) -> None:
    """Wait, within limits, until the machine runs on its former files; that it does not is a finding."""
    try:
        reason = until_merged(attempt.machine, attempt.plan.files, attempt.order.limits)
    except HypercbtError as error:
        reason = f"nobody knows whether its disks were merged: {error}"
    if reason is not None:
        attempt.remarks.findings.append(reason)


def _taken_back(attempt: Attempt) -> bool:
    """Take the checkpoint back, or the reference point that it may have become after all."""
    try:
        removed = attempt.take_away()
    except HypercbtError as error:
        attempt.remarks.findings.append(
            f"the checkpoint could not be taken back ({error}); the next backup or check does it"
        )
        return False
    attempt.remarks.findings.extend(removed.doubts)
    return True


def _should_be_tracked(attempt: Attempt, disk: VmDisk) -> bool:
    return policy.untracked(attempt.plan.vm, disk) is None
