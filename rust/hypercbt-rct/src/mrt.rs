//! The open `.mrt` file: its header and its marks, each made durable before the call returns.

use std::ops::Range;
use std::sync::Arc;

use hypercbt_extent::ByteLen;
use hypercbt_file::{DiskFile, FileOffset, ReadAt, step};

use crate::clock::Clock;
use crate::error::{Error, Lost, Result, TrackerCall, TrackerFile};
use crate::format::{SECTOR_BYTES, SLOT_OFFSETS};
use crate::header::{self, Header, RctName, Slot};
use crate::layout::Layout;
use crate::place::{Place, failed};
use crate::sectors::Sectors;

const FILE: TrackerFile = TrackerFile::Mrt;

/// The `.mrt` file, locked, with the header that was written last.
#[derive(Debug)]
pub(crate) struct Mrt {
    place: Place,
    file: Arc<dyn DiskFile>,
    pub(crate) sectors: Sectors,
    /// What both copies on the disk say, unless a write of them failed half-way.
    header: Header,
    /// The number of the header that was tried last.
    sequence: u64,
    /// Which copy must not be lost: the newest that is whole.
    newest: usize,
    /// False after a sync failed: nothing is written to this file any more, a new one takes its place.
    usable: bool,
    /// The `.rct` file that is known to be there.
    pub(crate) rct: Option<RctName>,
}

impl Mrt {
    /// Makes a new file under its name, whole or not at all. One of ours that is there is replaced.
    pub(crate) fn create(place: &Place, layout: Layout, header: Header) -> Result<Self> {
        let tracker = header.tracker;
        let sectors = Sectors { layout, tracker };
        let unfinished = place.begin(FILE, tracker)?;
        write_new(&*unfinished.content, &sectors, &header)?;
        Ok(Self {
            place: place.clone(),
            file: unfinished.finish()?,
            sectors,
            sequence: header.sequence,
            header,
            newest: 1,
            usable: true,
            rct: None,
        })
    }

    /// Opens and locks the file, and reads its header. Nothing is written.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let lost = |reason| Error::TrackingLost { reason };
        let file = place.open_to_write(FILE)?;
        let slots = [read_slot(&*file, 0)?, read_slot(&*file, 1)?];
        let newer = slots.iter().find_map(|slot| match slot {
            Slot::Newer(version) => Some(*version),
            _ => None,
        });
        if let Some(version) = newer {
            return Err(lost(Lost::NewerFormat {
                file: FILE,
                version,
            }));
        }
        let whole = slots
            .into_iter()
            .enumerate()
            .filter_map(|(slot, found)| match found {
                Slot::Whole(header) => Some((slot, header)),
                _ => None,
            });
        let (newest, header) = whole
            .max_by_key(|(_, header)| header.sequence)
            .ok_or(lost(Lost::Damaged))?;
        let layout = Layout::new(header.disk.size, header.region).ok_or(lost(Lost::Damaged))?;
        let len = file.len().map_err(failed(FILE, TrackerCall::Read))?;
        if len < layout.file_len() {
            // What was cut off might have said that a region was touched.
            return Err(lost(Lost::Damaged));
        }
        let tracker = header.tracker;
        Ok(Self {
            place: place.clone(),
            file,
            sectors: Sectors { layout, tracker },
            sequence: header.sequence,
            header: *header,
            newest,
            usable: true,
            rct: None,
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn file(&self) -> &dyn ReadAt {
        &*self.file
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.usable
    }

    /// Changes the header, durably in both places.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Header)) -> Result<()> {
        let mut header = self.header.clone();
        change(&mut header);
        self.sequence += 1;
        header.sequence = self.sequence;
        let bytes = header::encode(&header);
        // The newest stays until the other place has what is newer still.
        let other = 1 - self.newest;
        let order = if step::left_out("rct.header.newest_last") {
            [self.newest, other]
        } else {
            [other, self.newest]
        };
        for (slot, is_synced) in order.into_iter().zip([
            !step::left_out("rct.header.sync"),
            !step::left_out("rct.header.twin_sync"),
        ]) {
            let at = SLOT_OFFSETS.get(slot).copied().unwrap_or_default();
            let written = self.file.write_all_at(&bytes, FileOffset(at));
            written.map_err(failed(FILE, TrackerCall::Write))?;
            if is_synced {
                self.sync()?;
            }
            self.newest = slot;
        }
        self.header = header;
        Ok(())
    }

    /// Marks regions, given in order and apart, durably.
    pub(crate) fn mark(&mut self, regions: &[Range<u64>], clock: Clock) -> Result<()> {
        let marked = self.sectors.mark(&*self.file, regions, clock);
        marked.map_err(failed(FILE, TrackerCall::Write))?;
        if step::left_out("rct.mark.sync") {
            return Ok(());
        }
        self.sync()
    }

    /// Writes those sectors anew that rotted: as touched now, all of them.
    pub(crate) fn heal(&mut self, rotten: &[u64], directories: &[u64], clock: Clock) -> Result<()> {
        for number in directories {
            let read = self.sectors.read_directory(&*self.file, *number);
            let mut directory = read.map_err(failed(FILE, TrackerCall::Read))?;
            let written = self
                .sectors
                .write_directory(&*self.file, *number, &mut directory);
            written.map_err(failed(FILE, TrackerCall::Write))?;
        }
        let regions: Vec<_> = rotten
            .iter()
            .map(|sector| crate::layout::regions_of(*sector))
            .collect();
        if regions.is_empty() && directories.is_empty() {
            return Ok(());
        }
        self.mark(&regions, clock)
    }

    /// Puts a new file in the place of one whose sync failed. `touched` gives all regions that any id may ask
    /// for, in parts.
    pub(crate) fn renew(
        &mut self,
        clock: Clock,
        mut touched: impl FnMut() -> Option<Vec<Range<u64>>>,
    ) -> Result<()> {
        self.sequence += 1;
        let header = Header {
            sequence: self.sequence,
            clock: self.header.clock.max(clock),
            ..self.header.clone()
        };
        let unfinished = self.place.begin(FILE, header.tracker)?;
        write_new(&*unfinished.content, &self.sectors, &header)?;
        while let Some(regions) = touched() {
            if !step::left_out("rct.renew.marks") {
                let marked = self.sectors.mark(&*unfinished.content, &regions, clock);
                marked.map_err(failed(FILE, TrackerCall::Write))?;
            }
        }
        self.file = unfinished.finish()?;
        self.header = header;
        self.newest = 1;
        self.usable = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let synced = self.file.sync();
        if synced.is_err() && !step::left_out("rct.mrt.give_up") {
            self.usable = false;
        }
        synced.map_err(failed(FILE, TrackerCall::Sync))
    }
}

/// Writes all of a file in which nothing is marked. It is made durable with its name.
fn write_new(file: &dyn DiskFile, sectors: &Sectors, header: &Header) -> Result<()> {
    let write = || {
        file.set_len(sectors.layout.file_len())?;
        let bytes = header::encode(header);
        for at in SLOT_OFFSETS {
            file.write_all_at(&bytes, FileOffset(at))?;
        }
        sectors.write_empty_directory(file)
    };
    write().map_err(failed(FILE, TrackerCall::Write))
}

/// Reads what stands in one of the two places; what lies behind the end of the file is damage.
fn read_slot(file: &dyn DiskFile, slot: usize) -> Result<Slot> {
    let at = SLOT_OFFSETS.get(slot).copied().unwrap_or_default();
    let read = |len: usize| {
        let end = at.saturating_add(len as u64);
        if file.len()? < ByteLen(end) {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, FileOffset(at))?;
        Ok(Some(bytes))
    };
    let failed = |error| failed(FILE, TrackerCall::Read)(error);
    let Some(first) = read(SECTOR_BYTES).map_err(failed)? else {
        return Ok(Slot::Damaged);
    };
    let Some(used) = header::used_len(&first) else {
        return Ok(header::decode(&first));
    };
    let bytes = read(used).map_err(failed)?;
    Ok(bytes.map_or(Slot::Damaged, |bytes| header::decode(&bytes)))
}
