//! Files that Windows made are written, merged and resized by us.
//!
//! The corpus lies beside the checkout in `../shared/corpus`, or where `HYPERCBT_CORPUS` says.

use std::path::{Path, PathBuf};
use std::process::Command;

use hypercbt_extent::ByteLen;
use tempfile::TempDir;

use crate::programs::{check_by_qemu, is_here, read_by_qemu};
use crate::{MIB, assert_same, begin, content, create_child, guid, merge, write};

/// Unpacks an image, or says that there is none.
fn unpack(name: &str, path: &Path) -> bool {
    let folder = std::env::var_os("HYPERCBT_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let packed = folder.join(format!("dfvfs-{name}.xz"));
    let output = Command::new("xz").arg("-dc").arg(&packed).output();
    match output {
        Ok(output) if output.status.success() => {
            std::fs::write(path, output.stdout).unwrap();
            true
        }
        _ => {
            println!("skipped: no {} here, or no xz", packed.display());
            false
        }
    }
}

#[test]
fn a_child_of_windows_is_written_and_merged_into_its_parent() {
    let folder = TempDir::new().unwrap();
    let parent = folder.path().join("ntfs-parent.vhdx");
    let child = folder.path().join("ntfs-differential.vhdx");
    if !unpack("ntfs-parent.vhdx", &parent) || !unpack("ntfs-differential.vhdx", &child) {
        return;
    }
    let before = content(&child);
    assert_ne!(before, content(&parent));
    let disk = begin(&child, 1);
    write(&disk, 3 * MIB + 512, 1024, 1);
    disk.close(guid(0xB1)).unwrap();
    let wanted = content(&child);
    assert_eq!(wanted[..3 << 20], before[..3 << 20]);
    merge(&child, &parent);
    assert_same(&content(&parent), &wanted, "the parent");
    assert!(!child.exists());
    if is_here("qemu-img") {
        check_by_qemu(&parent);
        assert_same(&read_by_qemu(&parent), &wanted, "by qemu");
    }
}

#[test]
fn disks_of_windows_are_written_grow_and_get_children_of_ours() {
    for name in ["ntfs-fixed.vhdx", "ntfs-dynamic.vhdx"] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        if !unpack(name, &path) {
            return;
        }
        let mut wanted = content(&path);
        let disk = begin(&path, 1);
        disk.resize(ByteLen(50 * MIB)).unwrap();
        write(&disk, 49 * MIB, 512, 1);
        disk.close(guid(0xB1)).unwrap();
        wanted.resize(50 << 20, 0);
        let end = 49 << 20;
        wanted[end..end + 512].copy_from_slice(&crate::pattern(49 * MIB, 512, 1));
        assert_same(&content(&path), &wanted, name);
        let child = folder.path().join("child.avhdx");
        create_child(&child, &path, 1);
        let disk = begin(&child, 2);
        write(&disk, 0, 512, 2);
        disk.close(guid(0xB2)).unwrap();
        wanted[..512].copy_from_slice(&crate::pattern(0, 512, 2));
        merge(&child, &path);
        assert_same(&content(&path), &wanted, name);
        if is_here("qemu-img") {
            check_by_qemu(&path);
            assert_same(&read_by_qemu(&path), &wanted, name);
        }
    }
}
