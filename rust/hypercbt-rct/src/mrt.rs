//! The open `.mrt` file: its header and its marks, each made durable before the call returns.

use std::ops::Range;
use std::sync::Arc;

use hypercbt_extent::ByteLen;
use hypercbt_file::{DiskFile, FileOffset, step};

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
    /// Each file that may have the name now, and the one that had it before, so that their locks keep others out: who
    /// opened one just before it was replaced, and locks it just after, must not believe that nobody tracks the disk.
    holders: Vec<Arc<dyn DiskFile>>,
}

/// The `.mrt` file that a session finds. It is read, and replaced; nothing is ever written to it again.
///
/// For it may have a past: if a sync failed in an earlier session that then crashed, what is read here need not be
/// what is on the disk, and a write that builds on it would build on sand.
#[derive(Debug)]
pub(crate) struct Found {
    /// Locked.
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: Header,
    pub(crate) sectors: Sectors,
}

impl Found {
    /// Opens and locks the file, and reads its header.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let lost = |reason| Error::TrackingLost { reason };
        let file = place.open_to_write(FILE)?;
        let slots = [read_slot(&*file, 0)?, read_slot(&*file, 1)?];
        let mut newest: Option<Header> = None;
        for slot in slots {
            match slot {
                Slot::Newer(version) => {
                    let file = FILE;
                    return Err(lost(Lost::NewerFormat { file, version }));
                }
                Slot::Whole(header)
                    if newest.as_ref().is_none_or(|n| n.sequence < header.sequence) =>
                {
                    newest = Some(*header);
                }
                _ => {}
            }
        }
        let header = newest.ok_or(lost(Lost::Damaged))?;
        let layout = Layout::new(header.disk.size, header.region).ok_or(lost(Lost::Damaged))?;
        let len = file.len().map_err(failed(FILE, TrackerCall::Read))?;
        if len < layout.file_len() {
            // What was cut off might have said that a region was touched.
            return Err(lost(Lost::Damaged));
        }
        let tracker = header.tracker;
        Ok(Self {
            file,
            header,
            sectors: Sectors { layout, tracker },
        })
    }
}

impl Mrt {
    /// Makes a new file under its name, whole or not at all: `marks` writes them. `replaced` is the one of
    /// ours that has the name now, if there is one.
    pub(crate) fn create(
        place: &Place,
        sectors: Sectors,
        replaced: Option<Arc<dyn DiskFile>>,
        marks: impl FnOnce(&dyn DiskFile) -> Result<Header>,
    ) -> Result<Self> {
        let mut holders = replaced.into_iter().collect();
        let (file, header) = make(place, &sectors, &mut holders, marks)?;
        Ok(Self {
            place: place.clone(),
            file,
            sectors,
            sequence: header.sequence,
            header,
            newest: 1,
            usable: true,
            rct: None,
            holders,
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
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
        let sectors = self.sectors;
        let (file, header) = make(&self.place, &sectors, &mut self.holders, |file| {
            while let Some(regions) = touched() {
                if !step::left_out("rct.renew.marks") {
                    let marked = sectors.mark(file, &regions, clock);
                    marked.map_err(failed(FILE, TrackerCall::Write))?;
                }
            }
            Ok(header)
        })?;
        self.file = file;
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

/// Makes a new file under its name, whole or not at all. Its headers were written in order, the second one last.
fn make(
    place: &Place,
    sectors: &Sectors,
    holders: &mut Vec<Arc<dyn DiskFile>>,
    marks: impl FnOnce(&dyn DiskFile) -> Result<Header>,
) -> Result<(Arc<dyn DiskFile>, Header)> {
    let unfinished = place.begin(FILE, sectors.tracker)?;
    let empty = make_empty(&*unfinished.content, sectors);
    empty.map_err(failed(FILE, TrackerCall::Write))?;
    let header = marks(&*unfinished.content)?;
    write_header(&*unfinished.content, &header)?;
    Ok((unfinished.finish(holders)?, header))
}

/// Makes a file in which nothing is marked. It has no header yet.
fn make_empty(file: &dyn DiskFile, sectors: &Sectors) -> std::io::Result<()> {
    file.set_len(sectors.layout.file_len())?;
    sectors.write_empty_directory(file)
}

/// Writes both copies of the header of a file that has no name yet.
fn write_header(file: &dyn DiskFile, header: &Header) -> Result<()> {
    let bytes = header::encode(header);
    let mut copies = SLOT_OFFSETS.into_iter();
    copies
        .try_for_each(|at| file.write_all_at(&bytes, FileOffset(at)))
        .map_err(failed(FILE, TrackerCall::Write))
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
