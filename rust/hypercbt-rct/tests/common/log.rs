//! What a guest and its host did, and what must be true of each state that a cut can leave.

use std::path::Path;

use hypercbt_extent::{ByteLen, Extent, Extents};
use hypercbt_file::{FileOffset, FileSystem};
use hypercbt_powercut::{History, SimFiles};
use hypercbt_rct::{Error, RctId, Stamp, Tracker};

use super::scenario::{Contents, DATA_AT, FILE, SECTOR, open, place};
use super::{DISK, GRAIN, REGION, UNIT, extent};

/// Made by a second life: what is there may be coarser and newer than the log says.
const SECOND_LIFE: &str = "/second life";
/// What a cut in the middle of the first mark ever in a sector of counters leaves: a sector that is listed, and
/// perhaps lost.
const SECTOR_OF_REGIONS: u64 = 60 * REGION;

#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) id: RctId,
    /// None: the seal failed, nobody was told.
    pub(super) done: Option<usize>,
    /// The data when it was sealed.
    pub(super) contents: Contents,
    /// How many touches there were before.
    pub(super) touches: usize,
    /// When that was first asked for, and when it was done.
    pub(super) forgotten: Option<(usize, usize)>,
}

/// When a touch began, when its mark was durable, and what it touched.
#[derive(Debug)]
pub(super) struct Touch {
    pub(super) at: usize,
    pub(super) marked: usize,
    pub(super) extent: Extent,
}

/// What happened, and after how many operations.
#[derive(Debug)]
pub struct Log {
    pub history: History,
    pub(super) created: usize,
    pub(super) sealed: Vec<Sealed>,
    pub(super) touches: Vec<Touch>,
    /// Write-backs: when they were done, and how many touches had begun before.
    pub(super) flushed: Vec<(usize, usize)>,
    /// Touches before this one are coarse for good: the process crashed before they were written back.
    pub(super) coarse: Vec<std::ops::Range<usize>>,
    /// Nothing failed on the way, so the answers must be as fine as promised.
    pub(super) is_fine: bool,
}

impl Log {
    /// What must be true of every state that power may leave after `at` operations. `files` is the machine that
    /// starts again; it goes on with a second life now and then, so that its recovery is cut at more places.
    pub fn check(&self, at: usize, files: &SimFiles) -> Result<(), String> {
        if !exists(files, Path::new(FILE)) {
            return Ok(()); // before the disk was there
        }
        let is_second = exists(files, Path::new(SECOND_LIFE));
        let found = read(files, 0).map(|sector| Stamp([sector[0]; 32]))?;
        let new = [if is_second { 0xFE } else { 0xFD }; 16];
        let tracker = match open(files, found, new) {
            Ok(tracker) => tracker,
            // Cut again after that session's GUID was durable.
            Err(Error::SessionNotNew) => open(files, found, [0xFC; 16]).map_err(|e| chain(&e))?,
            Err(Error::NotTracked) if at < self.created => return Ok(()),
            Err(error) => return Err(chain(&error)),
        };
        let ids = tracker.ids();
        for sealed in &self.sealed {
            let is_kept = ids.contains(&sealed.id);
            if sealed.must_be_kept(at) && !is_kept {
                return Err(format!("{} is not known any more", sealed.id));
            }
            if sealed.must_be_gone(at) && is_kept {
                return Err(format!("{} was forgotten and is back", sealed.id));
            }
            if is_kept {
                let answer = tracker.changes_since(&sealed.id).map_err(|e| chain(&e))?;
                nothing_is_missed(files, sealed, &answer)?;
                if self.is_fine && !is_second {
                    self.it_is_fine(at, sealed, &answer)?;
                }
            }
        }
        if !is_second && at.is_multiple_of(3) {
            second_life(files, &tracker)?;
        }
        Ok(())
    }

    /// Nothing is reported but the units, or since the last write-back the regions, of what was touched.
    fn it_is_fine(&self, at: usize, sealed: &Sealed, answer: &Extents) -> Result<(), String> {
        let end = hypercbt_extent::DiskOffset(DISK);
        let flushed = self.flushed.iter().filter(|(done, _)| *done <= at);
        let flushed = flushed.map(|(_, touches)| *touches).max().unwrap_or(0);
        let is_coarse = |number: usize| {
            number >= flushed || self.coarse.iter().any(|range| range.contains(&number))
        };
        let begun = self.touches.iter().enumerate().skip(sealed.touches);
        let begun = begun.take_while(|(_, touch)| touch.at <= at);
        let begun = begun.map(|(number, touch)| (number, touch.marked, touch.extent));
        let mut allowed = Extents::new();
        for (number, marked, extent) in begun {
            let precision = if at < marked {
                SECTOR_OF_REGIONS
            } else if is_coarse(number) {
                REGION
            } else {
                UNIT
            };
            allowed = allowed.union(&Extents::from(extent).align(ByteLen(precision), end));
        }
        let surplus = answer.subtract(&allowed);
        if surplus.is_empty() {
            Ok(())
        } else {
            Err(format!("{}: {surplus:?} was not touched", sealed.id))
        }
    }
}

impl Sealed {
    fn must_be_kept(&self, at: usize) -> bool {
        self.done.is_some_and(|done| done <= at)
            && self.forgotten.is_none_or(|(called, _)| at <= called)
    }

    fn must_be_gone(&self, at: usize) -> bool {
        self.forgotten.is_some_and(|(_, done)| done <= at)
    }
}

fn nothing_is_missed(files: &SimFiles, sealed: &Sealed, answer: &Extents) -> Result<(), String> {
    for (at, then) in &sealed.contents {
        let end = (at + GRAIN).min(DISK);
        if read(files, DATA_AT + at)? != *then {
            let sector = Extents::from(extent(*at, end));
            if !sector.subtract(answer).is_empty() {
                return Err(format!("{}: the change at {at} is missed", sealed.id));
            }
        }
    }
    Ok(())
}

/// The host goes on after the cut: it writes, seals and writes back, and is cut again.
fn second_life(files: &SimFiles, tracker: &Tracker) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    drop(files.create_new(Path::new(SECOND_LIFE)).map_err(io)?);
    files.sync_folder(Path::new("/")).map_err(io)?;
    let file = files.open_to_write(Path::new(FILE)).map_err(io)?;
    for number in [1, 7, 1] {
        let extent = place(number);
        let ticket = tracker.write_begins(extent).map_err(|e| chain(&e))?;
        let at = FileOffset(DATA_AT + extent.start().0);
        file.write_all_at(&[0xEE; SECTOR], at).map_err(io)?;
        tracker.write_ends(ticket);
        if number == 7 {
            file.sync().map_err(io)?;
            tracker.seal().map_err(|e| chain(&e))?;
            tracker.flush().map_err(|e| chain(&e))?;
        }
    }
    Ok(())
}

fn exists(files: &SimFiles, path: &Path) -> bool {
    files.open_to_read(path).is_ok()
}

/// A sector of the disk's file; what is behind its end is zeros.
fn read(files: &SimFiles, at: u64) -> Result<[u8; SECTOR], String> {
    let mut bytes = [0; SECTOR];
    let io = |error: std::io::Error| error.to_string();
    let file = files.open_to_read(Path::new(FILE)).map_err(io)?;
    if file.len().map_err(io)?.0 >= at + SECTOR as u64 {
        file.read_exact_at(&mut bytes, FileOffset(at)).map_err(io)?;
    }
    Ok(bytes)
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
