//! Finding parents: where they may be, and which file is the right one.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod common;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use common::image::Image;
use common::sparse::SparseFile;
use common::{MIB, open, read};
use hypercbt_vhdx::{
    Error, Mismatch, NotADisk, OpenOptions, ReadAt, Result, Unsupported, VirtualDisk,
};

const SIZE: u64 = 4 * MIB;

/// Puts a file on the disk, sparse.
fn save(path: &Path, file: &SparseFile) {
    let mut target = fs::File::create(path).unwrap();
    target.set_len(file.bytes()).unwrap();
    for extent in &file.data_extents().unwrap() {
        target.seek(SeekFrom::Start(extent.start().0)).unwrap();
        target
            .write_all(&file.read(extent.start().0, usize::try_from(extent.len().0).unwrap()))
            .unwrap();
    }
}

/// A parent with this `DataWriteGuid` that begins with `text`.
fn parent(data_write: u8, text: &[u8]) -> SparseFile {
    let mut image = Image::dynamic(SIZE, MIB, 512);
    image.each_header(|header| header.data_write = [data_write; 16]);
    image.block(0, 6, 4 * MIB, text);
    image.build()
}

/// A child of the data 4 with these paths in its locator.
fn child(paths: &[(&str, &str)]) -> SparseFile {
    child_of([4; 16], [0; 16], paths)
}

fn child_of(linkage: [u8; 16], linkage2: [u8; 16], paths: &[(&str, &str)]) -> SparseFile {
    let mut image = Image::differencing(SIZE, MIB, 512, linkage);
    let linkage = format!("{{{}}}", hypercbt_vhdx::Guid(linkage)).to_uppercase();
    let linkage2 = format!("{{{}}}", hypercbt_vhdx::Guid(linkage2));
    let mut pairs = vec![
        ("parent_linkage", linkage.as_str()),
        ("parent_linkage2", linkage2.as_str()),
    ];
    pairs.extend(paths);
    image.set_locator(&pairs);
    image.build()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn save(&self, name: &str, file: &SparseFile) -> PathBuf {
        let path = self.path(name);
        save(&path, file);
        path
    }
}

fn plain(path: &Path) -> Result<VirtualDisk> {
    VirtualDisk::open(path, &OpenOptions::default())
}

fn first_byte(disk: &Result<VirtualDisk>) -> u8 {
    read(disk.as_ref().unwrap(), 0, 1)[0]
}

#[test]
fn a_parent_is_found_beside_its_child_by_each_form_of_path() {
    for (key, value) in [
        ("relative_path", ".\\eltern-ü.vhdx"),
        ("relative_path", "eltern-ü.vhdx"),
        (
            "volume_path",
            "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\vms\\eltern-ü.vhdx",
        ),
        ("absolute_win32_path", "\\\\?\\C:\\vms\\eltern-ü.vhdx"),
        ("absolute_win32_path", "C:\\vms\\eltern-ü.vhdx"),
        ("relative_path", "..\\elsewhere/eltern-ü.vhdx"),
    ] {
        let folder = Folder::new();
        folder.save("eltern-ü.vhdx", &parent(4, b"P"));
        let leaf = folder.save("child.avhdx", &child(&[(key, value)]));
        assert_eq!(first_byte(&plain(&leaf)), b'P', "{value}");
    }
}

#[test]
fn the_relative_path_comes_first_and_a_wrong_file_there_does_not_hide_the_right_one() {
    let paths = [
        ("absolute_win32_path", "C:\\b.vhdx"),
        ("relative_path", ".\\a.vhdx"),
    ];
    let folder = Folder::new();
    folder.save("a.vhdx", &parent(4, b"A"));
    folder.save("b.vhdx", &parent(4, b"B"));
    let leaf = folder.save("child.avhdx", &child(&paths));
    assert_eq!(first_byte(&plain(&leaf)), b'A');
    folder.save("a.vhdx", &parent(5, b"A"));
    assert_eq!(first_byte(&plain(&leaf)), b'B');
}

#[test]
fn a_parent_elsewhere_is_found_only_where_the_caller_allows_it() {
    let folder = Folder::new();
    folder.save("base/parent.vhdx", &parent(4, b"P"));
    let absolute = folder.path("base/parent.vhdx");
    for value in ["..\\base\\parent.vhdx", absolute.to_str().unwrap()] {
        let leaf = folder.save("vm/child.avhdx", &child(&[("relative_path", value)]));
        let Err(Error::ParentNotFound { file, tried }) = plain(&leaf) else {
            panic!()
        };
        assert_eq!(
            (file, tried),
            (leaf.clone(), vec![folder.path("vm/parent.vhdx")])
        );
        let allowed = OpenOptions {
            parent_folders: vec![folder.path("base")],
            ..OpenOptions::default()
        };
        assert_eq!(first_byte(&VirtualDisk::open(&leaf, &allowed)), b'P');
        let named = OpenOptions {
            parents: vec![absolute.clone()],
            ..OpenOptions::default()
        };
        assert_eq!(first_byte(&VirtualDisk::open(&leaf, &named)), b'P');
    }
}

#[test]
fn a_file_name_that_is_none_is_never_joined_to_a_folder() {
    for value in ["..", ".", "C:", "x\\", "..\\..", "C:secret", "a\0b"] {
        let folder = Folder::new();
        let leaf = folder.save("child.avhdx", &child(&[("relative_path", value)]));
        let Err(Error::ParentNotFound { tried, .. }) = plain(&leaf) else {
            panic!("{value}")
        };
        assert_eq!(tried, [] as [PathBuf; 0], "{value}");
    }
}

#[test]
fn named_parents_are_told_apart_by_their_linkage() {
    let folder = Folder::new();
    let mut middle = Image::differencing(SIZE, MIB, 512, [7; 16]);
    middle.each_header(|header| header.data_write = [4; 16]);
    let middle = folder.save("x/middle", &middle.build());
    let base = folder.save("y/base", &parent(7, b"B"));
    let leaf = folder.save("child.avhdx", &child(&[]));
    let options = OpenOptions {
        parents: vec![base.clone(), middle],
        ..OpenOptions::default()
    };
    let disk = VirtualDisk::open(&leaf, &options);
    assert_eq!(first_byte(&disk), b'B');
    assert_eq!(disk.unwrap().layers().len(), 3);
    let options = OpenOptions {
        parents: vec![base],
        ..OpenOptions::default()
    };
    let wrong = VirtualDisk::open(&leaf, &options);
    assert!(matches!(
        wrong,
        Err(Error::WrongParent {
            mismatch: Mismatch::Linkage { .. },
            ..
        })
    ));
}

#[test]
fn a_named_parent_must_be_there() {
    let folder = Folder::new();
    folder.save("parent.vhdx", &parent(4, b"P"));
    let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
    let options = OpenOptions {
        parents: vec![folder.path("missing")],
        ..OpenOptions::default()
    };
    assert!(matches!(
        VirtualDisk::open(&leaf, &options),
        Err(Error::Open { .. })
    ));
}

#[test]
fn a_parent_that_changed_is_refused() {
    let folder = Folder::new();
    let path = folder.save("parent.vhdx", &parent(5, b"P"));
    let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
    let Err(Error::WrongParent {
        file,
        parent,
        mismatch,
    }) = plain(&leaf)
    else {
        panic!()
    };
    assert_eq!((file, parent), (leaf, path));
    let guid = |byte| hypercbt_vhdx::Guid([byte; 16]);
    assert_eq!(
        mismatch,
        Mismatch::Linkage {
            wanted: guid(4),
            found: guid(5)
        }
    );
}

#[test]
fn the_second_linkage_counts_unless_it_is_zero() {
    let open = |linkage2, data_write| {
        let child = child_of([4; 16], linkage2, &[]);
        open([child, parent(data_write, b"P")]).is_ok()
    };
    assert!(open([6; 16], 6));
    assert!(open([6; 16], 4));
    assert!(!open([0; 16], 0));
    assert!(open([0; 16], 4));
    let zero = common::open([child_of([0; 16], [0; 16], &[]), parent(0, b"P")]);
    assert!(matches!(zero, Err(Error::WrongParent { .. })));
}

#[test]
fn other_sectors_and_other_formats_are_no_parent() {
    let mut large = Image::dynamic(SIZE, MIB, 4096);
    large.each_header(|header| header.data_write = [4; 16]);
    let refused = open([child(&[]), large.build()]);
    let sectors = Mismatch::SectorSize {
        parent: 4096,
        child: 512,
    };
    assert!(matches!(refused, Err(Error::WrongParent { mismatch, .. }) if mismatch == sectors));
    let folder = Folder::new();
    folder.save("parent.vhdx", &large.build());
    let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
    assert!(
        matches!(plain(&leaf), Err(Error::WrongParent { mismatch, .. }) if mismatch == sectors)
    );
    let mut raw = SparseFile::default();
    raw.set_len(SIZE);
    let refused = open([child(&[]), raw.clone()]);
    assert!(matches!(
        refused,
        Err(Error::WrongParent {
            mismatch: Mismatch::Format,
            ..
        })
    ));
    let folder = Folder::new();
    folder.save("parent.vhdx", &raw);
    let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
    assert!(matches!(
        plain(&leaf),
        Err(Error::WrongParent {
            mismatch: Mismatch::Format,
            ..
        })
    ));
}

#[test]
fn a_corrupt_parent_is_named() {
    let folder = Folder::new();
    let mut damaged = Image::dynamic(SIZE, MIB, 512);
    damaged.regions_damaged = [true; 2];
    let path = folder.save("parent.vhdx", &damaged.build());
    let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
    let refused = plain(&leaf);
    assert!(
        matches!(&refused, Err(Error::Corrupt { file, .. }) if *file == path),
        "{refused:?}"
    );
    damaged.each_header(|header| header.damaged = true);
    save(&path, &damaged.build());
    let refused = plain(&leaf);
    assert!(
        matches!(&refused, Err(Error::Corrupt { file, .. }) if *file == path),
        "{refused:?}"
    );
}

#[test]
fn a_cycle_is_refused() {
    let folder = Folder::new();
    let ring = |parent: &str| {
        let mut image = Image::differencing(SIZE, MIB, 512, [4; 16]);
        let linkage = format!("{{{}}}", hypercbt_vhdx::Guid([4; 16]));
        image.set_locator(&[("parent_linkage", &linkage), ("relative_path", parent)]);
        image.build()
    };
    let own = folder.save("own.avhdx", &ring("own.avhdx"));
    assert!(matches!(plain(&own), Err(Error::ParentCycle { file }) if file == own));
    let first = folder.save("first.avhdx", &ring("second.avhdx"));
    folder.save("second.avhdx", &ring("first.avhdx"));
    assert!(matches!(plain(&first), Err(Error::ParentCycle { file }) if file == first));
    #[cfg(unix)]
    {
        let third = folder.save("third.avhdx", &ring("alias.avhdx"));
        std::os::unix::fs::symlink("third.avhdx", folder.path("alias.avhdx")).unwrap();
        assert!(matches!(plain(&third), Err(Error::ParentCycle { .. })));
        let fourth = folder.save("fourth.avhdx", &ring("hard.avhdx"));
        fs::hard_link(&fourth, folder.path("hard.avhdx")).unwrap();
        assert!(matches!(plain(&fourth), Err(Error::ParentCycle { .. })));
    }
}

#[test]
fn a_chain_has_at_most_256_files() {
    let chain = |children: usize| {
        let files = std::iter::repeat_with(|| child(&[])).take(children);
        open(files.chain([parent(4, b"P")]))
    };
    assert_eq!(chain(255).unwrap().layers().len(), 256);
    assert!(matches!(
        chain(256),
        Err(Error::ChainTooLong { limit: 256, .. })
    ));
    let folder = Folder::new();
    for number in 0..257 {
        folder.save(
            &format!("{number}"),
            &child(&[("relative_path", &format!("{}", number + 1))]),
        );
    }
    assert!(matches!(
        plain(&folder.path("0")),
        Err(Error::ChainTooLong { .. })
    ));
}

#[test]
fn storages_are_exactly_those_of_the_chain() {
    let missing = open([child(&[])]);
    assert!(matches!(missing, Err(Error::ParentNotFound { .. })));
    let extra = open([parent(4, b"P"), parent(4, b"Q")]);
    assert!(matches!(extra, Err(Error::UnexpectedParent { .. })));
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let folder = Folder::new();
    let not_a_file = |result| {
        matches!(
            result,
            Err(Error::NotADisk {
                reason: NotADisk::NotAFile,
                ..
            })
        )
    };
    assert!(not_a_file(plain(folder.0.path())));
    assert!(matches!(
        plain(&folder.path("missing")),
        Err(Error::Open { .. })
    ));
    #[cfg(unix)]
    {
        let pipe = folder.path("parent.vhdx");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if made.is_ok_and(|status| status.success()) {
            assert!(not_a_file(plain(&pipe)));
            let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
            assert!(not_a_file(plain(&leaf)));
        }
    }
}

#[test]
fn a_vhd_set_is_told_by_its_name() {
    let folder = Folder::new();
    let set = folder.save("disk.VHDS", &parent(4, b"P"));
    assert!(matches!(
        plain(&set),
        Err(Error::UnsupportedFormat {
            format: Unsupported::VhdSet,
            ..
        })
    ));
}

#[test]
fn a_stamp_changes_with_the_size_the_headers_and_the_time_of_any_file() {
    let folder = Folder::new();
    let path = folder.save("parent.vhdx", &parent(4, b"P"));
    let leaf = folder.save("child.avhdx", &child(&[("relative_path", "parent.vhdx")]));
    let disk = plain(&leaf).unwrap();
    let before = disk.stamp().unwrap();
    assert_eq!(disk.stamp().unwrap(), before);
    let file = fs::File::options().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    // The same bytes at another time.
    file.set_modified(modified + std::time::Duration::from_micros(1))
        .unwrap();
    assert_ne!(disk.stamp().unwrap(), before);
    file.set_modified(modified).unwrap();
    assert_eq!(disk.stamp().unwrap(), before);
    // Another length at the same time.
    let len = file.metadata().unwrap().len();
    file.set_len(len + 512).unwrap();
    file.set_modified(modified).unwrap();
    assert_ne!(disk.stamp().unwrap(), before);
    file.set_len(len).unwrap();
    // Another header at the same time.
    let mut image = Image::dynamic(SIZE, MIB, 512);
    image.each_header(|header| header.number += 2);
    let header = image.build().read(64 << 10, 4096);
    let mut file = file;
    file.seek(SeekFrom::Start(64 << 10)).unwrap();
    file.write_all(&header).unwrap();
    file.set_modified(modified).unwrap();
    assert_ne!(disk.stamp().unwrap(), before);
}

#[test]
fn a_file_that_should_be_vhdx_and_is_none_is_not_taken_for_a_raw_disk() {
    let folder = Folder::new();
    let mut raw = SparseFile::default();
    raw.set_len(SIZE);
    let damaged = |result| {
        matches!(
            result,
            Err(Error::Corrupt {
                part: hypercbt_vhdx::Part::FileIdentifier,
                reason: hypercbt_vhdx::Reason::Signature,
                ..
            })
        )
    };
    for name in ["disk.vhdx", "disk.AVHDX"] {
        assert!(damaged(plain(&folder.save(name, &raw))), "{name}");
    }
    let other = folder.save("disk.img", &raw);
    assert_eq!(plain(&other).unwrap().format().as_str(), "raw");
    let options = OpenOptions::default();
    assert!(damaged(VirtualDisk::open_vhdx(&other, &options)));
    let vhdx = folder.save("disk", &parent(4, b"P"));
    assert_eq!(first_byte(&VirtualDisk::open_vhdx(&vhdx, &options)), b'P');
    raw.write(SIZE - 512, b"conectix");
    let legacy = plain(&folder.save("legacy.vhdx", &raw));
    assert!(matches!(
        legacy,
        Err(Error::UnsupportedFormat {
            format: Unsupported::Vhd,
            ..
        })
    ));
}
