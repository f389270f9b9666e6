//! Giving the disk another size, so that a power cut leaves it with the old one or the new one.
//!
//! What the new size needs is made ready where nobody looks as long as the size is the old one; then one log entry
//! makes it so:
//!
//! ```text
//! 1  DataWriteGuid: a guest sees the size
//! 2  zeros behind the old end, in the block that holds it      a guest may have written there before it was cut off
//! 3  new blocks of a fixed disk
//! 4  the table's entries of new blocks, or, where its region is too small, all of the table in a larger region
//! 5  sync
//! 6  one log entry: the size; those entries that share a sector with used ones; where the table is
//! ```
//!
//! Both region tables are in that entry, so after a cut both are replayed, whichever of them was torn in its place
//! (MS-VHDX 2.2.3, 2.3). The old region of the table stays unused until the file is opened the next time: the log may
//! still hold sectors of it, which it will write there.

mod table;

use std::cmp::Ordering;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::step;

use self::table::Growth;
use super::entry::{MAX_SECTORS, Sector, Sectors};
use super::free_space::Taken;
use super::journal::Journal;
use super::map::Patch;
use super::{WritableVhdx, lock, read, write};
use crate::bat::Block;
use crate::error::{Defect, Unresizable};
use crate::format::{
    BatEntry, DISK_SIZE_ITEM, LOG_SECTOR_BYTES, MAX_DISK_BYTES, MIB, REGION_TABLE_BYTES,
    REGION_TABLE_OFFSETS,
};
use crate::geometry::Geometry;
use crate::options;
use crate::region::{self, Region};
use crate::{BlockIndex, Error, FileOffset, Part, Place, Reason, Result};

/// What is to be logged of a table.
struct Table {
    /// Sectors that the disk does not use as long as it has its old size.
    unused: Vec<(u64, Sector)>,
    /// Sectors that change together with the size.
    sectors: Sectors,
    /// Where the table then is.
    region: Region,
}

impl WritableVhdx {
    /// Gives the disk another size; durable on return. What is new reads as zeros.
    ///
    /// The guest is paused for it: no write, `zero` or `unmap` may be under way.
    ///
    /// # Errors
    /// [`Error::CannotResize`]: the size is not possible; or what would be cut off is in use, for only blocks that are
    /// in no file of the chain can go, and so a fixed disk never becomes smaller; or the disk is a child that ends
    /// before its parent, whose data would appear. The disk is then as it was. After any other error it has the old
    /// size or the new one.
    pub fn resize(&self, size: ByteLen) -> Result<()> {
        let sector_bytes = self.logical_sector_bytes;
        options::check_size(size, sector_bytes, ByteLen(MAX_DISK_BYTES))
            .map_err(|reason| self.unresizable(size, Unresizable::Size(reason)))?;
        // What is not logged yet would only be in the way.
        self.flush()?;
        let _no_block_is_written: Vec<_> = self.block_locks.iter().map(write).collect();
        let old = *read(&self.map).geometry();
        match size.cmp(&old.size()) {
            Ordering::Equal => Ok(()),
            Ordering::Less => self.shrink(old, size),
            Ordering::Greater => self.grow(old, size),
        }
    }

    fn shrink(&self, old: Geometry, size: ByteLen) -> Result<()> {
        if let Some(cut) = Extent::between(DiskOffset(size.0), DiskOffset(old.size().0)) {
            let segments = self.segments(cut)?;
            let data = segments.iter().find(|segment| segment.place != Place::Zero);
            if let Some(data) = data {
                let at = data.extent.start();
                return Err(self.unresizable(size, Unresizable::Used { at }));
            }
        }
        let patches = self.size_patches(size)?;
        self.before_change()?;
        let mut journal = lock(&self.journal);
        let sectors = self.patched(&journal, &Sectors::new(), &patches)?;
        self.prepared()?;
        self.commit(&mut journal, sectors)?;
        write(&self.map).resize(old.resized(size), None);
        Ok(())
    }

    fn grow(&self, old: Geometry, size: ByteLen) -> Result<()> {
        let new = old.resized(size);
        self.check_below(old.size(), size)?;
        let patches = self.size_patches(size)?;
        self.before_change()?;
        let mut journal = lock(&self.journal);
        self.clear_tail(&old)?;
        let blocks_len = (new.payload_blocks() - old.payload_blocks()) * new.block_bytes();
        let blocks_at = if self.frees || blocks_len == 0 {
            None
        } else {
            Some(self.take_zeros(ByteLen(blocks_len))?)
        };
        let growth = Growth {
            old,
            new,
            blocks_at,
        };
        let table = self.table(&journal, &growth).inspect_err(|_| {
            if let Some(at) = blocks_at {
                lock(&self.space).give(at, ByteLen(blocks_len));
            }
        });
        let Table {
            unused,
            mut sectors,
            region,
        } = table?;
        let size_sectors = self.patched(&journal, &sectors, &patches)?;
        self.prepared()?;
        if step::left_out("vhdx.resize.one_entry") {
            self.commit(&mut journal, size_sectors)?;
        } else {
            sectors.extend(size_sectors);
        }
        if step::left_out("vhdx.resize.entries_first") {
            self.commit(&mut journal, sectors)?;
            self.commit_all(&mut journal, unused)?;
        } else {
            self.commit_all(&mut journal, unused)?;
            self.commit(&mut journal, sectors)?;
        }
        *write(&self.bat) = region;
        write(&self.map).resize(new, blocks_at);
        Ok(())
    }

    /// A child that was made smaller than its parent must not show more of it when it grows.
    fn check_below(&self, old: ByteLen, new: ByteLen) -> Result<()> {
        let Some(parents) = &self.parents else {
            return Ok(());
        };
        let end = new.min(parents.size());
        let Some(shown) = Extent::between(DiskOffset(old.0), DiskOffset(end.0)) else {
            return Ok(());
        };
        let mut segments = parents.segments(shown)?;
        match segments.find(|segment| segment.place != Place::Zero) {
            Some(data) => {
                let at = data.extent.start();
                Err(self.unresizable(new, Unresizable::Parent { at }))
            }
            None => Ok(()),
        }
    }

    /// Zeroes what the last block holds behind the end of the disk.
    fn clear_tail(&self, old: &Geometry) -> Result<()> {
        let last = BlockIndex(old.payload_blocks() - 1);
        let inside = old.bytes_of(last);
        let block = read(&self.map).get(last);
        match block {
            Block::Present(at) | Block::Partial(at) if inside < old.block_bytes() => {
                let tail = FileOffset(at.0.saturating_add(inside));
                self.file
                    .write_zeros(tail, ByteLen(old.block_bytes() - inside))
            }
            _ => Ok(()),
        }
    }

    /// Room that holds zeros.
    fn take_zeros(&self, len: ByteLen) -> Result<FileOffset> {
        let Taken { at, is_new } = lock(&self.space).take(&self.file, len)?;
        if !is_new {
            let cleared = self.file.write_zeros(at, len);
            cleared.inspect_err(|_| lock(&self.space).give(at, len))?;
        }
        Ok(at)
    }

    /// Makes durable what was prepared, and how long the file is.
    fn prepared(&self) -> Result<()> {
        if step::left_out("vhdx.resize.prepared") {
            return Ok(());
        }
        self.file.sync()
    }

    /// What gives the disk its size.
    fn size_patches(&self, size: ByteLen) -> Result<Vec<Patch>> {
        self.item_patches(DISK_SIZE_ITEM, &size.0.to_le_bytes())
    }

    /// The table of the larger disk: in its region, or in a longer one.
    fn table(&self, journal: &Journal, growth: &Growth) -> Result<Table> {
        let bat = *read(&self.bat);
        let needed = ByteLen(growth.new.bat_entries() * size_of::<BatEntry>() as u64);
        if needed <= bat.len {
            return self.table_in_place(journal, growth, &bat);
        }
        let region = self.copy_table(journal, growth, &bat, needed)?;
        Ok(Table {
            unused: Vec::new(),
            sectors: self.region_sectors(journal, &region)?,
            region,
        })
    }

    /// The sectors of the table that change.
    fn table_in_place(&self, journal: &Journal, growth: &Growth, bat: &Region) -> Result<Table> {
        let mut unused = Vec::new();
        let mut sectors = Sectors::new();
        for number in growth.first_sector()..growth.sectors() {
            let at = bat.at.0 + number * LOG_SECTOR_BYTES;
            let mut sector = journal.sector(&self.file, at)?;
            let patched = growth.patch(number, sector.as_mut_slice());
            match (patched.changed, patched.in_use) {
                (false, _) => {}
                (true, true) => drop(sectors.insert(at, sector)),
                (true, false) => unused.push((at, sector)),
            }
        }
        Ok(Table {
            unused,
            sectors,
            region: *bat,
        })
    }

    /// Writes the larger table into a region of its own.
    fn copy_table(
        &self,
        journal: &Journal,
        growth: &Growth,
        bat: &Region,
        needed: ByteLen,
    ) -> Result<Region> {
        let len = ByteLen(needed.0.next_multiple_of(MIB));
        let moved = Region {
            guid: bat.guid,
            at: self.take_zeros(len)?,
            len,
        };
        let filled = self.fill_table(journal, growth, bat, &moved);
        filled.inspect_err(|_| lock(&self.space).give(moved.at, len))?;
        Ok(moved)
    }

    fn fill_table(
        &self,
        journal: &Journal,
        growth: &Growth,
        bat: &Region,
        moved: &Region,
    ) -> Result<()> {
        let had = bat.len.0 / LOG_SECTOR_BYTES;
        // Absent blocks are zeros, as the new room is.
        let sectors = match growth.blocks_at {
            Some(_) => growth.sectors(),
            None => growth.sectors().min(had),
        };
        for number in 0..sectors {
            let place = number * LOG_SECTOR_BYTES;
            let mut sector = if number < had {
                journal.sector(&self.file, bat.at.0 + place)?
            } else {
                Box::new([0; 4096])
            };
            growth.patch(number, sector.as_mut_slice());
            if sector.iter().any(|byte| *byte != 0) {
                self.file
                    .write(sector.as_slice(), FileOffset(moved.at.0 + place))?;
            }
        }
        Ok(())
    }

    /// What makes both region tables name the region's new place.
    fn region_sectors(&self, journal: &Journal, moved: &Region) -> Result<Sectors> {
        let mut tables = Vec::new();
        for at in REGION_TABLE_OFFSETS {
            let mut bytes = Vec::with_capacity(REGION_TABLE_BYTES);
            for place in (at..at + REGION_TABLE_BYTES as u64).step_by(4096) {
                bytes.extend_from_slice(journal.sector(&self.file, place)?.as_slice());
            }
            tables.push(bytes);
        }
        // As the reader has it: the second counts where the first is not valid.
        let found = tables.iter().find_map(|table| region::moved(table, moved));
        let table =
            found.ok_or_else(|| self.blame(Defect::new(Part::RegionTable, Reason::NoValidCopy)))?;
        let patches = REGION_TABLE_OFFSETS.map(|at| Patch {
            at: FileOffset(at),
            bytes: table.clone(),
        });
        self.patched(journal, &Sectors::new(), &patches)
    }

    /// Logs sectors that nobody uses yet, in as many entries as they need.
    fn commit_all(&self, journal: &mut Journal, sectors: Vec<(u64, Sector)>) -> Result<()> {
        let mut rest = sectors.into_iter().peekable();
        while rest.peek().is_some() {
            let entry = rest.by_ref().take(MAX_SECTORS).collect();
            self.commit(journal, entry)?;
        }
        Ok(())
    }

    /// Logs sectors that belong together, as one entry.
    fn commit(&self, journal: &mut Journal, sectors: Sectors) -> Result<()> {
        if sectors.len() > MAX_SECTORS {
            let reason = Reason::TooManyEntries(sectors.len() as u64);
            return Err(self.blame(Defect::new(Part::Log, reason)));
        }
        let file_len = lock(&self.space).file_len();
        let logged = journal.append(&self.file, &self.headers, sectors, file_len);
        // Nothing is known of what a cut would leave.
        logged.inspect_err(|_| self.file.give_up())
    }

    fn unresizable(&self, size: ByteLen, reason: Unresizable) -> Error {
        let file = self.file.path().to_owned();
        Error::CannotResize { file, size, reason }
    }
}
