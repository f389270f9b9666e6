"""Ctrl-C, and anything else, at any step of a backup: the host is left clean."""

from collections.abc import Callable

import pytest

from hypercbt.errors import JobUnfinishedError
from unit.hyperv.backing_up import run, with_base
from unit.hyperv.pretend import (
    Scene,
)


def at(scene: Scene, seconds: float, happens: Callable[[], object]) -> None:
    """Let the host do something so many seconds from now."""

    def happen() -> None:
        happens()

    scene.clock.at.append((scene.clock.time + seconds, happen))


def test_a_checkpoint_that_comes_after_an_interruption_is_found_and_removed() -> None:
    scene = Scene()

    def asked_for_and_interrupted() -> None:
        at(scene, 7.0, scene.add_checkpoint)
        raise KeyboardInterrupt

    scene.on("create", asked_for_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert scene.made == 1
    assert scene.clean
    assert scene.open_leases == []


def test_a_conversion_that_comes_after_an_interruption_leaves_no_reference_point() -> (
    None
):
    scene = Scene()

    def asked_for_and_interrupted() -> None:
        at(scene, 7.0, lambda: convert(scene))
        raise KeyboardInterrupt

    scene.on("convert", asked_for_and_interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert scene.count("destroy-reference-point") == 1
    assert scene.clean
    assert scene.points == []


def convert(scene: Scene) -> None:
    [checkpoint] = scene.checkpoint_list
    scene.add_reference_point("RP-late")
    scene.drop(checkpoint.id)


@pytest.mark.parametrize("step", ["rename", "committed", "converted"])
def test_an_interruption_that_left_nothing_on_its_way_is_not_waited_for(
    step: str,
) -> None:
    scene = Scene()
    reading = 10.0 if step != "rename" else 0.0
    scene.on(step, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(scene)
    assert scene.clean
    assert scene.clock.time == reading


def number_of_events() -> int:
    scene = with_base(Scene())
    run(scene)
    return len(scene.events)


@pytest.mark.parametrize("number", range(1, number_of_events() + 1))
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_is_raised_at_any_step_the_host_is_left_clean(
    number: int, error: type[BaseException]
) -> None:
    scene = with_base(Scene())
    scene.stop_at = (number, error())
    with pytest.raises(error):
        run(scene)
    assert scene.clean
    known = {entry["reference_point"] for entry in scene.baselines}
    assert {p.id for p in scene.points} <= known
    scene.stop_at = None
    scene.read.clear()
    run(scene)
    assert scene.clean
    assert scene.open_leases == []
    assert scene.read[0]["method"] == "rct"
    assert {p.id for p in scene.points} <= known | {
        entry["reference_point"] for entry in scene.baselines
    }


def test_an_interrupted_backup_says_that_its_point_stands_where_it_does() -> None:
    scene = Scene()
    scene.on("committed", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as raised:
        run(scene)
    assert "was made, and is whole" in raised.value.__notes__[0]
    assert scene.clean


def test_a_checkpoint_that_is_given_up_and_comes_later_is_the_next_runs_to_remove() -> (
    None
):
    """A guest that hangs may keep its host busy for longer than anybody waits."""
    scene = Scene()

    def given_up() -> None:
        at(scene, 300.0, scene.add_checkpoint)
        raise JobUnfinishedError("not done in time")

    scene.on("create", given_up)
    with pytest.raises(JobUnfinishedError) as raised:
        run(scene)
    assert "the next backup or check" in raised.value.__notes__[0]
    assert scene.count("create") == 1, "no second one beside it"
    assert len(scene.open_leases) == 1
    scene.clock.sleep(600.0)
    assert len(scene.checkpoint_list) == 1
    done = run(scene)
    assert "that run" in done.warnings[0]
    assert scene.clean
    assert scene.open_leases == []


def test_a_checkpoint_that_is_given_up_and_comes_soon_is_removed_at_once() -> None:
    scene = Scene()

    def given_up() -> None:
        at(scene, 7.0, scene.add_checkpoint)
        raise JobUnfinishedError("not done in time")

    scene.on("create", given_up)
    with pytest.raises(JobUnfinishedError):
        run(scene)
    assert scene.clean
    assert scene.open_leases == []
