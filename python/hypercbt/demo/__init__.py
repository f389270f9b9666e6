"""The demo: a machine on a simulated Hyper-V host, backed up, changed, backed up again, restored, compared.

`story` tells it, `guest` writes to the machine's disk, `file_systems` makes and changes what is on it, `images` has the
plain-Python second opinion on bytes, `picture` draws where the disk changed, `report` is what comes of it. All of it
works in one temporary folder, and only with what every caller has.
"""

from hypercbt.demo.report import Check, DemoReport, Step
from hypercbt.demo.story import run_demo

__all__ = ["Check", "DemoReport", "Step", "run_demo"]
