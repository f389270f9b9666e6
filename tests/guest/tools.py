"""The programs that the guest needs, and the packages that have them."""

import shutil
import subprocess
from collections.abc import Iterable

PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "ldd": "libc-bin",
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
}
"""Debian's package of each program."""


class MissingToolError(Exception):
    """Something that must be installed is not there."""


def check(programs: Iterable[str] = PACKAGES) -> None:
    """Raise `MissingToolError` with the packages to install, all at once, or return."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise MissingToolError(
            f"there is no {', '.join(missing)} here: apt-get install {packages}"
        )


def run(*words: object, ok: Iterable[int] = (0,), **options: object) -> str:
    """Run a program and return what it printed.

    Raises:
        RuntimeError: It ended with another code than `ok`; the message holds what it said.
    """
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        check=False,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode not in ok:
        raise RuntimeError(
            f"{' '.join(map(str, words))} ended with {done.returncode}: {done.stdout[-2000:]}"
        )
    return str(done.stdout)
