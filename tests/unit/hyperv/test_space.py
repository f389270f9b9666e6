"""The room on the host's volumes while a checkpoint is open."""

import pytest

from hypercbt.errors import HostSpaceError
from hypercbt.hyperv.space import LOOK_EVERY_SECONDS, SpaceWatch, floor_of
from unit.hyperv.pretend import GIB, Clock


class Volume:
    def __init__(self, free: int, total: int = 100 * GIB) -> None:
        self.free = free
        self.total = total
        self.looks = 0

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        self.looks += 1
        return self.free, self.total


class Run:
    stopped = 0

    def stop_audit(self) -> None:
        self.stopped += 1


def watch(volume: Volume, clock: Clock, floor: int | None = None) -> SpaceWatch:
    return SpaceWatch(volume, [r"C:\a.vhdx", r"C:\a.vhdx"], floor, clock.now)


@pytest.mark.parametrize(
    ("total", "floor"),
    [(0, 20), (100, 20), (199, 20), (200, 20), (300, 30), (10_000, 1000)],
)
def test_the_floor_is_the_larger_of_twenty_gibibytes_and_a_tenth(
    total: int, floor: int
) -> None:
    assert floor_of(total * GIB) == floor * GIB


def test_a_full_volume_is_seen_before_anything_is_begun() -> None:
    watch(Volume(20 * GIB), Clock()).begin()
    with pytest.raises(HostSpaceError, match="no checkpoint was made"):
        watch(Volume(20 * GIB - 1), Clock()).begin()


def test_the_callers_floor_is_the_one_that_counts() -> None:
    watch(Volume(5), Clock(), floor=5).begin()
    watch(Volume(0), Clock(), floor=0).begin()
    with pytest.raises(HostSpaceError):
        watch(Volume(4), Clock(), floor=5).begin()


def test_below_the_floor_the_audit_is_ended_once() -> None:
    volume, clock, run = Volume(20 * GIB), Clock(), Run()
    space = watch(volume, clock)
    clock.sleep(LOOK_EVERY_SECONDS)
    space.look(run)
    assert not space.stopped_audit
    volume.free = 10 * GIB
    for _ in range(3):
        clock.sleep(LOOK_EVERY_SECONDS)
        space.look(run)
    assert run.stopped == 1
    assert space.stopped_audit


def test_below_half_of_the_floor_the_run_ends() -> None:
    volume, clock = Volume(10 * GIB - 1), Clock()
    space = watch(volume, clock)
    clock.sleep(LOOK_EVERY_SECONDS)
    with pytest.raises(HostSpaceError, match="was ended"):
        space.look(Run())


def test_the_volume_is_not_looked_at_more_often_than_needed() -> None:
    volume, clock = Volume(0), Clock()
    space = watch(volume, clock)
    space.look(Run())
    assert volume.looks == 0


def test_a_volume_is_looked_at_once_for_all_its_disks() -> None:
    volume = Volume(50 * GIB)
    watch(volume, Clock()).begin()
    assert volume.looks == 1
