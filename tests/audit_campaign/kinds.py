"""How a host misses changes, and what its guests write meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audit_campaign.life import CHUNK, PERIOD_DAYS, Life
from hypercbt.lab import LabDisk

QUIET = 5
"""On one day of so many a disk is written to in no place but the one that is missed."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a life is."""

    disks: int = 10
    disk_bytes: int = 32 << 20
    period: int = PERIOD_DAYS
    more_runs: int = 8
    """Than a period."""
    writes: int = 5
    """Of a day, on each disk, that are reported."""

    @property
    def runs(self) -> int:
        """Of the machine, the first included."""
        return self.period + self.more_runs


def single(folder: Path, seed: int, size: Size) -> Life:
    """On each disk, on one day, the change of one chunk is missed, and this chunk is never written to again."""
    return _missed_once(folder, seed, size, grown=lambda _: 1.0)


def growing(folder: Path, seed: int, size: Size) -> Life:
    """The same, on disks of which an eighth is in use at first and a little more every day."""
    return _missed_once(
        folder, seed, size, grown=lambda run: min(1.0, 0.125 + 0.875 * run / size.runs)
    )


def share(folder: Path, seed: int, size: Size) -> Life:
    """Each day another hundredth of the disks is not reported, and the guest writes there too."""
    life = _new(folder, seed, size)
    with life.beginning():
        life.fill()
        life.next_day()
        for run in range(1, size.runs):
            life.vm.under_report(0.01, seed * 1000 + run)
            _write_hidden_too(life, size)
            life.next_day()
    return life


def same_share(folder: Path, seed: int, size: Size) -> Life:
    """The same hundredth every day, so that it is missed again right after it was found."""
    life = _new(folder, seed, size)
    with life.beginning():
        life.fill()
        life.next_day()
        life.vm.under_report(0.01, seed)
        for _ in range(1, size.runs):
            _write_hidden_too(life, size)
            life.next_day()
    return life


KINDS: dict[str, Callable[[Path, int, Size], Life]] = {
    "single": single,
    "growing": growing,
    "share": share,
    "same-share": same_share,
}


def _new(folder: Path, seed: int, size: Size) -> Life:
    return Life(
        folder,
        disks=size.disks,
        disk_bytes=size.disk_bytes,
        seed=seed,
        period=size.period,
    )


def _write_hidden_too(life: Life, size: Size) -> None:
    for disk in life.vm.disks:
        if life.random.randrange(QUIET):
            life.work(disk, size.writes)
        hidden = life.hidden(disk)
        if hidden and life.random.randrange(2):
            life.write(disk, life.random.choice(hidden) * CHUNK)


def _missed_once(
    folder: Path, seed: int, size: Size, *, grown: Callable[[int], float]
) -> Life:
    life = _new(folder, seed, size)
    with life.beginning():
        life.fill(grown(0))
        life.next_day()
        chunks = int(size.disk_bytes * grown(0)) // CHUNK
        places = {
            disk.location: life.random.randrange(chunks) for disk in life.vm.disks
        }
        days = {
            disk.location: life.random.randint(1, size.more_runs)
            for disk in life.vm.disks
        }
        for disk in life.vm.disks:
            disk.under_report([(places[disk.location] * CHUNK, CHUNK)])
        for run in range(1, size.runs):
            for disk in life.vm.disks:
                place = places[disk.location]
                is_the_day = days[disk.location] == run
                if is_the_day:
                    life.write(disk, place * CHUNK + 4096 * life.random.randrange(16))
                if not is_the_day or life.random.randrange(2):
                    _elsewhere(life, disk, size.writes, place, grown(run))
            life.next_day()
    return life


def _elsewhere(
    life: Life, disk: LabDisk, writes: int, place: int, grown: float
) -> None:
    """Let the guest write anywhere but to one chunk, within what is in use; whatever is newly in use, too."""
    end = int(disk.size * grown) // CHUNK
    for _ in range(writes):
        chunk = life.random.randrange(end)
        if chunk != place:
            life.write(disk, chunk * CHUNK + 4096 * life.random.randrange(16))
    life.grow(disk, grown)
