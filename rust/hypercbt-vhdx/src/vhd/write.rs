//! Making a new VHD file, fixed or dynamic, laid out as Windows 10 lays one out.
//!
//! The file is no disk until its last write, so a power cut at any moment leaves either the whole disk or something
//! that every reader refuses:
//!
//! ```text
//! create     a signature without a footer, and room for everything
//! write_at   payload
//! finish     sync; bitmaps, table and header of a dynamic disk; sync; footer, and of a dynamic disk its copy; sync
//! ```
//!
//! Without that signature a half-made fixed disk would look like a raw one. Either footer alone makes a dynamic disk,
//! so both come after the last sync that anything else needs.

use std::path::Path;

use hypercbt_extent::{ByteLen, DiskOffset, Extents};
use zerocopy::IntoBytes;

use super::encode;
use super::format::{MAX_DISK_BYTES, SECTOR_BYTES};
use super::layout::{DynamicLayout, FixedLayout, HEADER_AT, Layout, TABLE_AT};
use crate::create::Medium;
use crate::options::check_size;
use crate::target::{NewFile, WriteDisk, check_present, extent_of_write};
use crate::{Error, FileOffset, Guid, Reason, Result};

/// How a new VHD file holds its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VhdKind {
    /// As they are, all of them: what Azure takes.
    Fixed,
    /// In blocks of 2 MiB, those that are present.
    Dynamic,
}

/// The properties of a new VHD file. Random values and the time are arguments, so that a run can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhdOptions {
    /// How the file holds its bytes.
    pub kind: VhdKind,
    /// The size of the virtual disk: a multiple of 512, at most 2040 GiB.
    pub size: ByteLen,
    /// What the guest addresses: 512, since the format has nothing else.
    pub logical_sector_bytes: u32,
    /// The identity of the disk, by which a child would know it as its parent.
    pub unique_id: Guid,
    /// When the file was made, in seconds since 2000 began (UTC).
    pub seconds_since_2000: u32,
}

impl VhdOptions {
    /// Checks every property against the format.
    fn check(&self) -> std::result::Result<(), Reason> {
        if u64::from(self.logical_sector_bytes) != SECTOR_BYTES {
            return Err(Reason::SectorSize(self.logical_sector_bytes));
        }
        check_size(
            self.size,
            self.logical_sector_bytes,
            ByteLen(MAX_DISK_BYTES),
        )
    }
}

/// Writes a fixed or dynamic VHD.
#[derive(Debug)]
pub struct VhdWriter {
    file: NewFile,
    options: VhdOptions,
    layout: Layout,
}

impl VhdWriter {
    /// Creates the file `path`, which must not exist, with room for what `present` touches; if fixed, for everything.
    ///
    /// What is never written reads as zeros. Only `present` can be written to, and in a dynamic disk the rest of the
    /// blocks that it touches.
    ///
    /// # Errors
    /// A file that was created is removed again. Errors of later calls leave it to the caller.
    pub fn create(path: &Path, options: &VhdOptions, present: &Extents) -> Result<Self> {
        options.check().map_err(|reason| Error::InvalidOptions {
            file: path.to_owned(),
            reason,
        })?;
        check_present(present, options.size)?;
        let layout = match options.kind {
            VhdKind::Fixed => Layout::Fixed(FixedLayout {
                size: options.size,
                present: present.clone(),
            }),
            VhdKind::Dynamic => Layout::Dynamic(DynamicLayout::new(options.size, present)),
        };
        let file = NewFile::create(path, |file| {
            file.reserve(layout.file_len())?;
            file.write_at(marker_at(&layout), &encode::unfinished())
        })?;
        Ok(Self {
            file,
            options: options.clone(),
            layout,
        })
    }

    /// Makes the file a disk, durable under its temporary name.
    ///
    /// # Errors
    /// The file is then no disk, and of no further use.
    pub fn finish(self) -> Result<()> {
        complete(&self.file, &self.options, &self.layout)
    }
}

impl WriteDisk for VhdWriter {
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let Some(extent) = extent_of_write(at, bytes, self.options.size)? else {
            return Ok(());
        };
        let pieces = self.layout.pieces(extent);
        let pieces = pieces.ok_or_else(|| Error::NotAllocated {
            file: self.file.path().to_owned(),
            extent,
        })?;
        let mut rest = bytes;
        for (place, len) in pieces {
            let (piece, after) = rest.split_at(usize::try_from(len.0).unwrap_or(rest.len()));
            self.file.write_at(place, piece)?;
            rest = after;
        }
        Ok(())
    }
}

/// Where a reader looks first: at the end of a fixed disk, at the start of any other.
fn marker_at(layout: &Layout) -> FileOffset {
    match layout {
        Layout::Fixed(_) => layout.footer_at(),
        Layout::Dynamic(_) => FileOffset(0),
    }
}

/// Turns a file that holds the payload into a disk.
fn complete(file: &impl Medium, options: &VhdOptions, layout: &Layout) -> Result<()> {
    file.sync()?;
    let footer = encode::footer(options);
    if let Layout::Dynamic(dynamic) = layout {
        write_blocks(file, dynamic)?;
        file.sync()?;
        file.write_at(FileOffset(0), footer.as_bytes())?;
    }
    file.write_at(layout.footer_at(), footer.as_bytes())?;
    file.sync()
}

/// Writes the header, the table and the bitmaps. Those have all bits set, as Windows writes them in a dynamic disk.
fn write_blocks(file: &impl Medium, layout: &DynamicLayout) -> Result<()> {
    let blocks = layout.blocks();
    let bitmap = vec![0xFF; usize::try_from(blocks.bitmap_bytes()).unwrap_or_default()];
    for (_, at) in layout.bitmaps() {
        file.write_at(at, &bitmap)?;
    }
    file.write_at(TABLE_AT, &encode::table(blocks, layout.bitmaps()))?;
    file.write_at(HEADER_AT, encode::header(blocks).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use hypercbt_extent::Extent;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Notes where it is written and when it is synced, and fails from the step `fails_at` on.
    struct Diary {
        steps: RefCell<Vec<Option<(u64, usize)>>>,
        fails_at: usize,
    }

    impl Diary {
        fn note(&self, step: Option<(u64, usize)>) -> Result<()> {
            self.steps.borrow_mut().push(step);
            if self.steps.borrow().len() > self.fails_at {
                let file = "disk".into();
                let source = io::ErrorKind::StorageFull.into();
                return Err(Error::Sync { file, source });
            }
            Ok(())
        }
    }

    impl Medium for Diary {
        fn write_at(&self, at: FileOffset, bytes: &[u8]) -> Result<()> {
            self.note(Some((at.0, bytes.len())))
        }

        fn sync(&self) -> Result<()> {
            self.note(None)
        }
    }

    fn steps(kind: VhdKind, fails_at: usize) -> (Result<()>, Vec<Option<(u64, usize)>>) {
        let options = VhdOptions {
            kind,
            size: ByteLen(8 * MIB),
            logical_sector_bytes: 512,
            unique_id: Guid([1; 16]),
            seconds_since_2000: 7,
        };
        let present = Extents::from(Extent::new(DiskOffset(5 * MIB), ByteLen(MIB)).unwrap());
        let layout = match kind {
            VhdKind::Fixed => Layout::Fixed(FixedLayout {
                size: options.size,
                present,
            }),
            VhdKind::Dynamic => Layout::Dynamic(DynamicLayout::new(options.size, &present)),
        };
        let steps = RefCell::default();
        let diary = Diary { steps, fails_at };
        let done = complete(&diary, &options, &layout);
        (done, diary.steps.into_inner())
    }

    #[test]
    fn the_footers_come_last_and_each_stage_is_durable_before_the_next() {
        let (done, dynamic) = steps(VhdKind::Dynamic, usize::MAX);
        done.unwrap();
        let expected = [
            None, // the payload is durable
            Some((8192 - 512, 512)),
            Some((1536, 512)),
            Some((512, 1024)),
            None,
            Some((0, 512)),
            Some((8192 + 2 * MIB + 4096 - 512, 512)),
            None,
        ];
        assert_eq!(dynamic, expected);
        let (done, fixed) = steps(VhdKind::Fixed, usize::MAX);
        done.unwrap();
        assert_eq!(fixed, [None, Some((8 * MIB, 512)), None]);
    }

    #[test]
    fn after_a_failure_nothing_more_is_written_and_no_sync_is_repeated() {
        for (kind, count) in [(VhdKind::Dynamic, 8), (VhdKind::Fixed, 3)] {
            for fails_at in 0..count {
                let (done, steps) = steps(kind, fails_at);
                done.unwrap_err();
                assert_eq!(steps.len(), fails_at + 1);
            }
        }
    }
}
