"""A case of a switch of the lab, and how it is seen on the wire that the switch acted."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hypercbt.lab import LabVm, Quirks
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.watched import Watched

CHANGES = "GetVirtualDiskChanges"
Play = Callable[[Watched], None]


@dataclass(frozen=True)
class Case:
    """A switch in one position, and what shows that it is."""

    switch: str
    value: object
    play: Play
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Other switches that it needs to show."""

    def quirks(self) -> Quirks:
        return Quirks(**self._of(Quirks))

    def options(self) -> WireOptions:
        return WireOptions(**self._of(WireOptions))

    def _of(self, kind: type[Quirks | WireOptions]) -> dict[str, Any]:
        said = {**self.beside, self.switch: self.value}
        return {
            name: value
            for name, value in said.items()
            if name in {known.name for known in fields(kind)}
        }


# What shows it


def plain(*shown: Play, times: int = 2, **more: Any) -> Play:
    """Let two or three backups pass, and look at what was said."""

    def play(world: Watched) -> None:
        world.story(world.web01(**more), times=times)
        for one in shown:
            one(world)

    return play


def said(what: str, pattern: str, *, never: bool = False) -> Play:
    """Something is in an answer, or in none."""

    def look(world: Watched) -> None:
        answers = world.wire.answers(what)
        assert answers, what
        found = [one for one in answers if re.search(pattern, one)]
        assert bool(found) is not never, pattern

    return look


def asked(what: str, pattern: str, *, never: bool = False) -> Play:
    """Something is in each request, or in none."""

    def look(world: Watched) -> None:
        requests = world.wire.asked(what)
        assert requests, what
        for one in requests:
            assert bool(re.search(pattern, one)) is not never, pattern

    return look


def never_asked(what: str) -> Play:
    """No such request was sent."""

    def look(world: Watched) -> None:
        assert world.wire.asked(what) == []

    return look


def refused(call: str, subcode: str, *, never: bool = False) -> Play:
    """A request was refused like this, or none was."""

    def look(world: Watched) -> None:
        assert (subcode in world.subcodes(call)) is not never

    return look


def scattered(vm: LabVm) -> int:
    """Let a guest write in so many places that an answer gets long; how many."""
    (disk,) = vm.disks
    places = range(0, disk.size, 4 * 4096)
    for at in places:
        disk.write(at, at.to_bytes(8) * 512)
    return len(places)


def much_changed(*shown: Play) -> Play:
    """Have an answer of hundreds of ranges."""

    def play(world: Watched) -> None:
        vm = world.web01()
        world.backup(consistency="crash")
        scattered(vm)
        point = world.backup(consistency="crash", audit="off")
        assert world.methods(point) == ["rct"]
        world.assert_clean(vm)
        for one in shown:
            one(world)

    return play


def nothing_changed(*shown: Play) -> Play:
    """Have an answer without ranges."""

    def play(world: Watched) -> None:
        world.web01()
        world.backup(consistency="crash")
        point = world.backup(consistency="crash", audit="off")
        assert world.methods(point) == ["rct"]
        assert point.stats.read_bytes == 0
        for one in shown:
            one(world)

    return play


def in_pieces(least: int, most: int) -> Play:
    """The changes were asked for so often."""

    def look(world: Watched) -> None:
        assert least <= len(world.wire.asked(CHANGES)) <= most

    return look
