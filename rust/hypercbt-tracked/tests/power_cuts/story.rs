//! What happens to a disk before its power goes: a guest that writes, backups that freeze, processes that die.

use std::io::ErrorKind;

use hypercbt_extent::DiskOffset;
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_tracked::{TrackedDisk, Tracking};
use hypercbt_vhdx::NewKind;

use crate::promises::{
    Change, Flush, Freeze, Promises, SECTORS, Sealed, Value, Values, bytes_of, value_of,
};
use crate::support::{KIB, MIB, SECTOR, extent, machine, open, scramble};

const STEPS: usize = 40;
const NEVER: usize = usize::MAX;

/// A story that was told to its end; the disk was not closed.
pub(crate) struct Story {
    pub(crate) files: SimFiles,
    pub(crate) promises: Promises,
}

struct Teller {
    files: SimFiles,
    disk: Option<TrackedDisk>,
    promises: Promises,
    now: Values,
    next_value: Value,
    sessions: u64,
    state: u64,
}

impl Story {
    /// Tells a story; the seed decides everything in it.
    ///
    /// # Errors
    /// Something was wrong without any cut.
    pub(crate) fn tell(seed: u64) -> Result<Self, String> {
        let mut teller = Teller::new(seed)?;
        for _ in 0..STEPS {
            teller.step()?;
        }
        Ok(teller.story())
    }

    /// A process is killed after so many operations, in which it opens a disk and freezes it, or thaws it where it is
    /// frozen; another goes on and writes.
    ///
    /// # Errors
    /// Something was wrong without any cut.
    pub(crate) fn tell_of_a_kill(operations: usize, is_frozen: bool) -> Result<Self, String> {
        let mut teller = Teller::new(1)?;
        teller.write()?;
        if is_frozen {
            teller.freeze_or_thaw()?;
        }
        teller.write()?;
        teller.flush()?;
        teller.be_killed(operations, Deed::FreezeOrThaw)?;
        teller.write()?;
        teller.flush()?;
        Ok(teller.story())
    }

    /// The name of a checkpoint cannot be made durable: the freeze fails, and the guest goes on in the base.
    ///
    /// # Errors
    /// Something was wrong without any cut.
    pub(crate) fn tell_of_a_name(folder_syncs: u64) -> Result<Self, String> {
        let mut teller = Teller::new(1)?;
        teller.write()?;
        teller.flush()?;
        teller.files.fail(Fault {
            call: Call::SyncFolder,
            path: None,
            after: folder_syncs,
            times: 1,
            error: ErrorKind::Other,
        });
        let begun = teller.files.ops();
        let frozen = teller.freeze_or_thaw();
        teller.files.mend();
        if frozen.is_err() {
            // It is frozen all the same if the child was there before something failed.
            let is_frozen = teller.disk().frozen().is_some();
            let now = teller.files.ops();
            teller.promises.freezes.push(Freeze {
                begun,
                ended: if is_frozen { now } else { NEVER },
                thaw_begun: if is_frozen { NEVER } else { begun },
                thaw_ended: if is_frozen { NEVER } else { now },
                values: teller.now.clone(),
            });
        }
        teller.write()?;
        teller.flush()?;
        Ok(teller.story())
    }
}

/// What a process does that is killed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    FreezeOrThaw,
    WriteAndFlush,
}

impl Teller {
    fn new(seed: u64) -> Result<Self, String> {
        let kind = match seed % 4 {
            0 => NewKind::Fixed,
            _ => NewKind::Dynamic,
        };
        let mut teller = Self {
            files: machine(kind),
            disk: None,
            promises: Promises {
                changes: vec![Vec::new(); SECTORS.len()],
                ..Promises::default()
            },
            now: vec![0; SECTORS.len()],
            next_value: 1,
            sessions: 0,
            state: scramble(seed),
        };
        teller.open()?;
        teller.promises.tracked = teller.files.ops();
        Ok(teller)
    }

    fn story(self) -> Story {
        Story {
            files: self.files,
            promises: self.promises,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.state = scramble(self.state);
        self.state % below
    }

    fn disk(&self) -> &TrackedDisk {
        self.disk.as_ref().expect("a disk is open between steps")
    }

    fn step(&mut self) -> Result<(), String> {
        match self.draw(100) {
            0..40 => self.write(),
            40..47 => self.zero(),
            47..53 => self.unmap(),
            53..65 => self.flush(),
            65..70 => self.disk().flush_tracking().map_err(said("flush_tracking")),
            70..77 => self.seal(),
            77..89 => self.freeze_or_thaw(),
            89..91 => self.close_and_open(),
            91..93 => self.die_and_open(),
            93..97 => {
                let operations = usize::try_from(1 + self.draw(90)).unwrap();
                let deed = match self.draw(4) {
                    0 => Deed::WriteAndFlush,
                    _ => Deed::FreezeOrThaw,
                };
                self.be_killed(operations, deed)
            }
            _ => self.forget(),
        }
    }

    /// One to three sectors that lie side by side.
    fn write(&mut self) -> Result<(), String> {
        let first = usize::try_from(self.draw(SECTORS.len() as u64)).unwrap();
        let most = 1 + usize::try_from(self.draw(3)).unwrap();
        let beside = |sector: &usize| {
            SECTORS[*sector] == SECTORS[first] + ((sector - first) * SECTOR) as u64
        };
        let sectors: Vec<usize> = (first..SECTORS.len())
            .take_while(beside)
            .take(most)
            .collect();
        let begun = self.files.ops();
        let mut bytes = Vec::new();
        for sector in &sectors {
            self.now[*sector] = self.next_value;
            bytes.extend(bytes_of(self.next_value));
            self.next_value += 1;
        }
        let at = DiskOffset(SECTORS[first]);
        let written = self.disk().write_at(at, &bytes).map_err(said("write"));
        self.changed(begun);
        written
    }

    /// A piece of the disk: a sector or two, or whole blocks.
    fn piece(&mut self) -> (u64, u64) {
        let start = SECTORS[usize::try_from(self.draw(SECTORS.len() as u64)).unwrap()];
        match self.draw(3) {
            0 => (start, 512),
            1 => (start / (4 * KIB) * (4 * KIB), 4 * KIB),
            _ => (start / MIB * MIB, MIB),
        }
    }

    fn zero(&mut self) -> Result<(), String> {
        let (at, len) = self.piece();
        let begun = self.files.ops();
        self.disk().zero(extent(at, len)).map_err(said("zero"))?;
        for (sector, place) in SECTORS.iter().enumerate() {
            if (at..at + len).contains(place) {
                self.now[sector] = 0;
            }
        }
        self.changed(begun);
        Ok(())
    }

    /// What is unmapped stays or becomes zeros, and is settled with the call.
    fn unmap(&mut self) -> Result<(), String> {
        let (at, len) = self.piece();
        let begun = self.files.ops();
        self.disk().unmap(extent(at, len)).map_err(said("unmap"))?;
        for (sector, place) in SECTORS.iter().enumerate() {
            let value = self.read(sector)?;
            let is_inside = (at..at + len).contains(place);
            if value != self.now[sector] && !(is_inside && value == 0) {
                return Err(format!("unmap({at}, {len}) made {place} {value}"));
            }
            self.now[sector] = value;
        }
        self.changed(begun);
        Ok(())
    }

    /// Notes what has another value than before.
    fn changed(&mut self, begun: usize) {
        for (changes, value) in self.promises.changes.iter_mut().zip(&self.now) {
            let before = changes.last().map_or(0, |change| change.value);
            if before != *value {
                changes.push(Change {
                    begun,
                    value: *value,
                });
            }
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        self.disk().flush().map_err(said("flush"))?;
        self.flushed();
        Ok(())
    }

    /// Nothing was changed while it ran.
    fn flushed(&mut self) {
        self.promises.flushes.push(Flush {
            ended: self.files.ops(),
            changes: self.promises.changes.iter().map(Vec::len).collect(),
        });
    }

    fn seal(&mut self) -> Result<(), String> {
        let id = self.disk().seal().map_err(said("seal"))?;
        self.flushed();
        self.sealed(id);
        Ok(())
    }

    fn sealed(&mut self, id: hypercbt_rct::RctId) {
        self.promises.sealed.push(Sealed {
            id,
            at: self.files.ops(),
            forgotten: NEVER,
            values: self.now.clone(),
        });
    }

    fn forget(&mut self) -> Result<(), String> {
        let kept = self.promises.sealed.iter_mut();
        let Some(oldest) = kept.into_iter().find(|sealed| sealed.forgotten == NEVER) else {
            return Ok(());
        };
        oldest.forgotten = self.files.ops();
        let id = oldest.id.clone();
        self.disk().forget(&id).map_err(said("forget"))
    }

    fn freeze_or_thaw(&mut self) -> Result<(), String> {
        let begun = self.files.ops();
        if self.disk().frozen().is_none() {
            let frozen = self.disk().freeze().map_err(said("freeze"))?;
            self.flushed();
            self.promises.freezes.push(Freeze {
                begun,
                ended: self.files.ops(),
                thaw_begun: NEVER,
                thaw_ended: NEVER,
                values: self.now.clone(),
            });
            self.sealed(frozen.id);
        } else {
            self.disk().thaw().map_err(said("thaw"))?;
            self.flushed();
            let freeze = self.promises.freezes.last_mut();
            let freeze = freeze.ok_or("a checkpoint that nobody made")?;
            freeze.thaw_begun = begun;
            freeze.thaw_ended = self.files.ops();
        }
        Ok(())
    }

    fn close_and_open(&mut self) -> Result<(), String> {
        let disk = self.disk.take().expect("a disk is open between steps");
        disk.close().map_err(said("close"))?;
        self.flushed();
        self.open()?;
        self.compare()
    }

    /// The process dies, the machine does not: what it wrote is there, but need not be durable.
    fn die_and_open(&mut self) -> Result<(), String> {
        drop(self.disk.take());
        let begun = self.files.ops();
        self.open()?;
        self.look(begun)
    }

    /// A process is killed while it opens the disk, or freezes, thaws or flushes it; another goes on.
    fn be_killed(&mut self, operations: usize, deed: Deed) -> Result<(), String> {
        drop(self.disk.take());
        let begun = self.files.ops();
        self.sessions += 1;
        let doomed = open(&self.files.killed_after(begun + operations), self.sessions);
        let mut interrupted = None;
        if let Ok(disk) = doomed {
            self.disk = Some(disk);
            if self.look(begun).is_ok() {
                interrupted = self.act_until_killed(deed);
            }
        }
        drop(self.disk.take());
        let begun = self.files.ops();
        self.open()?;
        if let Some(freeze) = interrupted {
            self.see_whether_frozen(freeze);
        }
        self.look(begun)
    }

    /// Returns the freeze that was not told to be done.
    fn act_until_killed(&mut self, deed: Deed) -> Option<(Freeze, Flush)> {
        let begun = self.files.ops();
        if deed == Deed::WriteAndFlush {
            let _killed = self.write().and_then(|()| self.flush());
            return None;
        }
        let freeze = Freeze {
            begun,
            ended: NEVER,
            thaw_begun: NEVER,
            thaw_ended: NEVER,
            values: self.now.clone(),
        };
        let flush = Flush {
            ended: NEVER,
            changes: self.promises.changes.iter().map(Vec::len).collect(),
        };
        let was_frozen = self.disk().frozen().is_some();
        if self.freeze_or_thaw().is_ok() {
            return None;
        }
        if was_frozen {
            // Whether it was thawed is seen by whoever opens it: from here on both may be.
            if let Some(frozen) = self.promises.freezes.last_mut() {
                frozen.thaw_begun = begun;
            }
            return None;
        }
        Some((freeze, flush))
    }

    fn see_whether_frozen(&mut self, (mut freeze, mut flush): (Freeze, Flush)) {
        let now = self.files.ops();
        if self.disk().frozen().is_some() {
            freeze.ended = now;
            flush.ended = now;
            self.promises.flushes.push(flush);
        } else {
            freeze.thaw_begun = freeze.begun;
            freeze.thaw_ended = now;
        }
        self.promises.freezes.push(freeze);
    }

    /// Looks what a process left that did not close the disk.
    fn look(&mut self, begun: usize) -> Result<(), String> {
        for (sector, place) in SECTORS.iter().enumerate() {
            let value = self.read(sector)?;
            if !self.promises.allowed(sector, begun).contains(&value) {
                return Err(format!("a process died, and {place} is {value}"));
            }
            self.now[sector] = value;
        }
        if self.disk().frozen().is_none()
            && let Some(last) = self.promises.freezes.last_mut()
        {
            last.thaw_ended = last.thaw_ended.min(self.files.ops());
        }
        self.changed(begun);
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        self.sessions += 1;
        let disk = open(&self.files, self.sessions).map_err(said("open"))?;
        if self.sessions > 1 && *disk.tracking() != Tracking::Continued {
            return Err(format!("tracking is {:?}", disk.tracking()));
        }
        self.disk = Some(disk);
        Ok(())
    }

    fn compare(&self) -> Result<(), String> {
        for (sector, expected) in self.now.iter().enumerate() {
            let found = self.read(sector)?;
            if found != *expected {
                return Err(format!("{} is {found}, not {expected}", SECTORS[sector]));
            }
        }
        Ok(())
    }

    fn read(&self, sector: usize) -> Result<Value, String> {
        let mut bytes = [0; SECTOR];
        let at = DiskOffset(SECTORS[sector]);
        self.disk().read_at(at, &mut bytes).map_err(said("read"))?;
        value_of(&bytes).ok_or_else(|| format!("{at} is torn"))
    }
}

/// An error with the step that it came from, and all its causes.
pub(crate) fn said<E: std::error::Error>(step: &'static str) -> impl Fn(E) -> String {
    move |error| {
        let mut causes = vec![format!("{step}: {error}")];
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        causes.join(": ")
    }
}
