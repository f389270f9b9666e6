//! A guest that writes a disk through a tracker, on files that may lose power. What must be true then is in `log`.
//!
//! The disk's file: a sector with its stamp, and from 4 KiB on its data. The truth is in there: a sector that is
//! not what it was when an id was sealed has changed since that id, whatever the tracker believes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hypercbt_extent::{ByteLen, Extent};
use hypercbt_file::{DiskFile, FileOffset, FileSystem};
use hypercbt_powercut::{Call, Fault, SimFiles};
use hypercbt_rct::{Stamp, Ticket, Tracker};

use super::log::{Log, Sealed, Touch, chain};
use super::{DISK, REGION, UNIT, extent, identity, options};

pub(super) const FILE: &str = "/disk.vhdx";
pub(super) const DATA_AT: u64 = 4096;
pub(super) const SECTOR: usize = 512;

/// Where the guest writes: first and last sectors, neighbours in a unit, in a region, in a sector of counters.
const PLACES: [u64; 10] = [
    0,
    512,
    UNIT,
    REGION - 512,
    5 * REGION,
    5 * REGION + UNIT,
    59 * REGION,
    60 * REGION,
    61 * REGION + 2048,
    69 * REGION,
];

/// What a guest and its host do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Begins, lands and ends.
    Write(usize),
    Begin(usize),
    /// The bytes of the oldest write in flight land.
    Land,
    End,
    SyncDisk,
    Seal,
    /// A seal during which the bytes of the oldest write in flight land.
    SealLanding,
    Flush,
    /// Forgets the oldest (0) or the newest (1) id.
    Forget(usize),
    /// The disk's file gets another stamp.
    Restamp,
    /// As that, and nothing makes it durable yet.
    Stamp,
    /// A clean stop, and on.
    Reopen,
    /// A crash of the process, without a loss of power, and on.
    Crash,
    /// One call on the `.mrt` file fails, after some others.
    FailMrt(Call, u64),
    /// One call on the `.rct` file fails.
    FailRct(Call, u64),
}

impl Step {
    /// Steps as letters, each with a number where it needs one: Write, Begin, Land, End, S(eal), Z (seal and land), Flush, G (forget),
    /// R(estamp), T (the same unsynced), O (reopen), X (crash), Y (sync of the disk), and `mS0`, `rW1`: the `.mrt` file's next sync, the
    /// `.rct` file's second write from now fails.
    pub fn parse(text: &str) -> Vec<Self> {
        text.split_whitespace().map(Self::parse_one).collect()
    }

    fn parse_one(word: &str) -> Self {
        let (letters, number) = match word.find(|c: char| c.is_ascii_digit()) {
            Some(at) => (&word[..at], word[at..].parse().unwrap()),
            None => (word, 0),
        };
        match letters {
            "W" => Self::Write(number),
            "B" => Self::Begin(number),
            "L" => Self::Land,
            "E" => Self::End,
            "S" => Self::Seal,
            "Z" => Self::SealLanding,
            "F" => Self::Flush,
            "G" => Self::Forget(number),
            "R" => Self::Restamp,
            "T" => Self::Stamp,
            "O" => Self::Reopen,
            "X" => Self::Crash,
            "Y" => Self::SyncDisk,
            "mS" => Self::FailMrt(Call::Sync, number as u64),
            "mW" => Self::FailMrt(Call::Write, number as u64),
            "rS" => Self::FailRct(Call::Sync, number as u64),
            "rW" => Self::FailRct(Call::Write, number as u64),
            other => panic!("no step: {other}"),
        }
    }
}

pub(super) type Contents = BTreeMap<u64, [u8; SECTOR]>;

struct Guest {
    files: SimFiles,
    file: Arc<dyn DiskFile>,
    tracker: Option<Tracker>,
    session: u8,
    counter: u32,
    stamp: u8,
    writes: u8,
    in_flight: Vec<(Ticket, Extent)>,
    contents: Contents,
    log: Log,
}

fn session(number: u8) -> [u8; 16] {
    [number; 16]
}

fn stamp(number: u8) -> Stamp {
    Stamp([number; 32])
}

pub(super) fn open(files: &SimFiles, found: Stamp, new: [u8; 16]) -> hypercbt_rct::Result<Tracker> {
    let disk = Path::new(FILE);
    Tracker::open(
        Arc::new(files.clone()),
        disk,
        &identity(),
        found,
        &options(),
        new,
    )
}

pub(super) fn place(number: usize) -> Extent {
    let start = PLACES[number % PLACES.len()];
    extent(start, (start + 512).min(DISK))
}

impl Guest {
    fn new() -> Self {
        let files = SimFiles::new();
        let file = files.create_new(Path::new(FILE)).unwrap();
        file.set_len(ByteLen(DATA_AT + 70 * REGION)).unwrap();
        file.write_all_at(&[1; SECTOR], FileOffset(0)).unwrap();
        file.sync().unwrap();
        files.sync_folder(Path::new("/")).unwrap();
        let disk = Path::new(FILE);
        let tracker = Tracker::create(
            Arc::new(files.clone()),
            disk,
            &identity(),
            stamp(1),
            &options(),
            session(1),
        );
        let contents = PLACES.map(|at| (at, [0; SECTOR]));
        Self {
            file,
            tracker: Some(tracker.unwrap()),
            session: 1,
            counter: 0,
            stamp: 1,
            writes: 0,
            in_flight: Vec::new(),
            contents: contents.into(),
            log: Log {
                history: files.history(),
                created: files.ops(),
                sealed: Vec::new(),
                touches: Vec::new(),
                flushed: Vec::new(),
                coarse: Vec::new(),
                is_fine: true,
            },
            files,
        }
    }

    fn tracker(&self) -> &Tracker {
        self.tracker.as_ref().unwrap()
    }

    fn begin(&mut self, extent: Extent) {
        let at = self.files.ops();
        // Where it fails the guest does not write.
        if let Ok(ticket) = self.tracker().write_begins(extent) {
            self.in_flight.push((ticket, extent));
        }
        let marked = self.files.ops();
        self.log.touches.push(Touch { at, marked, extent });
    }

    fn land(&mut self, number: usize) {
        let Some((_, extent)) = self.in_flight.get(number) else {
            return;
        };
        self.writes = self.writes.wrapping_add(1).max(1);
        let bytes = [self.writes; SECTOR];
        let at = extent.start().0;
        self.file
            .write_all_at(&bytes, FileOffset(DATA_AT + at))
            .unwrap();
        self.contents.insert(at, bytes);
    }

    fn end(&mut self, number: usize) {
        if number < self.in_flight.len() {
            let (ticket, _) = self.in_flight.remove(number);
            self.tracker().write_ends(ticket);
        }
    }

    /// As a freeze does: what was written is durable first.
    fn seal(&mut self, lands: bool) {
        self.file.sync().unwrap();
        if lands {
            self.land(0);
        }
        self.counter += 1;
        let session = format!("{:02x}", self.session);
        let text = [4, 2, 2, 2, 6].map(|bytes| session.repeat(bytes)).join(":");
        let id = format!("rctX:{text}:{:08x}", self.counter);
        let mut sealed = Sealed {
            id: id.parse().unwrap(),
            done: None,
            contents: self.contents.clone(),
            touches: self.log.touches.len(),
            forgotten: None,
        };
        let at = self.files.ops();
        if let Ok(id) = self.tracker().seal() {
            let counter = id.to_string().split_off(42);
            self.counter = u32::from_str_radix(&counter, 16).unwrap();
            // A seal that failed early has used up no id.
            self.log.sealed.retain(|failed| failed.id != id);
            sealed.id = id;
            sealed.done = Some(self.files.ops());
        }
        // What is in flight is touched again, in the epoch that begins.
        let marked = self.files.ops();
        let again = self.in_flight.iter();
        let again = again.map(|&(_, extent)| Touch { at, marked, extent });
        self.log.touches.extend(again);
        self.log.sealed.push(sealed);
    }

    fn flush(&mut self) {
        let begun = self.log.touches.len();
        if self.tracker().flush().is_ok() {
            self.log.flushed.push((self.files.ops(), begun));
        }
    }

    fn forget(&mut self, newest: usize) {
        let tracker = self.tracker.as_ref().unwrap();
        let ids = tracker.ids();
        let id = if newest == 0 { ids.first() } else { ids.last() };
        let Some(id) = id else { return };
        let called = self.files.ops();
        let forgotten = tracker.forget(id);
        let done = if forgotten.is_ok() {
            self.files.ops()
        } else {
            usize::MAX
        };
        let sealed = self.log.sealed.iter_mut().find(|sealed| sealed.id == *id);
        let sealed = sealed.unwrap();
        // From the first time that it was asked for: a call that fails half-way may have forgotten the id.
        let called = sealed.forgotten.map_or(called, |(first, _)| first);
        sealed.forgotten = Some((called, done));
    }

    /// Writes a new stamp into the disk's file, announced before.
    fn new_stamp(&mut self) -> Option<Stamp> {
        let coming = stamp(self.stamp + 1);
        self.tracker().expect(coming).ok()?;
        self.stamp += 1;
        self.file
            .write_all_at(&[self.stamp; SECTOR], FileOffset(0))
            .unwrap();
        Some(coming)
    }

    fn restamp(&mut self) {
        if self.new_stamp().is_some() {
            self.file.sync().unwrap();
            // It may fail: both stamps are accepted then.
            let _ = self.tracker().settle();
        }
    }

    /// The disk that it finds is the one that it left, so it must be tracked.
    fn reopen(&mut self, is_clean: bool) -> Result<(), String> {
        self.in_flight.clear();
        let touched = self.log.touches.len();
        let last = if is_clean { self.new_stamp() } else { None };
        let tracker = self.tracker.take().unwrap();
        if let Some(last) = last {
            self.file.sync().unwrap();
            if tracker.close(last).is_ok() {
                self.log.flushed.push((self.files.ops(), touched));
            }
        } else {
            drop(tracker);
            let flushed = self.log.flushed.last().map_or(0, |(_, touches)| *touches);
            self.log.coarse.push(flushed..touched);
        }
        self.session += 1;
        self.files.mend();
        let opened = open(&self.files, stamp(self.stamp), session(self.session));
        self.tracker = Some(opened.map_err(|error| chain(&error))?);
        Ok(())
    }

    fn fail(&mut self, suffix: &str, call: Call, after: u64) {
        self.log.is_fine = false;
        self.files.fail(Fault {
            call,
            // Each file is opened under the name that it has before it is whole.
            path: Some(format!("{FILE}{suffix}.{}.new", "01".repeat(16)).into()),
            after,
            times: 1,
            error: std::io::ErrorKind::Other,
        });
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Write(number) => {
                self.begin(place(number));
                let last = self.in_flight.len().wrapping_sub(1);
                // Only what this step began: a refused write began nothing.
                if self
                    .in_flight
                    .last()
                    .is_some_and(|(_, own)| *own == place(number))
                {
                    self.land(last);
                    self.end(last);
                }
            }
            Step::Begin(number) => self.begin(place(number)),
            Step::Land => self.land(0),
            Step::End => self.end(0),
            Step::SyncDisk => self.file.sync().unwrap(),
            Step::Seal => self.seal(false),
            Step::SealLanding => self.seal(true),
            Step::Flush => self.flush(),
            Step::Forget(newest) => self.forget(newest),
            Step::Restamp => self.restamp(),
            Step::Stamp => {
                // It may be refused: the file keeps its stamp then.
                let _ = self.new_stamp();
            }
            Step::Reopen => self.reopen(true)?,
            Step::Crash => self.reopen(false)?,
            Step::FailMrt(call, after) => self.fail(".mrt", call, after),
            Step::FailRct(call, after) => self.fail(".rct", call, after),
        }
        Ok(())
    }
}

/// Does it all, and says what happened.
///
/// # Errors
/// Why a host that stopped or crashed, without a cut, could not go on.
pub fn run(steps: &[Step]) -> Result<Log, String> {
    let mut guest = Guest::new();
    for step in steps {
        guest.step(*step)?;
    }
    guest.log.history = guest.files.history();
    Ok(guest.log)
}
