"""Plays lives of each kind and prints what the audit found: `make audit`, or `python -m audit_campaign` in tests/."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from audit_campaign.judge import judge
from audit_campaign.kinds import KINDS, Size
from audit_campaign.life import PERIOD_DAYS

MIB = 1 << 20


def main() -> None:
    """Play, assert and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disks", type=int, default=50, help="of each kind")
    parser.add_argument("--disk-mib", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    said = parser.parse_args()
    size = Size(disk_bytes=said.disk_mib * MIB)
    print(f"{'kind':<12}{'disks':>6}{'runs':>6}{'found':>7}{'healed unseen':>15}{'open':>6}{'days: median':>14}{'most':>6}")  # fmt: skip
    for kind in said.kind or KINDS:
        started, disks, runs, days = time.monotonic(), 0, 0, []
        totals = {"found": 0, "healed unseen": 0, "still open": 0}
        for number in range(-(-said.disks // size.disks)):
            with (
                tempfile.TemporaryDirectory(dir=said.folder) as folder,
                KINDS[kind](Path(folder), said.seed + number, size) as life,
            ):
                judge(life)
                for what, count in life.totals().items():
                    totals[what] += count
                for chronicle in life.chronicles.values():
                    days += chronicle.days
                disks, runs = disks + size.disks, runs + life.runs
        print(f"{kind:<12}{disks:>6}{runs:>6}{totals['found']:>7}{totals['healed unseen']:>15}{totals['still open']:>6}"
              f"{statistics.median(days):>14}{max(days):>6}   ({time.monotonic() - started:.0f} s)", flush=True)  # fmt: skip
        assert max(days) <= PERIOD_DAYS, days


if __name__ == "__main__":
    main()
