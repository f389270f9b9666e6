//! Making durable what was written: one sync for the payload, one for the log, shared by all who wait.
//!
//! ```text
//! 1  take the changes that are not logged yet    their payload was written before they were noted
//! 2  sync                                        payload and growth of the file are durable
//! 3  log the changes                             a block's entry and its bits in one log entry
//! 4  free the room that was given up             no log brings its old owner back any more
//! ```

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};

use hypercbt_file::step;

use super::entry::{self, Sectors};
use super::journal::Journal;
use super::map::{Change, Patch};
use super::{WritableVhdx, lock, read, write};
use crate::format::LOG_SECTOR_BYTES;
use crate::{FileOffset, Result};
use hypercbt_extent::ByteLen;

/// Who waits for whose flush.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many flushes were asked for.
    asked: u64,
    /// How many of these, the first ones, are done.
    done: u64,
    running: bool,
}

impl Flushes {
    /// Runs `work` once between now and the return, alone; all who ask while it runs share the next run.
    fn share<E>(
        &self,
        work: impl Fn() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut state = lock(&self.state);
        state.asked += 1;
        let mine = state.asked;
        while state.done < mine {
            if state.running {
                let waited = self.done.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            // Whoever asked up to now wrote before; whoever asks from now on may have written too late for this one.
            let covered = state.asked;
            drop(state);
            let worked = work();
            state = lock(&self.state);
            state.running = false;
            if worked.is_ok() {
                state.done = covered;
            }
            self.done.notify_all();
            worked?;
        }
        Ok(())
    }
}

impl WritableVhdx {
    /// All writes that returned before are durable when this returns.
    ///
    /// Flushes that are asked for while another runs are done together by the next one.
    ///
    /// # Errors
    /// After a failure the disk takes no more writes and flushes: nothing would be known of what they leave.
    pub fn flush(&self) -> Result<()> {
        self.flushes.share(|| self.flush_alone())
    }

    fn flush_alone(&self) -> Result<()> {
        self.file.check()?;
        let mut journal = lock(&self.journal);
        // The length first: what the changes refer to lies below it.
        let changes = write(&self.map).take_changes();
        let file_len = lock(&self.space).file_len();
        let unsynced = self.unsynced.swap(false, Ordering::AcqRel);
        if (unsynced || !changes.blocks.is_empty()) && !step::left_out("vhdx.payload.sync") {
            self.file.sync()?;
        }
        let logged = self.log(&mut journal, &changes.blocks, file_len);
        // The changes are no longer noted as missing in the log, so nothing may be promised after this.
        logged.inspect_err(|_| self.file.give_up())?;
        self.free(changes.freed);
        Ok(())
    }

    /// Changes bytes of the metadata as one entry of the log, durably and after all that was written before.
    /// At most [`entry::MAX_SECTORS`] sectors of 4 KiB.
    pub(super) fn change_metadata(&self, patches: &[Patch]) -> Result<()> {
        self.flush()?;
        let mut journal = lock(&self.journal);
        let sectors = self.patched(&journal, &Sectors::new(), patches)?;
        if sectors.is_empty() {
            return Ok(());
        }
        let file_len = lock(&self.space).file_len();
        // What the entry refers to may have grown the file since the flush.
        self.file.sync()?;
        let logged = journal.append(&self.file, &self.headers, sectors, file_len);
        logged.inspect_err(|_| self.file.give_up())
    }

    /// Bytes of the metadata as the log has them.
    pub(super) fn metadata_bytes(&self, at: FileOffset, len: usize) -> Result<Vec<u8>> {
        let journal = lock(&self.journal);
        let mut bytes = Vec::with_capacity(len);
        let mut next = at.0;
        while bytes.len() < len {
            let start = next / LOG_SECTOR_BYTES * LOG_SECTOR_BYTES;
            let sector = journal.sector(&self.file, start)?;
            let from = usize::try_from(next - start).unwrap_or_default();
            let piece = sector.iter().skip(from).take(len - bytes.len());
            bytes.extend(piece.copied());
            next = start + LOG_SECTOR_BYTES;
        }
        Ok(bytes)
    }

    /// Logs changes of blocks, in as few entries as they need. One block's change is never split.
    fn log(&self, journal: &mut Journal, changes: &[Change], file_len: ByteLen) -> Result<()> {
        let geometry = *read(&self.map).geometry();
        let bat = *read(&self.bat);
        let mut sectors = Sectors::new();
        let mut later = Vec::new();
        for change in changes {
            let mut patches = change.patches(&geometry, &bat);
            if step::left_out("vhdx.bits.with_entry") {
                later.extend(patches.drain(1..));
            }
            let touched = self.patched(journal, &sectors, &patches)?;
            let added = touched.keys().filter(|at| !sectors.contains_key(at));
            if sectors.len() + added.count() > entry::MAX_SECTORS {
                let full = std::mem::take(&mut sectors);
                journal.append(&self.file, &self.headers, full, file_len)?;
            }
            sectors.extend(touched);
        }
        if !sectors.is_empty() {
            journal.append(&self.file, &self.headers, sectors, file_len)?;
        }
        if !later.is_empty() {
            let sectors = self.patched(journal, &Sectors::new(), &later)?;
            journal.append(&self.file, &self.headers, sectors, file_len)?;
        }
        Ok(())
    }

    /// The sectors that `patches` change, as they are then. What already holds the bytes of a patch is left out.
    pub(super) fn patched(
        &self,
        journal: &Journal,
        sectors: &Sectors,
        patches: &[Patch],
    ) -> Result<Sectors> {
        let mut touched = Sectors::new();
        for (at, bytes) in patches.iter().flat_map(Patch::by_sector) {
            let start = at.0 / LOG_SECTOR_BYTES * LOG_SECTOR_BYTES;
            let mut sector = match touched.get(&start).or(sectors.get(&start)) {
                Some(sector) => sector.clone(),
                None => journal.sector(&self.file, start)?,
            };
            let from = usize::try_from(at.0 - start).unwrap_or_default();
            let place = sector.get_mut(from..from + bytes.len());
            let place = place.unwrap_or_default();
            if place != bytes {
                place.copy_from_slice(bytes);
                touched.insert(start, sector);
            }
        }
        Ok(touched)
    }

    /// Room of blocks is free for others.
    pub(super) fn free(&self, blocks: Vec<FileOffset>) {
        if blocks.is_empty() {
            return;
        }
        let len = ByteLen(read(&self.map).geometry().block_bytes());
        let mut space = lock(&self.space);
        for at in blocks {
            space.give(at, len);
        }
    }
}

impl Patch {
    /// The bytes, cut where sectors of the log end.
    fn by_sector(&self) -> impl Iterator<Item = (FileOffset, &[u8])> {
        let mut at = self.at;
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let left = LOG_SECTOR_BYTES - at.0 % LOG_SECTOR_BYTES;
            let len = rest.len().min(usize::try_from(left).unwrap_or_default());
            let (piece, after) = rest.split_at(len);
            let found = (at, piece);
            rest = after;
            at = FileOffset(at.0.saturating_add(left));
            (!piece.is_empty()).then_some(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn all_who_ask_while_one_flushes_share_the_next_flush() {
        let flushes = Flushes::default();
        let runs = AtomicU64::new(0);
        let work = || {
            // The first one goes on until all others have asked.
            let is_first = runs.fetch_add(1, Ordering::SeqCst) == 0;
            while is_first && lock(&flushes.state).asked < 6 {
                std::thread::yield_now();
            }
            Ok::<(), ()>(())
        };
        std::thread::scope(|scope| {
            scope.spawn(|| flushes.share(work).unwrap());
            while runs.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            for _ in 0..5 {
                scope.spawn(|| flushes.share(work).unwrap());
            }
        });
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn who_waits_for_a_flush_that_fails_tries_himself() {
        let flushes = Flushes::default();
        let runs = AtomicU64::new(0);
        let work = || {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            while run == 0 && lock(&flushes.state).asked < 2 {
                std::thread::yield_now();
            }
            Err(run)
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| flushes.share(work));
            while runs.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let second = scope.spawn(|| flushes.share(work));
            assert_eq!(first.join().unwrap(), Err(0));
            assert_eq!(second.join().unwrap(), Err(1));
        });
    }
}
