"""Configuration files: real files, whose content is plausible and ours. Nobody has to understand them."""

import json
from pathlib import Path

from hypercbt.lab.model.state import Machine

_BLOCK = 4096
_MAGIC = b"hypercbt lab\0\0\0\0"
"""The real ones are a binary key-value store; what is in these says that they are none."""


def write_configuration(path: Path, machine: Machine, *, guest_state: bool) -> None:
    """Write the `.vmcx` file of this path, and its `.vmrs` and maybe `.vmgs` beside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "id": machine.id,
        "name": machine.name,
        "generation": machine.generation,
        "version": machine.version,
        "disks": {disk.location: disk.files[0] for disk in machine.disks},
    }
    parts = {".vmcx": json.dumps(settings, sort_keys=True), ".vmrs": machine.id}
    if guest_state:
        parts[".vmgs"] = f"guest state of {machine.id}"
    for suffix, text in parts.items():
        content = _MAGIC + text.encode()
        length = -(-len(content) // _BLOCK) * _BLOCK
        path.with_suffix(suffix).write_bytes(content.ljust(length, b"\0"))
