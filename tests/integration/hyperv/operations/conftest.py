"""A host with one machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercbt.lab import LabVm
from integration.hyperv.backups import MIB
from integration.hyperv.operations.bench import Bench, bench


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[Bench, LabVm]]:
    """A host with one machine of two disks."""
    with bench(tmp_path) as made:
        yield made, made.lab.add_vm("web01", disks=[32 * MIB, 16 * MIB])
