"""What the demo did and found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One backup of the story."""

    what: str
    restore_point: str
    method: str
    fallback_reason: str | None
    claimed_bytes: int | None
    """What the host reported, and what else had to be read because of it."""
    changed_bytes: int | None
    """What had really changed, in pages of 4 KiB."""
    read_bytes: int
    new_bytes: int
    stored_bytes: int
    elapsed_seconds: float
    """Of the whole backup: checkpoint, reading, reference point."""
    requests: int
    """What was asked of the host."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must be true, and why it is not where it is not."""

    what: str
    passed: bool
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo did and found."""

    file_system: str
    note: str | None
    disk_bytes: int
    files: int
    files_bytes: int
    added: int
    rewritten: int
    deleted: int
    pages: int
    changed_bytes: int
    """What the guest's writes really changed in all, in pages of 4 KiB."""
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    map: tuple[str, ...]
    """The disk before the backup that followed the power cut."""
    elapsed_seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)
