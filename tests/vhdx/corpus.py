"""Real disk images, where they are: `$HYPERCBT_CORPUS`, or `shared/corpus` beside the checkout."""

import bz2
import gzip
import json
import lzma
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .format import MIB

CHECKOUT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = Path(
    os.environ.get("HYPERCBT_CORPUS") or CHECKOUT.parent / "shared" / "corpus"
)

MODULES: Final = {".gz": gzip, ".bz2": bz2, ".xz": lzma}


@dataclass(frozen=True)
class RealImage:
    name: str
    packed: str
    file_bytes: int
    disk_bytes: int
    content_blake3: str
    exercises: str


def real_images(suffix: str) -> list[RealImage]:
    """What the manifest names, or nothing where there is no corpus."""
    manifest = CORPUS / "MANIFEST.json"
    if not manifest.is_file():
        return []
    fields = RealImage.__annotations__.keys() - {"name"}
    return [
        RealImage(name, **{field: facts[field] for field in fields})
        for name, facts in json.loads(manifest.read_text()).items()
        if name.endswith(suffix)
    ]


def unpack(image: RealImage, folder: Path) -> Path:
    """The image under its own name, with holes where it holds zeros."""
    path = folder / image.name
    zeros = bytes(MIB)
    packed = CORPUS / image.packed
    with MODULES[packed.suffix].open(packed) as source, path.open("wb") as file:
        while data := source.read(MIB):
            if data == zeros[: len(data)]:
                file.seek(len(data), os.SEEK_CUR)
            else:
                file.write(data)
        file.truncate(image.file_bytes)
    return path
