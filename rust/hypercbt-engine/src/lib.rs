//! Backup, restore, verify and audit: disk to extents to chunks to repository.
