"""Debian's cloud kernel, and the initial file system that starts on it.

The kernel comes from Debian by `apt-get download` and stays in a folder outside git, so only the
first run needs the network. The initial file system is made anew each time: it is small, and then it
cannot be an old one.
"""

import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from guest.tools import run

META_PACKAGE = "linux-image-cloud-amd64"
MODULES = (
    # In the order in which they must be loaded. The kernel has ext4 built in.
    "virtio/virtio_ring.ko",
    "virtio/virtio.ko",
    "virtio/virtio_pci_legacy_dev.ko",
    "virtio/virtio_pci_modern_dev.ko",
    "virtio/virtio_pci.ko",
    "block/virtio_blk.ko",
)
INIT = Path(__file__).parent / "init.sh"


@dataclass(frozen=True, slots=True)
class Kernel:
    """What qemu starts."""

    image: Path
    initial_files: Path


def prepare(cache: Path) -> Kernel:
    """Return a kernel and its initial file system; the kernel is fetched if `cache` has none."""
    cache.mkdir(parents=True, exist_ok=True)
    system = cache / "system"
    if not list(system.glob("boot/vmlinuz-*")):
        _fetch(cache, system)
    (image,) = system.glob("boot/vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    drivers = system / "lib/modules" / release / "kernel/drivers"
    return Kernel(image, _initial_files(cache, drivers))


def _fetch(cache: Path, system: Path) -> None:
    """Fetch the package that the newest cloud kernel is in, and unpack it."""
    about = run("apt-cache", "show", "--no-all-versions", META_PACKAGE)
    found = re.search(r"^Depends: (linux-image-[^ ,]+)", about, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{META_PACKAGE} names no kernel: {about}")
    run("apt-get", "download", found.group(1), cwd=cache)
    (package,) = cache.glob(f"{found.group(1)}_*.deb")
    # Unpacked beside its place and renamed, so that half a kernel is never taken for a whole one.
    partial = cache / "system.partial"
    shutil.rmtree(partial, ignore_errors=True)
    run("dpkg-deb", "-x", package, partial)
    package.unlink()
    shutil.rmtree(system, ignore_errors=True)
    partial.rename(system)


def _initial_files(cache: Path, drivers: Path) -> Path:
    """Pack busybox, mke2fs, the drivers and the first process; return the archive."""
    root = cache / "initial"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "sbin", "dev", "proc", "sys", "disk", "modules"):
        (root / folder).mkdir(parents=True)
    _copy_program(root, "busybox", "bin/busybox")
    _copy_program(root, "mke2fs", "sbin/mke2fs")
    # Without its configuration mke2fs makes an ext4 with other features than Debian's.
    settings = Path("/etc/mke2fs.conf")
    if settings.exists():
        (root / "etc").mkdir()
        shutil.copyfile(settings, root / "etc/mke2fs.conf")
    for module in MODULES:
        shutil.copyfile(drivers / module, root / "modules" / Path(module).name)
    order = "".join(f"{Path(module).name}\n" for module in MODULES)
    (root / "modules/order").write_text(order)
    shutil.copyfile(INIT, root / "init")
    (root / "init").chmod(stat.S_IRWXU)
    archive = cache / "initial.cpio"
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    with archive.open("wb") as file:
        subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"],
            input="\n".join(names).encode(),
            stdout=file,
            cwd=root,
            check=True,
        )
    return archive


def _copy_program(root: Path, name: str, to: str) -> None:
    """Copy a program and the shared libraries that it is linked to, if it is."""
    source = shutil.which(name)
    if source is None:
        raise RuntimeError(f"there is no {name} here")
    shutil.copyfile(source, root / to)
    (root / to).chmod(stat.S_IRWXU)
    # ldd ends with 1 for a program that is linked statically.
    for library in re.findall(r"(/\S+) \(0x", run("ldd", source, ok=(0, 1))):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, copy)
        copy.chmod(stat.S_IRWXU)
