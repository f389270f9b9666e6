"""The demo: a disk with a real file system, backed up, changed, backed up again, restored, compared.

`story` tells it, `guest` writes to the disk in a process that is stopped or killed, `file_systems` makes and changes
what is on the disk, `images` has the plain-Python second opinion on bytes, `picture` draws where the disk changed.
All of it works in one temporary folder, and only with what every caller has.
"""

from hypercbt.demo.story import Check, DemoReport, Step, run_demo

__all__ = ["Check", "DemoReport", "Step", "run_demo"]
