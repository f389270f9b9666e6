//! What happens to a disk before its power goes: a guest that writes, backups that freeze, processes that die.

use std::io::ErrorKind;

use hypercbt_extent::DiskOffset;
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_tracked::{TrackedDisk, Tracking};
use hypercbt_vhdx::NewKind;

use crate::deeds::Deed;
use crate::promises::{Promises, SECTORS, Stack, Value, Values, value_of};
use crate::support::{SECTOR, machine, open, scramble};

const STEPS: usize = 40;
pub(crate) const NEVER: usize = usize::MAX;

/// A story that was told to its end; the disk was not closed.
pub(crate) struct Story {
    pub(crate) files: SimFiles,
    pub(crate) promises: Promises,
    /// Whether a process was killed before it had done what it was to do.
    pub(crate) was_killed: bool,
}

pub(crate) struct Teller {
    pub(crate) files: SimFiles,
    pub(crate) disk: Option<TrackedDisk>,
    pub(crate) promises: Promises,
    pub(crate) now: Values,
    /// What the frozen files hold.
    pub(crate) stack: Stack,
    pub(crate) was_killed: bool,
    pub(crate) next_value: Value,
    pub(crate) sessions: u64,
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

    /// A process is killed after so many operations, in which it opens a disk with so many checkpoints and does
    /// something to it; another goes on and writes.
    ///
    /// # Errors
    /// Something was wrong without any cut.
    pub(crate) fn tell_of_a_kill(
        operations: usize,
        depth: usize,
        deed: Deed,
    ) -> Result<Self, String> {
        let mut teller = Teller::frozen(depth)?;
        teller.was_killed = false;
        teller.be_killed(operations, deed)?;
        teller.write()?;
        teller.flush()?;
        Ok(teller.story())
    }

    /// A name cannot be made durable: what was to be done fails, and the guest goes on if it can.
    ///
    /// # Errors
    /// Something was wrong without any cut.
    pub(crate) fn tell_of_a_name(
        folder_syncs: u64,
        depth: usize,
        deed: Deed,
    ) -> Result<Self, String> {
        let mut teller = Teller::frozen(depth)?;
        teller.files.fail(Fault {
            call: Call::SyncFolder,
            path: None,
            after: folder_syncs,
            times: 1,
            error: ErrorKind::Other,
        });
        let begun = teller.files.ops();
        let tried = teller.try_to(deed);
        teller.files.mend();
        // No later sync makes durable what one that failed held back, so a disk that stopped waits for the cut.
        if teller.read(0).is_err() {
            return Ok(teller.story());
        }
        if let Some(tried) = tried {
            teller.settle(tried)?;
        }
        teller.look(begun)?;
        teller.write()?;
        teller.flush()?;
        Ok(teller.story())
    }
}

impl Teller {
    pub(crate) fn new(seed: u64) -> Result<Self, String> {
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
            stack: Stack::new(),
            was_killed: false,
            next_value: 1,
            sessions: 0,
            state: scramble(seed),
        };
        teller.open()?;
        teller.promises.tracked = teller.files.ops();
        Ok(teller)
    }

    pub(crate) fn story(self) -> Story {
        Story {
            files: self.files,
            promises: self.promises,
            was_killed: self.was_killed,
        }
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.state = scramble(self.state);
        self.state % below
    }

    pub(crate) fn disk(&self) -> &TrackedDisk {
        self.disk.as_ref().expect("a disk is open between steps")
    }

    pub(crate) fn step(&mut self) -> Result<(), String> {
        match self.draw(100) {
            0..40 => self.write(),
            40..47 => self.zero(),
            47..53 => self.unmap(),
            53..65 => self.flush(),
            65..70 => self.disk().flush_tracking().map_err(said("flush_tracking")),
            70..77 => self.seal(),
            77..89 => {
                let deed = self.choose();
                self.act(deed)
            }
            89..91 => self.close_and_open(),
            91..93 => self.die_and_open(),
            93..97 => {
                let operations = usize::try_from(1 + self.draw(90)).unwrap();
                let deed = match self.draw(4) {
                    0 => Deed::WriteAndFlush,
                    _ => self.choose(),
                };
                self.be_killed(operations, deed)
            }
            _ => self.forget(),
        }
    }

    pub(crate) fn close_and_open(&mut self) -> Result<(), String> {
        let disk = self.disk.take().expect("a disk is open between steps");
        disk.close().map_err(said("close"))?;
        self.flushed();
        self.open()?;
        self.compare()
    }

    /// The process dies, the machine does not: what it wrote is there, but need not be durable.
    pub(crate) fn die_and_open(&mut self) -> Result<(), String> {
        drop(self.disk.take());
        let begun = self.files.ops();
        self.open()?;
        self.look(begun)
    }

    /// Looks what a process left that did not close the disk.
    pub(crate) fn look(&mut self, begun: usize) -> Result<(), String> {
        for (sector, place) in SECTORS.iter().enumerate() {
            let value = self.read(sector)?;
            if !self.promises.allowed(sector, begun).contains(&value) {
                return Err(format!("a process died, and {place} is {value}"));
            }
            self.now[sector] = value;
        }
        self.changed(begun);
        Ok(())
    }

    pub(crate) fn open(&mut self) -> Result<(), String> {
        let tracking = self.open_anyhow()?;
        if self.sessions > 1 && tracking != Tracking::Continued {
            return Err(format!("tracking is {tracking:?}"));
        }
        Ok(())
    }

    pub(crate) fn open_anyhow(&mut self) -> Result<Tracking, String> {
        self.sessions += 1;
        let disk = open(&self.files, self.sessions).map_err(said("open"))?;
        let tracking = disk.tracking();
        self.disk = Some(disk);
        Ok(tracking)
    }

    pub(crate) fn compare(&self) -> Result<(), String> {
        for (sector, expected) in self.now.iter().enumerate() {
            let found = self.read(sector)?;
            if found != *expected {
                return Err(format!("{} is {found}, not {expected}", SECTORS[sector]));
            }
        }
        Ok(())
    }

    pub(crate) fn read(&self, sector: usize) -> Result<Value, String> {
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
