"""Configuration files: real files, whose content is plausible and ours. Only an import reads them."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypercbt.lab.model.state import DVD_SLOT, Machine

SUFFIXES = (".vmcx", ".vmrs", ".vmgs")
"""Of what belongs together."""

_BLOCK = 4096
_MAGIC = b"hypercbt lab\0\0\0\0"
"""The real ones are a binary key-value store; what is in these says that they are none."""
_MOST_BYTES = 1 << 20


def write_configuration(
    path: Path,
    machine: Machine,
    *,
    guest_state: bool,
    frozen: Mapping[str, str] | None = None,
) -> None:
    """Write the `.vmcx` file of this path, and its `.vmrs` and maybe `.vmgs` beside.

    Args:
        path: Where to.
        machine: Whose it is.
        guest_state: Whether there is a `.vmgs`.
        frozen: Of a checkpoint: the file of each disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = frozen or {}
    settings = {
        "id": machine.id,
        "name": machine.name,
        "generation": machine.generation,
        "version": machine.version,
        "controllers": machine.controllers,
        "disks": {
            disk.location: [disk.kind, files.get(disk.location, disk.active)]
            for disk in machine.disks
        },
    }
    parts = {".vmcx": json.dumps(settings, sort_keys=True), ".vmrs": machine.id}
    if guest_state:
        parts[".vmgs"] = f"guest state of {machine.id}"
    for suffix, text in parts.items():
        content = _MAGIC + text.encode()
        length = -(-len(content) // _BLOCK) * _BLOCK
        path.with_suffix(suffix).write_bytes(content.ljust(length, b"\0"))


@dataclass(frozen=True, slots=True)
class Definition:
    """What a `.vmcx` file says."""

    id: str
    name: str
    generation: int
    version: str
    controllers: dict[str, str]
    """The GUID of each, by `SCSI 0`."""
    disks: dict[str, tuple[str, str]]
    """The kind and the file of each, by `SCSI 0:1`."""


class NoDefinitionError(ValueError):
    """A file is none that `write_configuration` made."""


def read_configuration(path: Path) -> Definition:
    """Read a `.vmcx` file, which anybody may have written.

    Raises:
        NoDefinitionError: It is none.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES or not content.startswith(_MAGIC):
        raise NoDefinitionError(f"{path} is no configuration of a lab host")
    try:
        found = json.loads(content.removeprefix(_MAGIC).rstrip(b"\0"))
        return _checked(found)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise NoDefinitionError(f"{path}: {error}") from error


_GUID = "[0-9A-F]{8}-([0-9A-F]{4}-){3}[0-9A-F]{12}"


def _checked(found: Any) -> Definition:
    generation = found["generation"]
    if type(generation) is not int or generation not in DVD_SLOT:
        raise ValueError("no such generation")
    controllers = {
        _text(name, r"(IDE|SCSI) \d"): _text(guid, _GUID)
        for name, guid in _mapping(found["controllers"])
    }
    disks = {
        _text(where, r"IDE \d:[01]|SCSI \d:([0-9]|[1-5][0-9]|6[0-3])"): (
            _text(kind, "vhdx|vhd|vhds|pass-through"),
            _text(file),
        )
        for where, (kind, file) in _mapping(found["disks"])
    }
    kind, number, slot = DVD_SLOT[generation]
    dvd = f"{kind} {number}:{slot}"
    used = {where.partition(":")[0] for where in (*disks, dvd)}
    if not used <= controllers.keys() or dvd in disks:
        raise ValueError("a drive has no place")
    return Definition(
        id=_text(found["id"], _GUID),
        name=_text(found["name"]),
        generation=generation,
        version=_text(found["version"], r"\d{1,3}\.\d{1,3}"),
        controllers=controllers,
        disks=disks,
    )


def _mapping(value: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value.items()


def _text(value: Any, pattern: str = ".+") -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 4096:
        raise ValueError("a text is none")
    if not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(f"{value[:100]!r} makes no sense")
    return value
