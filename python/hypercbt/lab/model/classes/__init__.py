"""Every class that the simulated host has, as it would declare it."""

from collections.abc import Mapping
from types import MappingProxyType

from hypercbt.lab.model.classes import (
    associations,
    checkpoints,
    devices,
    disks,
    jobs,
    machines,
    services,
    windows,
)
from hypercbt.lab.wire.provider import CimClass

CLASSES: Mapping[str, CimClass] = MappingProxyType(
    {
        found.name: found
        for part in (
            associations,
            checkpoints,
            devices,
            disks,
            jobs,
            machines,
            services,
            windows,
        )
        for found in part.CLASSES
    }
)

__all__ = ["CLASSES"]
