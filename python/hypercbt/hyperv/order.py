"""What a caller asks of a backup, and what a backup leaves to say besides its restore point."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.policy import Consistency
from hypercbt.models import Progress


@dataclass(frozen=True, slots=True)
class Order:
    """How a machine is to be backed up."""

    consistency: Consistency = "prefer"
    only: Sequence[str] | None = None
    """Location, file name or id of the disks that are wanted; None: all."""
    exclude: Sequence[str] = ()
    full: bool = False
    audit: str = "rotate"
    audit_period_seconds: int = 28 * 24 * 3600
    adopt: bool = False
    """Recovery checkpoints and leases that may be somebody else's are ours to remove."""
    space_floor_bytes: int | None = None
    limits: Limits = field(default_factory=Limits)
    progress: Progress | None = None


@dataclass(slots=True)
class Remarks:
    """What somebody should know of a backup that has worked, or may yet."""

    findings: list[str] = field(default_factory=list)
    """Somebody must read these: exit code 5."""
    warnings: list[str] = field(default_factory=list)
    """Good to know; nothing needs to be done."""
