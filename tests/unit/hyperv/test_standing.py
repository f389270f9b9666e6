"""Whether a checkpoint holds still: what the host has not frozen, or gives up too early, becomes no restore point."""

from dataclasses import replace

import pytest

from hypercbt import Extents
from hypercbt.errors import ChangeTrackingLostError, CheckpointError, VmBusyError
from hypercbt.hyperv.backup import backup_machine
from unit.hyperv.pretend import Scene, vm_disk

POINT = "0a" * 16
ACTIVE = r"C:\VMs\web01.vhdx"
LAYER = r"C:\VMs\web01_vss.avhdx"


def with_base(scene: Scene) -> Scene:
    scene.add_baseline(POINT, "RP-old")
    scene.add_reference_point("RP-old")
    return scene


def run(scene: Scene) -> None:
    backup_machine(scene.machine, scene.repository, scene.order())


def test_a_disk_that_the_checkpoint_names_and_does_not_freeze_is_not_read() -> None:
    scene = Scene(vm_disk(), vm_disk("shared", slot=1))
    shared = scene.active[1]

    def goes_on() -> None:
        scene.active[1] = shared

    scene.on("created", goes_on)
    with pytest.raises(CheckpointError, match=r"shared\.vhdx"):
        run(scene)
    assert scene.read == []
    assert scene.checkpoint_list == []


def test_a_checkpoint_that_went_before_the_last_read_makes_no_point() -> None:
    scene = Scene()
    scene.on("closed-disk", lambda: scene.drop(scene.checkpoint_list[0].id))
    with pytest.raises(VmBusyError, match="somebody has removed"):
        run(scene)
    assert scene.committed == []
    assert scene.clean
    assert scene.open_leases == []


def test_who_removed_our_checkpoint_and_made_another_keeps_it() -> None:
    """It has a name of Hyper-V's own, as ours has before it is marked."""
    scene = Scene()

    def somebody_else() -> None:
        scene.drop(scene.checkpoint_list[0].id)
        scene.add_checkpoint()

    scene.on("closed-disk", somebody_else)
    with pytest.raises(VmBusyError, match="somebody has removed"):
        run(scene)
    assert scene.count("destroy") == 0
    assert len(scene.checkpoint_list) == 1


def test_the_id_of_a_checkpoint_may_be_spelled_in_other_letters() -> None:
    scene = Scene()

    def spelled_otherwise() -> None:
        (ours,) = scene.checkpoint_list
        scene.checkpoint_list = [replace(ours, id=ours.id.lower())]

    scene.on("closed-disk", spelled_otherwise)
    run(scene)
    assert len(scene.committed) == 1


@pytest.mark.parametrize("comes", ["create", "disks", "baselines", ""])
def test_where_checkpoints_came_or_went_meanwhile_nobody_knows_which_file_was_active(
    comes: str,
) -> None:
    scene = Scene()

    def come() -> None:
        scene.add_checkpoint("mine", kind="user")

    if comes:
        scene.on(comes, come)
    else:
        user = scene.add_checkpoint("mine", kind="user")
        scene.on("create", lambda: scene.drop(user.id))
    run(scene)
    assert scene.read[0]["sealed_in"] is None


def asked_through_a_layer(scene: Scene, lost: str = "") -> list[str]:
    """Back up a checkpoint with a layer of its own; a file that is named does not know its changes."""
    asked: list[str] = []
    machine = scene.machine

    def layered() -> None:
        for one, disks in scene.frozen.items():
            below = (disks[0].path, *disks[0].parents)
            layer = replace(disks[0], path=LAYER, kind="avhdx", parents=below)
            scene.frozen[one] = (layer,)

    def changed(path: str, since: str, size: int) -> Extents:
        asked.append(path)
        if path == lost:
            raise ChangeTrackingLostError("0xC03A0029")
        return Extents([(0, 512)] if path == LAYER else [(1 << 20, 512)])

    scene.on("frozen-disks", layered)
    machine.changed_extents = changed  # type: ignore[method-assign]
    backup_machine(machine, scene.repository, scene.order())
    return asked


def test_every_file_of_the_chain_is_asked_and_what_any_says_counts() -> None:
    scene = with_base(Scene())
    assert asked_through_a_layer(scene) == [LAYER, ACTIVE]
    assert scene.read[0]["method"] == "rct"
    assert list(scene.read[0]["changes"]) == [(0, 512), (1 << 20, 512)]


@pytest.mark.parametrize("lost", [LAYER, ACTIVE])
def test_where_the_file_that_was_in_use_does_not_know_the_disk_is_compared(
    lost: str,
) -> None:
    scene = with_base(Scene())
    asked_through_a_layer(scene, lost)
    assert scene.read[0]["method"] == "compare"


def test_that_a_file_below_the_one_in_use_knows_nothing_is_all_the_same() -> None:
    scene = with_base(Scene(vm_disk(parents=(r"C:\VMs\old.vhdx",))))
    asked = asked_through_a_layer(scene, lost=r"C:\VMs\old.vhdx")
    assert asked == [LAYER, ACTIVE, r"C:\VMs\old.vhdx"]
    assert scene.read[0]["method"] == "rct"


def test_where_the_file_that_the_id_counts_from_does_not_know_the_disk_is_compared() -> (
    None
):
    """A user made a checkpoint since: the machine runs on a child, and what changed before is told by its parent."""
    scene = with_base(Scene(vm_disk(parents=(r"C:\VMs\old.vhdx",))))
    scene.sealed_in = "OLD.vhdx"
    asked_through_a_layer(scene, lost=r"C:\VMs\old.vhdx")
    assert scene.read[0]["method"] == "compare"
