"""A reader of repositories, written from `docs/repository-format.md` and nothing else.

It proves that the document says enough: with it, the standard library, and the PyPI packages `blake3`
and `zstandard`, anybody can get their disks back. It is slow, strict, and knows none of our code.

It refuses whatever the document says a reader refuses, and checks every checksum, hash and reserved
byte on its way. Section numbers in these files are those of the document.
"""
