"""The demo's story, step by step. Each step is one call that every caller could make.

```text
everything            a full backup of a running machine
the guest writes      what Hyper-V says has changed
a power cut           the same, from the coarser map that survives one
a hand-over           the machine lives on another host now
a revert              somebody took the machine back to a checkpoint: nothing is known, so all of it is compared
```
"""

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import hypercbt
from hypercbt._native import Extents
from hypercbt.demo.file_systems import (
    FileSystem,
    GuestWrites,
    Sample,
    choose_file_system,
    take_sample,
)
from hypercbt.demo.guest import PAGE_BYTES, write_image, write_in_vain
from hypercbt.demo.images import (
    changed_pages,
    copy_image,
    first_difference,
    same_files,
)
from hypercbt.demo.picture import disk_map
from hypercbt.demo.report import Check, DemoReport, Step
from hypercbt.hyperv.credentials import Credentials
from hypercbt.lab import LabDisk, LabHost, LabVm, NewDisk, Quirks
from hypercbt.points import RestorePoint
from hypercbt.repository import Repository
from hypercbt.virtual_disk import VirtualDisk

VM = "web01"
SAMPLE_BYTES = 256 << 20
DISK_TO_SAMPLE = 4
"""The disk is this many times larger than what is on it, as disks are."""
LEAST_DISK_BYTES = 64 << 20
SPACE_TO_SAMPLE = 14
"""What the temporary folder must have free: images, VHDX files, repositories, restored disks."""
AFTER_A_CUT = 2
"""The backup that the picture shows."""

Say = Callable[[str], None]


def run_demo(
    *,
    say: Say = lambda _: None,
    sample_bytes: int = SAMPLE_BYTES,
    file_system: FileSystem | None = None,
    seed: int = 1,
) -> DemoReport:
    """Tell the whole story in a temporary folder, which is removed at the end."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="hypercbt-demo-") as folder,
        ExitStack() as stack,
    ):
        free = shutil.disk_usage(folder).free
        if free < sample_bytes * SPACE_TO_SAMPLE:
            raise ValueError(
                f"the demo needs {sample_bytes * SPACE_TO_SAMPLE >> 20} MiB in {tempfile.gettempdir()}, "
                f"and {free >> 20} MiB are free; make TMPDIR another folder or the sample smaller"
            )
        files = file_system or choose_file_system()
        if files.note:
            say(files.note)
        say("copying files of this machine")
        sample = take_sample(Path(folder) / "sample", sample_bytes, random.Random(seed))
        disk_bytes = max(LEAST_DISK_BYTES, DISK_TO_SAMPLE * sample_bytes)
        say(
            f"making two Hyper-V hosts, and a {disk_bytes >> 20} MiB disk with {files.name} on it"
        )
        hosts = _two_hosts(Path(folder), stack)
        story = _Story(
            Path(folder), say, files, random.Random(seed), sample, hosts, disk_bytes
        )
        return story.tell(started)


def _two_hosts(folder: Path, stack: ExitStack) -> tuple[LabHost, LabHost]:
    """Make two hosts that share the folder of the machines' files, as nodes of a cluster do."""
    storage = folder / "storage"

    def host(name: str) -> LabHost:
        # Without the small layer that an application-consistent checkpoint may have on top: the image that is compared
        # with does not know what the guest's writers wrote last.
        return stack.enter_context(
            LabHost(
                folder / name,
                name=name,
                power_cuts=True,
                storage=storage,
                quirks=Quirks(application_layer=False),
            )
        )

    return host("HV01"), host("HV02")


@dataclass(frozen=True, slots=True)
class _Taken:
    """A backup, what the guest's disk held, and what was said of the time before."""

    point: RestorePoint
    image: Path
    claimed: Extents = field(default_factory=Extents)
    changed: Extents = field(default_factory=Extents)


@dataclass(slots=True)
class _Story:
    """The state of one telling: where things are, and what has been seen so far."""

    folder: Path
    say: Say
    file_system: FileSystem
    rng: random.Random
    sample: Sample
    hosts: tuple[LabHost, LabHost]
    disk_bytes: int
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    taken: list[_Taken] = field(default_factory=list)
    writes: GuestWrites = field(default_factory=GuestWrites)

    def tell(self, started: float) -> DemoReport:
        """Make, back up, change, back up again whatever happens, restore all, compare all."""
        files = len(self.sample.files), self.sample.total_bytes
        one, two = self.hosts
        vm = one.add_vm(VM, disks=[NewDisk(self.disk_bytes)])
        repository = Repository.create(self.folder / "repository")

        image = self._image(0)
        self.file_system.make(image, self.disk_bytes, self.sample)
        write_image(vm.disks[0], image)
        self._back_up("everything", vm, repository, image)

        image = self._guest_writes(vm)
        self._back_up("what the guest wrote", vm, repository, image)

        image = self._guest_writes(vm)
        self.say("the power of the host is cut")
        write_in_vain(vm.disks[0])
        one.power_cut()
        one.restart()
        self._back_up("after a power cut", vm, repository, image)
        picture = self._picture(vm.disks[0])

        image = self._guest_writes(vm)
        self.say("the machine moves to another host")
        one.move(vm, two)
        self._back_up("after a hand-over", vm, repository, image)

        image = self._there_and_back(vm, image)
        self._back_up("after a revert", vm, repository, image)

        self._look_at_everything(vm, repository)
        return self._report(files, picture, started)

    def _image(self, number: int) -> Path:
        return self.folder / f"day-{number}.raw"

    def _guest_writes(self, vm: LabVm) -> Path:
        """Let a day pass, and return an image of what the disk holds then."""
        self.say("the guest writes")
        before, image = self.taken[-1].image, self._image(len(self.taken))
        copy_image(before, image)
        writes = self.file_system.change(image, self.sample, self.rng)
        write_image(vm.disks[0], image)
        self.sample = self.sample.without(writes.deleted)
        self.writes.added += writes.added
        self.writes.rewritten += writes.rewritten
        self.writes.deleted += writes.deleted
        self.writes.pages += writes.pages
        return image

    def _there_and_back(self, vm: LabVm, image: Path) -> Path:
        """Make a checkpoint as a user does, let the guest write, and go back to it."""
        self.say(
            "a user makes a checkpoint, the guest writes, and the user goes back to it"
        )
        vm.checkpoint("before the update")
        write_in_vain(vm.disks[0])
        vm.disks[0].flush()
        vm.revert()
        return image

    def _back_up(
        self, what: str, vm: LabVm, repository: Repository, image: Path
    ) -> None:
        """Back the machine up from its host, and note what that cost."""
        self.say(f"backing up {what}")
        host = vm.host
        claimed = self._claimed(vm)
        before = host.counts["*"]
        user, password = host.credentials
        started = time.monotonic()
        point = hypercbt.backup(
            VM,
            host=host.host,
            repository=repository,
            credentials=Credentials(user, password),
            map=host.map,
            space_floor=0,
        )
        elapsed = time.monotonic() - started
        changed = Extents()
        if self.taken:
            changed = Extents(changed_pages(self.taken[-1].image, image, PAGE_BYTES))
        disk = point.stats.disks[0]
        self.steps.append(
            Step(
                what=what,
                restore_point=point.id,
                method=disk.method,
                fallback_reason=disk.fallback_reason,
                claimed_bytes=disk.changed_bytes,
                changed_bytes=changed.total_bytes if self.taken else None,
                read_bytes=disk.read_bytes,
                new_bytes=disk.new_bytes,
                stored_bytes=disk.stored_bytes,
                elapsed_seconds=elapsed,
                requests=host.counts["*"] - before,
            )
        )
        if disk.method == "rct":
            missed = changed.subtract(claimed).total_bytes
            self._check(
                f"{what}: no change was missed",
                f"{missed} bytes were missed" if missed else None,
            )
        self.taken.append(_Taken(point, image, claimed, changed))

    def _claimed(self, vm: LabVm) -> Extents:
        """Return what the host is going to say: what its tracker knows since the newest reference point."""
        if not vm.reference_points or not vm.disks[0].tracked.ids:
            return Extents()
        ((_, rct_id),) = vm.reference_points[-1].disks
        assert rct_id is not None
        return vm.disks[0].tracked.changes_since(rct_id)

    def _look_at_everything(self, vm: LabVm, repository: Repository) -> None:
        """Restore each point and compare it; look at the host, the differences and the repository."""
        for number, each in enumerate(self.taken, start=1):
            self._restore(number, each)
        self._restore_as_vhdx(self.taken[-1])
        self._restore_configuration(self.taken[-1].point)
        self._compare_points(repository)
        kinds = sorted(checkpoint.kind for checkpoint in vm.checkpoints)
        self._check(
            "the host is as it was: no checkpoint of ours is left",
            None if kinds == ["Realized"] else f"there are {kinds}",
        )
        self.say("verifying the repository")
        report = repository.verify()
        self._check(
            "every stored byte verifies", None if report.clean else str(report.damaged)
        )

    def _restore(self, number: int, taken: _Taken) -> None:
        """Restore a point and compare it with the image that the guest had."""
        self.say(f"restoring point {number} and comparing every byte")
        restored = self.folder / "restored.raw"
        taken.point.restore(restored)
        where = same_files(taken.image, restored)
        self._check(f"point {number} restored: every byte is the same", _differs(where))
        self._check(
            f"point {number} restored: the {self.file_system.name} is whole",
            self.file_system.check(restored),
        )
        restored.unlink()

    def _restore_as_vhdx(self, taken: _Taken) -> None:
        """Restore a point as VHDX and compare what its guest would see."""
        restored = self.folder / "restored.vhdx"
        taken.point.restore(restored)
        with VirtualDisk.open(restored) as disk:
            where = first_difference(taken.image, disk.size, disk.read_at)
        self._check("the newest point as VHDX: every byte is the same", _differs(where))
        restored.unlink()

    def _restore_configuration(self, point: RestorePoint) -> None:
        """See that the machine's own files are in the point, whole."""
        names = [file.name for file in point.configuration]
        whole = all(
            len(file.open().read()) == file.size for file in point.configuration
        )
        self._check(
            "the machine's configuration is in the point",
            None
            if whole and any(name.endswith(".vmcx") for name in names)
            else str(names),
        )

    def _compare_points(self, repository: Repository) -> None:
        """See that the repository knows the differences, and that comparing found nothing more."""
        unknown = 0
        for before, after in pairwise(self.taken):
            found = repository.diff(before.point, after.point).disks[0].extents
            unknown += after.changed.subtract(found).total_bytes
        self._check(
            "diff covers what changed",
            f"{unknown} bytes are missing" if unknown else None,
        )
        told, compared = self.taken[-2:]
        more = repository.diff(told.point, compared.point).disks[0].changed_bytes
        self._check(
            "comparing everything found what the host had said",
            f"{more} bytes differ" if more else None,
        )
        missed_chunks = sum(each.point.stats.missed_chunks for each in self.taken)
        self._check(
            "the audit found no missed change",
            f"{missed_chunks} chunks were missed" if missed_chunks else None,
        )

    def _check(self, what: str, detail: str | None) -> None:
        self.checks.append(Check(what, detail is None, detail))

    def _picture(self, disk: LabDisk) -> tuple[str, ...]:
        after_a_cut = self.taken[AFTER_A_CUT]
        with VirtualDisk.open(disk.files[0]) as opened:
            allocated = opened.allocated
        return tuple(
            disk_map(
                self.disk_bytes, allocated, after_a_cut.claimed, after_a_cut.changed
            )
        )

    def _report(
        self, files: tuple[int, int], picture: tuple[str, ...], started: float
    ) -> DemoReport:
        return DemoReport(
            file_system=self.file_system.name,
            note=self.file_system.note,
            disk_bytes=self.disk_bytes,
            files=files[0],
            files_bytes=files[1],
            added=len(self.writes.added),
            rewritten=len(self.writes.rewritten),
            deleted=len(self.writes.deleted),
            pages=self.writes.pages,
            changed_bytes=sum(each.changed.total_bytes for each in self.taken),
            steps=tuple(self.steps),
            checks=tuple(self.checks),
            map=picture,
            elapsed_seconds=time.monotonic() - started,
        )


def _differs(where: int | None) -> str | None:
    return None if where is None else f"they differ from byte {where} on"
