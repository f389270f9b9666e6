"""Files that a program shows by FUSE, with nbdkit behind them."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest


@contextmanager
def shown(mount: Path, *nbdkit: str) -> Iterator[tuple[Path, IO[str]]]:
    """Mount what nbdkit serves as a file, and give it with what nbdkit says. Skips where that cannot be.

    Args:
        mount: The folder to be made; its file is called `nbd`.
        nbdkit: Filters, plugin and their parameters.
    """
    for program in ("nbdfuse", "nbdkit", "fusermount3"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse for us")
    mount.mkdir()
    served = ["[", "nbdkit", "-r", "--exit-with-parent", *nbdkit, "]"]
    with subprocess.Popen(
        ["nbdfuse", "-r", f"{mount}/", *served], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while not (mount / "nbd").exists():
            if (
                process.poll() is not None
            ):  # containers may have the device and not the right
                pytest.skip(
                    f"mounting by FUSE is not allowed here: {process.stderr.read()}"
                )
            time.sleep(0.05)
        try:
            yield mount / "nbd", process.stderr
        finally:
            subprocess.run(
                ["fusermount3", "-u", "-z", str(mount)], check=True, timeout=60
            )
            process.wait(60)
