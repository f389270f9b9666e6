"""What the seeded disks are made of.

`HYPERCBT_BENCH_MIB` is the size of the disk in MiB (default 256). Half of each chunk is random, half
is text, so it compresses about 2:1; no two chunks are equal.
"""

import os
import random

MIB = 1 << 20
CHUNK = 256 << 10
DISK_BYTES = int(os.environ.get("HYPERCBT_BENCH_MIB", "256")) * MIB


def piece(rng: random.Random, length: int) -> bytes:
    """Return bytes of which one half does not compress and the other does."""
    words = [b"checkpoint", b"reference", b"extent", b"chunk", b"\0\0\0\0", b"guest"]
    text = b" ".join(rng.choices(words, k=length // 8))
    return rng.randbytes(length // 2) + text[: length - length // 2].ljust(
        length - length // 2, b"."
    )
