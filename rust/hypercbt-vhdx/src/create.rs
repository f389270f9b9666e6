//! Making a new dynamic VHDX, laid out as Windows lays one out.
//!
//! The file is no disk until its last write, so a power cut at any moment leaves either the whole
//! disk or something that every reader refuses:
//!
//! ```text
//! create     the identifier, and room for everything     a VHDX without a valid header
//! write_at   payload                                     the same
//! finish     sync; metadata, table, region tables; sync; headers; sync
//! ```
//!
//! The identifier goes first, or a half-made file could be taken for a raw disk. No log is
//! needed: nobody opens the file before it is whole.

use std::path::Path;

use hypercbt_extent::{DiskOffset, Extents};
use hypercbt_file::step;
use zerocopy::{FromZeros, IntoBytes};

use crate::encode::{self, Form};
use crate::format::{BatEntry, HEADER_OFFSETS, REGION_TABLE_OFFSETS};
use crate::layout::{BAT_AT, Layout, METADATA_AT};
use crate::options::VhdxOptions;
use crate::target::{NewFile, WriteDisk, check_present, extent_of_write};
use crate::{Error, FileOffset, Result};

/// The table is written in pieces of 64 KiB, and only those that name a block: the table of
/// 64 TiB in blocks of 1 MiB has 513 MiB, nearly all of it zeros in most disks.
const BAT_PAGE_ENTRIES: usize = 8192;

/// Writes a dynamic VHDX.
#[derive(Debug)]
pub struct VhdxWriter {
    file: NewFile,
    options: VhdxOptions,
    layout: Layout,
}

impl VhdxWriter {
    /// Creates the file `path`, which must not exist, with the blocks that `present` touches.
    ///
    /// The room for all of them is reserved at once. What is never written in them reads as
    /// zeros, like all other blocks.
    ///
    /// # Errors
    ///
    /// A file that was created is removed again. Errors of later calls leave it to the caller.
    pub fn create(path: &Path, options: &VhdxOptions, present: &Extents) -> Result<Self> {
        options.check().map_err(|reason| Error::InvalidOptions {
            file: path.to_owned(),
            reason,
        })?;
        check_present(present, options.size)?;
        let layout = Layout::new(options, present);
        let file = NewFile::create(path, |file| {
            file.reserve(layout.file_len())?;
            file.write_at(FileOffset(0), encode::identifier().as_bytes())
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
    ///
    /// The file is then no disk, and of no further use.
    pub fn finish(self) -> Result<()> {
        complete(&self.file, &self.options, &Form::Dynamic, &self.layout)
    }
}

impl WriteDisk for VhdxWriter {
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> Result<()> {
        let Some(extent) = extent_of_write(at, bytes, self.options.size)? else {
            return Ok(());
        };
        // Blocks that are neighbours on the disk are neighbours in the file: one write is enough.
        let place = self.layout.place(extent);
        let place = place.ok_or_else(|| Error::NotAllocated {
            file: self.file.path().to_owned(),
            extent,
        })?;
        self.file.write_at(place, bytes)
    }
}

/// What the disk is completed in.
pub(crate) trait Medium {
    fn write_at(&self, at: FileOffset, bytes: &[u8]) -> Result<()>;
    fn sync(&self) -> Result<()>;
}

impl Medium for NewFile {
    fn write_at(&self, at: FileOffset, bytes: &[u8]) -> Result<()> {
        Self::write_at(self, at, bytes)
    }

    fn sync(&self) -> Result<()> {
        Self::sync(self)
    }
}

/// Turns a file that holds the payload into a disk.
pub(crate) fn complete(
    file: &impl Medium,
    options: &VhdxOptions,
    form: &Form,
    layout: &Layout,
) -> Result<()> {
    file.sync()?;
    file.write_at(METADATA_AT, &encode::metadata(options, form))?;
    write_bat(file, layout)?;
    let regions = encode::region_table(layout.bat_len());
    for at in REGION_TABLE_OFFSETS {
        file.write_at(FileOffset(at), &regions)?;
    }
    // Until it has a header nobody takes it for a disk.
    if !step::left_out("vhdx.create.headers_last") {
        file.sync()?;
    }
    for (at, number) in HEADER_OFFSETS.into_iter().zip(1..) {
        file.write_at(FileOffset(at), encode::header(options, number).as_bytes())?;
    }
    if step::left_out("vhdx.create.sync") {
        return Ok(());
    }
    file.sync()
}

/// Writes the pages of the table that name a block; the others are zeros already.
fn write_bat(file: &impl Medium, layout: &Layout) -> Result<()> {
    let page_of = |index: &u64| index / BAT_PAGE_ENTRIES as u64;
    let mut entries = layout.bat_entries().peekable();
    let mut table = vec![BatEntry::new_zeroed(); BAT_PAGE_ENTRIES];
    while let Some(page) = entries.peek().map(|(index, _)| page_of(index)) {
        table.fill(BatEntry::new_zeroed());
        let first = page * BAT_PAGE_ENTRIES as u64;
        while let Some((index, at)) = entries.next_if(|(index, _)| page_of(index) == page) {
            let place = usize::try_from(index - first).ok();
            let entry = place.and_then(|place| table.get_mut(place));
            *entry.expect("an entry is on its page") = encode::present(at);
        }
        let at = FileOffset(BAT_AT.0 + first * size_of::<BatEntry>() as u64);
        file.write_at(at, table.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guid;
    use hypercbt_extent::{ByteLen, Extent};
    use std::cell::RefCell;
    use std::io;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[derive(Debug, PartialEq, Eq)]
    enum Step {
        Write { at: u64, bytes: Vec<u8> },
        Sync,
    }

    /// Notes what is done to it, and fails from the step `fails_at` on.
    struct Diary {
        steps: RefCell<Vec<Step>>,
        fails_at: usize,
    }

    impl Diary {
        fn new(fails_at: usize) -> Self {
            let steps = RefCell::default();
            Self { steps, fails_at }
        }

        fn note(&self, step: Step) -> Result<()> {
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
        fn write_at(&self, FileOffset(at): FileOffset, bytes: &[u8]) -> Result<()> {
            let bytes = bytes.to_vec();
            self.note(Step::Write { at, bytes })
        }

        fn sync(&self) -> Result<()> {
            self.note(Step::Sync)
        }
    }

    fn disk(size: u64, block_bytes: u32, present: &[u64]) -> (VhdxOptions, Layout) {
        let options = VhdxOptions {
            size: ByteLen(size),
            block_bytes,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            disk_id: Guid([1; 16]),
            file_write_guid: Guid([2; 16]),
            data_write_guid: Guid([3; 16]),
        };
        let present: Extents = present
            .iter()
            .filter_map(|at| Extent::new(DiskOffset(*at), ByteLen(512)))
            .collect();
        let layout = Layout::new(&options, &present);
        (options, layout)
    }

    #[test]
    fn the_headers_come_last_and_each_stage_is_durable_before_the_next() {
        let (options, layout) = disk(64 * MIB, 2 << 20, &[0]);
        let diary = Diary::new(usize::MAX);
        complete(&diary, &options, &Form::Dynamic, &layout).unwrap();
        let steps = diary.steps.into_inner().into_iter().map(|step| match step {
            Step::Write { at, bytes } => Some((at, bytes.len())),
            Step::Sync => None,
        });
        let expected = [
            None, // the payload is durable
            Some((2 * MIB, 64 * 1024 + 40)),
            Some((3 * MIB, 64 * 1024)),
            Some((192 * KIB, 64 * 1024)),
            Some((256 * KIB, 64 * 1024)),
            None,
            Some((64 * KIB, 4096)),
            Some((128 * KIB, 4096)),
            None,
        ];
        assert!(steps.eq(expected));
    }

    #[test]
    fn after_a_failure_nothing_more_is_written_and_no_sync_is_repeated() {
        let (options, layout) = disk(64 * MIB, 2 << 20, &[0]);
        for fails_at in 0..9 {
            let diary = Diary::new(fails_at);
            complete(&diary, &options, &Form::Dynamic, &layout).unwrap_err();
            assert_eq!(diary.steps.borrow().len(), fails_at + 1);
        }
    }

    #[test]
    fn each_page_of_the_table_names_its_own_blocks_and_empty_pages_are_not_written() {
        // Two blocks on the first page, none on the next ones, one on the last of 513 MiB.
        let (options, layout) = disk(64 << 40, 1 << 20, &[0, 5 * MIB, (64 << 40) - 512]);
        let diary = Diary::new(usize::MAX);
        complete(&diary, &options, &Form::Dynamic, &layout).unwrap();
        let mut entries = Vec::new();
        let mut pages = 0;
        for step in diary.steps.into_inner() {
            if let Step::Write { at, bytes } = step
                && at >= 3 * MIB
            {
                pages += 1;
                for (place, entry) in (at - 3 * MIB..).step_by(8).zip(bytes.chunks_exact(8)) {
                    let entry = u64::from_le_bytes(entry.try_into().unwrap());
                    entries.extend((entry != 0).then_some((place / 8, entry)));
                }
            }
        }
        // The table ends at 516 MiB, and blocks follow it.
        let present = |index, nth: u64| (index, ((516 + nth) * MIB) | 6);
        let last = (64 << 20) - 1;
        let last = last + last / 4096;
        assert_eq!(pages, 2);
        assert_eq!(entries, [present(0, 0), present(5, 1), present(last, 2)]);
    }
}
