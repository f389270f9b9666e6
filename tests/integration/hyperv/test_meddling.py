"""Somebody else is at the machine while it is backed up: what is wrong then is no restore point, and what is theirs stays."""

from pathlib import Path

import pytest

from hypercbt.errors import VmBusyError
from hypercbt.lab import Quirks
from hypercbt.lab.faults import Fault, Run
from integration.hyperv.backups import MIB, Bench, bench, overwrite


def test_a_checkpoint_that_somebody_deletes_meanwhile_makes_no_restore_point(
    world: Bench,
) -> None:
    vm = world.add_vm(disks=[8 * MIB, 8 * MIB])
    world.backup()
    overwrite(vm, 1)
    done = False

    def meddle(phase: str, so_far: int, total: int) -> None:
        nonlocal done
        if not done:
            done = True
            vm.delete_checkpoint(
                next(c.id for c in vm.checkpoints if "Recovery" in c.kind)
            )
            world.lab.settle()
            vm.disks[1].write(5 * MIB, b"x" * 65536)
            vm.disks[1].flush()

    with pytest.raises(VmBusyError, match="checkpoint"):
        world.try_backup(progress=meddle, consistency="crash")
    assert len(world.repository.points()) == 1
    world.assert_clean(vm)


def test_a_checkpoint_of_somebody_elses_that_comes_between_is_not_taken_for_our_own(
    tmp_path: Path,
) -> None:
    """Ours was refused because of it, so none of the host's checkpoints is ours."""
    with bench(tmp_path, quirks=Quirks(second_recovery_checkpoint=False)) as world:
        vm = world.add_vm()

        def meddle() -> None:
            vm.recovery_checkpoint()

        world.lab.faults.add(Fault("CreateSnapshot", Run(meddle)))
        with pytest.raises(VmBusyError, match="somebody has just made"):
            world.backup()
        assert world.lab.faults.struck
        assert len(vm.checkpoints) == 1


def test_a_user_checkpoint_that_comes_between_leaves_no_base_to_build_upon(
    world: Bench,
) -> None:
    """The RCT id is of a file that was made meanwhile, and not of the one that was active when we looked."""
    vm = world.add_vm()

    def meddle() -> None:
        vm.checkpoint()
        world.lab.settle()

    world.lab.faults.add(Fault("CreateSnapshot", Run(meddle)))
    overwrite(vm, 1)
    done = world.try_backup(consistency="crash")
    world.compare(done.point)
    assert "which file of the frozen disk was in use" in done.point.stats.findings[0]
    assert len(vm.checkpoints) == 1
    overwrite(vm, 2)
    vm.revert()
    world.lab.settle()
    vm.disks[0].pretend(())  # what the id of another branch gives, nobody knows (U13)
    done = world.try_backup(consistency="crash")
    world.compare(done.point)
    assert world.methods(done.point) == ["compare"]
