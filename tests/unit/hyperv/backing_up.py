"""Backups of a pretended machine: how they are run, and what is looked at afterwards."""

from typing import Any

from hypercbt.hyperv.backup import Done, backup_machine
from unit.hyperv.pretend import Scene

POINT = "aa" * 16
ELSEWHERE = "another-machine 1234 1700000000.00"
GONE_RUN = "bb" * 16


def run(scene: Scene, **order: Any) -> Done:
    return backup_machine(scene.machine, scene.repository, scene.order(**order))


def findings(done: Done) -> tuple[str, ...]:
    return done.point.stats.findings


def with_base(scene: Scene) -> Scene:
    scene.add_baseline(POINT, "RP-old")
    scene.add_reference_point("RP-old")
    return scene


def steps(scene: Scene) -> list[str]:
    """Return what changed something, in order."""
    words = (
        "begin", "create", "rename", "store", "read", "commit", "convert", "baseline",
        "close", "abort", "destroy", "destroy-reference-point", "fence", "close-lease",
    )  # fmt: skip
    return [
        event.split(" ")[0] for event in scene.events if event.split(" ")[0] in words
    ]


def dead(scene: Scene, **changed: Any) -> None:
    """Let the lease of a killed run of this machine stand. (This process holds no run: its own owner is gone.)"""
    scene.add_lease(GONE_RUN, **changed)


def committed_and_dead(scene: Scene) -> None:
    """Let a run have been killed behind its commit, when the host had the reference points that it has now."""
    stood = [point.id for point in scene.points]
    vm = {"host": "hv01", "checkpoints": [], "reference_points": stood}
    dead(scene, state="committed", vm=vm)
