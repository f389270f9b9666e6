"""A bench for backups, and a machine in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercbt.lab import LabVm
from integration.hyperv.backups import Bench, bench


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as made:
        yield made


@pytest.fixture
def vm(world: Bench) -> LabVm:
    return world.add_vm()
