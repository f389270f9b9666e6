"""A simulated host: what hypercbt is tried against where there is no Hyper-V.

`LabHost` is a Hyper-V host in a box: it answers real WS-Management requests, and its virtual machines have real disks.
`TrackedDisk` is one of these disks alone: one that a guest really writes, with the change tracker that a host would keep
for it, and checkpoints that really freeze its file. Nothing outside `hypercbt.lab` imports it, but the demo and the command
line. It needs the extra `hypercbt[lab]`, the disks alone do not.
"""

from typing import TYPE_CHECKING, Any

from hypercbt.lab.tracked_disk import Checkpoint, Frozen, TrackedDisk, Tracking

if TYPE_CHECKING:
    from hypercbt.lab.host import LabHost
    from hypercbt.lab.model.clock import ManualClock
    from hypercbt.lab.model.guest import Guest
    from hypercbt.lab.model.quirks import Pace, Quirks
    from hypercbt.lab.new_disk import NewDisk
    from hypercbt.lab.vm import LabDisk, LabVm
    from hypercbt.lab.wire.options import TlsFiles, WireOptions

_LATER = {
    "Guest": "hypercbt.lab.model.guest",
    "LabDisk": "hypercbt.lab.vm",
    "LabHost": "hypercbt.lab.host",
    "LabVm": "hypercbt.lab.vm",
    "ManualClock": "hypercbt.lab.model.clock",
    "NewDisk": "hypercbt.lab.new_disk",
    "Pace": "hypercbt.lab.model.quirks",
    "Quirks": "hypercbt.lab.model.quirks",
    "TlsFiles": "hypercbt.lab.wire.options",
    "WireOptions": "hypercbt.lab.wire.options",
}
"""What is imported when it is asked for: the wire needs packages that only the extra brings."""

__all__ = [
    "Checkpoint",
    "Frozen",
    "Guest",
    "LabDisk",
    "LabHost",
    "LabVm",
    "ManualClock",
    "NewDisk",
    "Pace",
    "Quirks",
    "TlsFiles",
    "TrackedDisk",
    "Tracking",
    "WireOptions",
]


def __getattr__(name: str) -> Any:
    """Import the rest when somebody wants it.

    Raises:
        ModuleNotFoundError: The extra is not installed.
    """
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_LATER[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "hypercbt":
            raise
        said = f"hypercbt.lab.{name} needs {error.name}: pip install 'hypercbt[lab]'"
        raise ModuleNotFoundError(said, name=error.name) from error
