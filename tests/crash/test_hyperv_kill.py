"""The client of a backup of a virtual machine is interrupted at each numbered request, and at each call of its storage.

By kill -9, Ctrl-C, SIGTERM, a connection that breaks once and one that stays away; right before the host does what was
asked, right after, and later. Then somebody else comes, another backup or `check`, and afterwards the host is as it
would be had nothing happened: see `vm_scene.after`.

What takes all of it is `make hyperv-kills`. Otherwise a share is drawn by `HYPERV_KILL_SEED`: from those requests that
change something, and from the others.
"""

import os
import random
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scene import ABORTED, count_calls
from .vm_scene import (
    KINDS,
    WAYS,
    How,
    Kind,
    VmScene,
    after,
    copied,
    fresh,
    names_of,
    play,
)
from .workers import Ended, VmWorker, started_vm_worker

SEED = os.environ.get("HYPERV_KILL_SEED", "1")
ALL = os.environ.get("HYPERV_KILLS") == "all"
ONLY = os.environ.get("HYPERV_KILL_AT")
"""The number of a request or call, to see one case again."""
CHANGING_SHARE = 0.6
"""Of the cases that are drawn, so many are at requests that change something, or watch that."""
IN_A_ROW = 4
ROWS = 40
"""So many times several runs are interrupted, one after the other."""
LAST_CALLS = 40
"""Of the calls of the storage: index, commit, baseline, close."""


@pytest.fixture(scope="module")
def vm_worker() -> Iterator[VmWorker]:
    with started_vm_worker() as worker:
        yield worker


class Original:
    """A scene that is copied for each case, and what one run of it asks the host."""

    def __init__(self, folder: Path, kind: Kind, worker: VmWorker) -> None:
        self.scene = VmScene.make(folder / "original", kind, worker)
        self.scene.close()
        trial = copied(self.scene, folder / "trial", "trial")
        self.names = names_of(trial)
        trial.settled()
        trial.whole()
        trial.close()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def original(
    request: pytest.FixtureRequest, folders: Path, vm_worker: VmWorker
) -> Original:
    kind: Kind = request.param
    (folders / kind.name).mkdir()
    return Original(folders / kind.name, kind, vm_worker)


def chosen(names: list[str], draw: random.Random, every: int) -> list[int]:
    """Return the numbers of the requests to interrupt at; where it is all of them, each of so many."""
    if ONLY:
        return [int(ONLY)]
    everything = list(range(1, len(names) + 1))
    if ALL:
        return everything[draw.randrange(every) :: every]
    changing = [n for n in everything if changes_something(names[n - 1])]
    others = [n for n in everything if n not in changing]
    return [draw.choice(changing if draw.random() < CHANGING_SHARE else others)]


def changes_something(name: str) -> bool:
    return name in (
        "CreateSnapshot",
        "ModifySystemSettings",
        "ConvertToReferencePoint",
        "DestroyReferencePoint",
        "Get Msvm_ConcreteJob",
        "Enumerate Msvm_AffectedJobElement",
    )


class Tally:
    """Cases, and what was found in them."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.cases = 0
        self.findings: list[str] = []
        self.started = time.monotonic()

    def failed(self, case: str, error: BaseException) -> None:
        where = "".join(traceback.format_exception(error, limit=-4))
        self.findings.append(f"{self.title}, {case}:\n{where}")

    def end(self) -> None:
        seconds = time.monotonic() - self.started
        print(
            f"{self.title}: {self.cases} cases, {seconds:.0f} s, {len(self.findings)} findings"
        )
        assert not self.findings, "\n".join(self.findings)


@pytest.mark.parametrize("how", WAYS, ids=lambda how: how.name)
def test_after_an_interruption_the_next_run_leaves_everything_right(
    original: Original, folder: Path, how: How
) -> None:
    title = f"{original.scene.kind.name} {how.name}"
    tally = Tally(title)
    draw = random.Random(f"{SEED} {title}")
    for nth in chosen(original.names, draw, original.scene.kind.every):
        tally.cases += 1
        try:
            play(original.scene, folder / "scene", how, nth, f"{SEED} {title} {nth}")
        except Exception as error:
            tally.failed(f"request {nth} ({original.names[nth - 1]})", error)
    tally.end()


def test_after_several_interruptions_in_a_row_the_next_run_leaves_everything_right(
    original: Original, folder: Path
) -> None:
    title = f"{original.scene.kind.name} in a row"
    tally = Tally(title)
    for case in [ONLY] if ONLY else range(ROWS if ALL else 1):
        draw = random.Random(f"{SEED} {title} {case}")
        row = [
            (draw.choice(WAYS), draw.randint(1, len(original.names)))
            for _ in range(IN_A_ROW)
        ]
        tally.cases += 1
        try:
            with fresh(
                original.scene, folder / "scene", f"{SEED} {title} {case}"
            ) as scene:
                for how, nth in row:
                    scene.run(
                        draw.choice(["backup", "backup", "check"]), how.at(scene, nth)
                    )
                    scene.write()
                after(scene, "backup", clean=False)
        except Exception as error:
            told = ", ".join(f"{how.name} {nth}" for how, nth in row)
            tally.failed(f"{case} ({told})", error)
    tally.end()


def test_after_a_kill_at_a_call_of_the_storage_the_next_run_leaves_everything_right(
    original: Original, folder: Path
) -> None:
    if not (ALL or ONLY) and original.scene.kind.name != "incremental":
        pytest.skip("one kind is enough, where not everything is asked for")
    title = f"{original.scene.kind.name} storage"
    tally = Tally(title)
    draw = random.Random(f"{SEED} {title}")
    for call in calls(original.scene, folder, draw):
        tally.cases += 1
        try:
            abort(original.scene, folder / "scene", call, f"{SEED} {title} {call}")
        except Exception as error:
            tally.failed(f"call {call}", error)
    tally.end()


def calls(original: VmScene, folder: Path, draw: random.Random) -> list[int]:
    """Return the numbers of the calls to interrupt at: the last ones are commit, baseline and close."""
    if ONLY:
        return [int(ONLY)]

    def run(abort_at: int) -> Ended:
        with fresh(original, folder / "count", "count") as scene:
            return scene.run("backup", abort_at=abort_at)

    count = count_calls(run)
    everything = list(range(count))
    if ALL:
        return everything
    return sorted(draw.sample(everything[-LAST_CALLS:], 2) + draw.sample(everything, 1))


def abort(original: VmScene, folder: Path, call: int, seed: str) -> None:
    """Kill one run at a call of its storage, and look at everything afterwards."""
    with fresh(original, folder, seed) as scene:
        ended = scene.run("backup", abort_at=call)
        # Threads take turns: the last call of one run may be the last but one of another.
        assert ended.code in (ABORTED, 0), ended
        after(scene, scene.random.choice(["backup", "check"]), clean=False)
