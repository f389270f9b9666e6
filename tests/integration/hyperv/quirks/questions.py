"""What our client never asks, asked of the lab: where a switch changes nothing for us, this shows that it acted."""

import re
from collections.abc import Mapping
from typing import cast

from hypercbt import _native
from hypercbt.hyperv.conversation import Conversation
from hypercbt.hyperv.envelope import Request
from hypercbt.lab import LabVm
from hypercbt.lab.model.services import SNAPSHOTS
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing
from integration.hyperv.backups import overwrite
from integration.hyperv.quirks.shows import CHANGES, Play
from integration.hyperv.watched import Watched

SETTINGS = "Msvm_VirtualSystemSnapshotSettingData"
APPLICATION, CRASH = 1, 2


def makes_a_checkpoint(
    world: Watched, vm: LabVm, settings: Mapping[str, Cim] | None
) -> bool:
    """Ask for a recovery checkpoint as others would; whether it was made. It does not stay."""
    arguments: dict[str, Cim] = {
        "AffectedSystem": Ref("Msvm_ComputerSystem", {"Name": vm.id.upper()}),
        "SnapshotSettings": None if settings is None else Thing(SETTINGS, settings),
        "SnapshotType": 32768,
    }
    keys = {"CreationClassName": SNAPSHOTS}
    before = {found.id for found in vm.checkpoints}
    call = Call(SNAPSHOTS, keys, "CreateSnapshot", arguments, "lab", 512_000)
    world.lab.model.invoke(call)
    for _ in range(3):
        world.clock.advance(10.0)
        world.lab.settle()
    made = [found.id for found in vm.checkpoints if found.id not in before]
    for one in made:
        vm.delete_checkpoint(one)
        world.clock.advance(10.0)
        world.lab.settle()
    return made != []


def others_may_ask(settings: Mapping[str, Cim] | None, *, works: bool) -> Play:
    """Back up; and who asks for a checkpoint with these settings gets one, or none."""

    def play(world: Watched) -> None:
        vm = world.web01()
        world.story(vm)
        assert makes_a_checkpoint(world, vm, {"ConsistencyLevel": CRASH})
        assert makes_a_checkpoint(world, vm, settings) is works

    return play


def enumerates(query: str, pattern: str, *, never: bool = False, **more: str) -> Play:
    """Send one of our enumerations again with another query, and with what else is said replaced."""

    def look(world: Watched) -> None:
        text = next(one for one in world.wire.asked("Enumerate") if ">SELECT " in one)
        text = re.sub(">SELECT [^<]*<", f">{query}<", text)
        for old, new in more.items():
            text, count = re.subn(f"<w:{old}>[^<]*</w:{old}>", new, text)
            assert count == 1
        with world.open() as host:
            channel = cast(Conversation, host.session)._channel
            answer = channel.send(Request(text, "", "of others")).decode()
        assert "EnumerateResponse" in answer
        assert bool(re.search(pattern, answer)) is not never

    return look


def layer_in_changes(there: bool) -> Play:
    """Who asks for the changes of the file on top of the frozen one is told what it holds, or is not. We ask for the frozen one."""

    def play(world: Watched) -> None:
        vm = world.web01()
        world.backup()
        overwrite(vm, 1)
        seen: list[bool] = []

        def look(*_: object) -> None:
            if not seen:
                seen.append(_covers_the_layer(world, vm))

        point = world.backup(audit="off", progress=look)
        assert world.methods(point) == ["rct"]
        assert seen == [there]
        world.story(vm, first="rct")

    return play


def _covers_the_layer(world: Watched, vm: LabVm) -> bool:
    (frozen,) = vm.machine.checkpoints[-1].disks
    assert frozen.layer is not None
    text = world.wire.asked(CHANGES)[-1]
    assert text.count(frozen.file) == 1
    with world.open() as host:
        channel = cast(Conversation, host.session)._channel
        asked = Request(text.replace(frozen.file, frozen.layer), "", "of others")
        answer = channel.send(asked).decode()
    at, length = (
        [int(one) for one in re.findall(rf"Byte{name}>(\d+)<", answer)]
        for name in ("Offsets", "Lengths")
    )
    told = _native.Extents(list(zip(at, length, strict=True)))
    assert len(told) > 0
    held = world.lab.model.files.written_in(frozen.layer)
    assert len(held) > 0
    return len(held.subtract(told)) == 0


def off(works: bool) -> Play:
    """Of a machine that is off we ask no application consistency; others who do get it, or do not."""

    def play(world: Watched) -> None:
        vm = world.web01()
        vm.stop()
        world.story(vm)
        points = world.repository.points()
        assert {point.consistency for point in points} == {"off"}
        asked = world.wire.asked("CreateSnapshot")
        assert len(asked) == 3
        level = "ConsistencyLevel.*?(?:<|&lt;)VALUE(?:>|&gt;)([0-9])"
        assert {re.findall(level, one)[0] for one in asked} == {str(CRASH)}
        wanted = {"ConsistencyLevel": APPLICATION}
        assert makes_a_checkpoint(world, vm, wanted) is works

    return play


def in_order(there: bool) -> Play:
    """Rows come in the order of the places, or in none."""

    def look(world: Watched) -> None:
        lists = [
            re.findall(r"<p:InstanceID>Microsoft:[^<]*\\(\d)\\L<", answer)
            for answer in world.wire.answers("Enumerate Msvm_StorageAllocation")
        ]
        longer = [one for one in lists if len(one) > 1]
        assert longer
        assert all(one == sorted(one) for one in longer) is there

    return look
