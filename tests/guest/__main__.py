"""Runs rounds of kills and backups and prints a table: `make guest`, or `python -m guest` in tests/.

HYPERCBT_GUEST_ROUNDS (5) and HYPERCBT_GUEST_SEED (0: any) are the number of rounds and what is
random in them. A seed repeats the orders and the delays, not where exactly a kill hits.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from guest import kernel, tools
from guest.backups import Taken
from guest.checks import BrokenPromiseError
from guest.machine import MachineGoneError
from guest.server import RefusedError, ServerGoneError
from guest.story import Story
from hypercbt.errors import HypercbtError

CACHE = Path(__file__).parents[2] / "target" / "guest"
MIB = 1 << 20


def play(story: Story, rounds: int) -> None:
    """Write, kill, back up; each round another thing goes wrong with the backup."""
    endings = [
        ("killed before", story.backup),
        ("killed freezing", story.backup_killed_freezing),
        ("killed frozen", story.backup_killed_frozen),
        ("killed thawing", story.backup_killed_thawing),
        (".rct lost", story.backup),
    ]
    print(HEADER, flush=True)
    show(story, "full", story.first_backup())
    for number in range(rounds):
        what, backup = endings[number % len(endings)]
        story.write_until_killed()
        if what == ".rct lost":
            story.lose_rct()
        show(story, what, backup())
    show(story, "clean stop", story.last_backup())


HEADER = (
    f"{'incremental after':18}{'orders':>8}{'kills':>7}{'recovered':>11}{'files':>7}"
    f"{'reported':>11}{'changed':>11}{'over':>7}{'stored':>11}   (sizes in MiB)"
)


def show(story: Story, what: str, taken: Taken) -> None:
    """Print one backup that was restored and compared."""
    over = f"{taken.reported / taken.changed:.2f}" if taken.changed else "-"
    print(
        f"{what:18}{story.workload.orders:8}{story.kills:7}{story.recoveries:11}{taken.files:7}"
        f"{taken.reported / MIB:11.1f}{taken.changed / MIB:11.1f}{over:>7}{taken.stored / MIB:11.1f}",
        flush=True,
    )


def main() -> int:
    """Run everything and return the exit code."""
    rounds = int(os.environ.get("HYPERCBT_GUEST_ROUNDS", "5"))
    seed = int(os.environ.get("HYPERCBT_GUEST_SEED", "0")) or random.randrange(1 << 32)
    try:
        tools.check()
    except tools.MissingToolError as error:
        print(error, file=sys.stderr)
        return 2
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="hypercbt-guest-"))
    print(f"seed {seed}, {rounds} rounds in {folder}")
    story = Story(random.Random(seed), folder, kernel.prepare(CACHE))
    try:
        play(story, rounds)
    except (
        HypercbtError,
        BrokenPromiseError,
        ServerGoneError,
        RefusedError,
        MachineGoneError,
        ValueError,
        RuntimeError,
    ) as error:
        print(f"FAILED: {error} (seed {seed}; see {folder})", file=sys.stderr)
        return 1
    if story.recoveries != story.kills:
        print(f"{story.kills} kills, {story.recoveries} recoveries", file=sys.stderr)
        return 1
    run_seconds = time.monotonic() - started
    print(
        f"{story.kills} kills, each recovered, all restored byte for byte: {run_seconds:.0f} s"
    )
    tools.run("rm", "-rf", folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
