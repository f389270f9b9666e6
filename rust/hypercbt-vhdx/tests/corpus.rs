//! Real disk files of Windows, Disk2vhd and qemu, each against the digest of its content.
//!
//! The corpus lies beside the checkout in `../shared/corpus`, or where `HYPERCBT_CORPUS` says. Where it is absent the
//! tests say so and pass.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hypercbt_extent::{DiskOffset, Extent};
use hypercbt_vhdx::{FileIndex, Kind, LogState, OpenOptions, Place, Segment, VirtualDisk};
use serde::Deserialize;

#[derive(Deserialize)]
struct Image {
    packed: String,
    content_blake3: String,
    disk_bytes: u64,
    file_bytes: u64,
}

/// The images by name, and the folder that they are in.
fn corpus() -> Option<(PathBuf, BTreeMap<String, Image>)> {
    let folder = std::env::var_os("HYPERCBT_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let Ok(manifest) = fs::read(folder.join("MANIFEST.json")) else {
        eprintln!("skipped: no corpus in {}", folder.display());
        return None;
    };
    Some((folder, serde_json::from_slice(&manifest).unwrap()))
}

fn is_kind(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}

/// Unpacks `name` into `into`, by the program that its packed name tells.
fn unpack(folder: &Path, name: &str, image: &Image, into: &Path) -> PathBuf {
    let packed = folder.join(&image.packed);
    let program = match packed.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip",
        Some("xz") => "xz",
        Some("bz2") => "bzip2",
        other => panic!("{other:?} is no packer that we know"),
    };
    let path = into.join(name);
    let status = Command::new(program)
        .args(["-d", "-c"])
        .stdin(File::open(packed).unwrap())
        .stdout(Stdio::from(File::create(&path).unwrap()))
        .status()
        .unwrap();
    assert!(status.success(), "{program} failed for {name}");
    assert_eq!(fs::metadata(&path).unwrap().len(), image.file_bytes);
    path
}

/// The digest of the whole disk: data from the files, everything else from one buffer of zeros.
fn digest(disk: &VirtualDisk) -> String {
    let mut hasher = blake3::Hasher::new();
    let zeros = vec![0; 1 << 20];
    let mut buf = vec![0; 1 << 20];
    let all = Extent::new(DiskOffset(0), disk.size()).unwrap();
    for Segment { extent, place } in disk.segments(all).unwrap() {
        let mut done = 0;
        while done < extent.len().0 {
            let len = (extent.len().0 - done).min(1 << 20) as usize;
            if let Place::Data { file, at } = place {
                let at = hypercbt_vhdx::FileOffset(at.0 + done);
                disk.read_file(file, at, &mut buf[..len]).unwrap();
                hasher.update(&buf[..len]);
            } else {
                hasher.update(&zeros[..len]);
            }
            done += len as u64;
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Opens every image of a format and compares what it holds with its digest.
fn check_all(extension: &str, at_least: usize) {
    let Some((folder, images)) = corpus() else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (name, image) in images.iter().filter(|(name, _)| is_kind(name, extension)) {
        let path = unpack(&folder, name, image, temporary.path());
        if name.contains("differential") {
            let parent = format!("ntfs-parent.{extension}");
            unpack(&folder, &parent, &images[&parent], temporary.path());
        }
        let before = blake3::hash(&fs::read(&path).unwrap());
        let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(disk.format().as_str(), extension);
        assert_eq!(disk.size().0, image.disk_bytes, "{name}");
        assert_eq!(digest(&disk), image.content_blake3, "{name}");
        assert_eq!(disk.stamp().unwrap(), disk.stamp().unwrap());
        assert_eq!(
            blake3::hash(&fs::read(&path).unwrap()),
            before,
            "{name} was changed"
        );
        seen += 1;
    }
    assert!(seen >= at_least, "only {seen} images");
}

#[test]
fn every_vhdx_reads_to_its_digest_and_is_not_touched() {
    check_all("vhdx", 7);
}

#[test]
fn every_legacy_vhd_reads_to_its_digest_and_is_not_touched() {
    check_all("vhd", 3);
}

#[test]
fn a_dirty_file_is_replayed_and_says_so() {
    let Some((folder, images)) = corpus() else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    let name = "iotest-dirtylog-10G-4M.vhdx";
    let path = unpack(&folder, name, &images[name], temporary.path());
    let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
    let log = disk.layers()[0].log;
    assert!(
        matches!(
            log,
            LogState::Replayed {
                entries: 1..,
                sectors: 1..
            }
        ),
        "{log:?}"
    );
    // Only the BAT was logged, so the payload can be read from the file as it is.
    assert!(disk.file(FileIndex(0)).is_some());
}

#[test]
fn the_kinds_are_told_apart() {
    let Some((folder, images)) = corpus() else {
        return;
    };
    let temporary = tempfile::tempdir().unwrap();
    for (name, kind) in [
        ("ntfs-fixed.vhdx", Kind::Fixed),
        ("ntfs-dynamic.vhdx", Kind::Dynamic),
        ("ntfs-parent.vhd", Kind::Fixed),
        ("ntfs-dynamic.vhd", Kind::Dynamic),
    ] {
        let path = unpack(&folder, name, &images[name], temporary.path());
        let disk = VirtualDisk::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(disk.layers()[0].kind, kind, "{name}");
        let log = if is_kind(name, "vhdx") {
            LogState::Clean
        } else {
            LogState::None
        };
        assert_eq!(disk.layers()[0].log, log, "{name}");
    }
}
