"""The machine of a scene, as a backup sees it."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from hypercbt import Extents, VirtualDisk
from hypercbt.errors import HostFileError, HostFileMissingError
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.reference_points import ReferencePoint
from unit.hyperv.pretended.values import VM

if TYPE_CHECKING:
    from unit.hyperv.pretend import Scene


class PretendMachine:
    """A `Machine` of a scene."""

    id = VM
    host = "hv01"

    def __init__(self, scene: "Scene") -> None:
        self._scene = scene

    def tidying(self) -> "PretendMachine":
        return self

    def look(self) -> VirtualMachine:
        self._scene.happen("look")
        return self._scene.vm

    def disks(self, settings_id: str) -> tuple[VmDisk, ...]:
        scene = self._scene
        if settings_id == scene.vm.settings_id:
            scene.happen("disks")
            return tuple(scene.active)
        scene.happen("frozen-disks")
        return scene.frozen[settings_id]

    def attached(self, settings_id: str) -> tuple[VmDisk, ...]:
        self._scene.happen("attached")
        return tuple(
            replace(disk, disk_id=None, size=None, parents=())
            for disk in self._scene.active
        )

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        self._scene.happen("checkpoints")
        return tuple(self._scene.checkpoint_list)

    def create_checkpoint(
        self, vm: VirtualMachine, level: str, before: Collection[str]
    ) -> Checkpoint:
        self._scene.happen(f"create {level}")
        made = self._scene.add_checkpoint()
        self._scene.happen("created")
        return made

    def rename(self, checkpoint: Checkpoint, name: str) -> None:
        self._scene.happen(f"rename {name}")
        self._scene.checkpoint_list = [
            replace(c, name=name) if c.id == checkpoint.id else c
            for c in self._scene.checkpoint_list
        ]

    def convert(
        self, checkpoint: Checkpoint, disks: Sequence[VmDisk] = ()
    ) -> ReferencePoint:
        scene = self._scene
        scene.happen("convert")
        point = scene.add_reference_point(f"RP-{scene.made}")
        scene.drop(checkpoint.id)
        scene.happen("converted")
        return point

    def destroy(self, checkpoint: Checkpoint) -> None:
        self._scene.happen(f"destroy {checkpoint.id}")
        if checkpoint.id in self._scene.frozen:
            self._scene.drop(checkpoint.id)
        self._scene.happen("destroyed")

    def reference_points(self) -> tuple[ReferencePoint, ...]:
        self._scene.happen("reference-points")
        return tuple(self._scene.points)

    def destroy_reference_point(self, point: ReferencePoint) -> None:
        self._scene.happen(f"destroy-reference-point {point.id}")
        self._scene.points = [p for p in self._scene.points if p.id != point.id]

    def changed_extents(self, path: str, since: str, size: int) -> Extents:
        self._scene.happen(f"changes {since}")
        return Extents([(0, 65536)])

    @contextmanager
    def _opened(self, disk: VmDisk) -> Iterator[Any]:
        self._scene.happen(f"open {disk.path}")
        yield SimpleNamespace(
            native=disk, disk_id=disk.disk_id, size=disk.size, path=disk.path
        )
        self._scene.happen("closed-disk")

    def open(self, disk: VmDisk) -> VirtualDisk:
        return cast("VirtualDisk", self._opened(disk))

    def configuration_files(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        assert checkpoint.configuration is not None
        stem = checkpoint.configuration.path.removesuffix("vmcx")
        return tuple(f"{stem}{suffix}" for suffix in ("vmcx", "vmrs", "vmgs"))

    def local(self, host_path: str) -> str:
        if host_path in self._scene.missing:
            raise HostFileMissingError(f"{host_path} is not there")
        return "/mnt/" + host_path.partition("\\")[2].replace("\\", "/")

    def merging_is_suspended(self) -> bool:
        return not self._scene.merges

    def see_readable(self, host_path: str) -> None:
        if not self.exists(host_path):
            raise HostFileMissingError(f"{host_path} is not there")
        if host_path in self._scene.unreadable:
            raise HostFileError(f"{host_path} cannot be read from here")

    def exists(self, host_path: str) -> bool:
        if host_path.startswith(tuple(self._scene.unmapped)):
            raise HostFileError(f"nobody said where {host_path} is from here")
        return host_path not in self._scene.missing

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        if host_path.startswith(tuple(self._scene.unmapped)):
            raise HostFileError(f"nobody said where {host_path} is from here")
        return self._scene.free
