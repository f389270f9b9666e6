"""What pretended machines, hosts and repositories are made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.machines import Configuration, VirtualMachine

VM = "a1b2c3d4-0000-4000-8000-000000000001"
REPOSITORY = "0f" * 16
DISK_BYTES = 64 << 20
GIB = 1 << 30
NOW = datetime(2026, 10, 8, 15, 15, tzinfo=UTC)


def vm_disk(
    name: str = "web01",
    *,
    kind: str = "vhdx",
    slot: int = 0,
    size: int | None = DISK_BYTES,
    disk_id: str | None = None,
    parents: tuple[str, ...] = (),
) -> VmDisk:
    return VmDisk(
        instance_id=rf"Microsoft:{VM.upper()}\83F8\0\{slot}\D",
        path=rf"C:\VMs\{name}.{kind}",
        kind=kind,
        location=f"SCSI 0:{slot}",
        disk_id=disk_id or f"0d15c000-0000-4000-8000-{slot:012}",
        size=size,
        parents=parents,
    )


def virtual_machine(**changed: Any) -> VirtualMachine:
    made = VirtualMachine(
        id=VM,
        name="web01",
        state="running",
        busy=None,
        version="10.0",
        generation=2,
        checkpoint_type="production",
        replication="none",
        settings_id=f"Microsoft:{VM.upper()}",
        configuration=Configuration(
            r"C:\VMs\web01", rf"Virtual Machines\{VM.upper()}.vmcx"
        ),
    )
    return replace(made, **changed)


class Clock:
    """A clock that only sleeping moves; `at` are things that happen when it passes a moment."""

    def __init__(self) -> None:
        self.time = 0.0
        self.at: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        due = [entry for entry in self.at if entry[0] <= self.time]
        self.at = [entry for entry in self.at if entry[0] > self.time]
        for _, happen in due:
            happen()


@dataclass
class Lease:
    document: dict[str, Any]
    state: str = "open"
    closed: bool = False


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)
