"""A simulated host: what hypercbt is tried against where there is no Hyper-V.

So far it has the disks: `TrackedDisk` is one that a guest really writes, with the change tracker that a host
would keep for it, and a checkpoint that really freezes its file. Nothing outside `hypercbt.lab` imports it, but
the demo and the command line.
"""

from hypercbt.lab.tracked_disk import Checkpoint, Frozen, TrackedDisk, Tracking

__all__ = ["Checkpoint", "Frozen", "TrackedDisk", "Tracking"]
