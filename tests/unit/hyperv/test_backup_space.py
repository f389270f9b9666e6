"""What a backup does where the host has little room."""

import pytest

from hypercbt.errors import (
    AuditUnfinishedError,
    HostSpaceError,
)
from unit.hyperv.backing_up import findings, run, steps
from unit.hyperv.pretend import (
    GIB,
    Scene,
)


def test_too_little_room_is_refused_before_the_machine_is_touched() -> None:
    scene = Scene()
    scene.free = (19 * GIB, 100 * GIB)
    with pytest.raises(HostSpaceError):
        run(scene)
    assert steps(scene) == []


def fill(scene: Scene, free: int) -> None:
    """Let the volume fill up when the disk is read."""

    def full() -> None:
        scene.free = (free, 100 * GIB)

    scene.on("read", full)


def test_below_the_floor_the_audit_ends_and_the_backup_goes_on() -> None:
    scene = Scene()
    fill(scene, 15 * GIB)
    done = run(scene)
    assert "stop-audit" in scene.events
    assert "the next backup owes" in findings(done)[0]


def test_below_half_of_the_floor_the_backup_ends_and_the_checkpoint_goes() -> None:
    scene = Scene()
    fill(scene, 9 * GIB)
    with pytest.raises(HostSpaceError, match="was ended"):
        run(scene)
    assert scene.clean
    assert scene.committed == []


def test_a_comparison_that_a_missed_change_makes_necessary_is_not_begun_without_room() -> (
    None
):
    scene = Scene()
    scene.on("read", AuditUnfinishedError("stopped"))
    with pytest.raises(HostSpaceError, match="missed a change"):
        run(scene)
    assert scene.clean
