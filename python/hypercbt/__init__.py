"""Incremental backups of Hyper-V virtual disks that copy only what changed."""
