"""A real guest on a tracked disk: `make guest` runs it, and says which programs it needs.

A small Linux under qemu writes files to a tracked disk, over NBD. The server and the machine are
killed at random moments; in between, incremental backups are taken by `changes_since`, restored, and
compared with the disk. `__main__` tells the story in order, the other modules are one thing each.
"""
