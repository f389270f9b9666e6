//! What was done to a disk, when each of it was promised to last, and what may therefore be found after a cut.

use std::path::Path;

use hypercbt_extent::DiskOffset;
use hypercbt_powercut::{History, SimFiles};
use hypercbt_vhdx::WritableVhdx;

use crate::support::{Disk, PATH, begin, extent, gather, guids, opening, read_watched};

/// What a sector of 512 bytes was made to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// All bytes alike: zeros, or what the parent holds.
    Plain(u8),
    /// The number of the sector, and then all bytes alike: a sector in the wrong place is no other one.
    Mark(u8),
}

#[derive(Debug, Clone, Copy)]
struct Version {
    value: Value,
    /// How many operations there were when the guest asked for it.
    begun: usize,
    /// After how many it was promised to last.
    durable: usize,
}

/// One stretch from opening to closing.
#[derive(Debug)]
struct Session {
    begun: usize,
    data_write: [u8; 16],
    /// The `FileWriteGuid` before it.
    file_write_before: [u8; 16],
    file_before: Vec<u8>,
}

/// The file system and all that was promised.
pub(crate) struct Story {
    pub(crate) name: String,
    pub(crate) history: History,
    /// The stretches of the disk that are looked at, and their sectors, one after the other.
    pub(crate) watched: Vec<(u64, u64)>,
    sectors: Vec<Vec<Version>>,
    sessions: Vec<Session>,
    looks: std::cell::Cell<u64>,
}

const SECTOR: usize = 512;
/// The two slots of the headers, which change first.
const HEADERS: std::ops::Range<usize> = 64 << 10..192 << 10;

/// A disk that is being written, and the notes about it.
pub(crate) struct Teller {
    files: SimFiles,
    watched: Vec<(u64, u64)>,
    open: Option<WritableVhdx>,
    sectors: Vec<Vec<Version>>,
    pending: Vec<usize>,
    sessions: Vec<Session>,
    mark: u8,
}

/// The numbers of all sectors of these stretches.
fn numbers(watched: &[(u64, u64)]) -> impl Iterator<Item = u64> {
    let sectors = |(at, len): &(u64, u64)| at / SECTOR as u64..(at + len) / SECTOR as u64;
    watched.iter().flat_map(sectors)
}

impl Teller {
    /// A new machine with the disk on it.
    pub(crate) fn new(disk: Disk) -> Self {
        let (files, content) = disk.build();
        let first = |sector: &[u8]| {
            vec![Version {
                value: Value::Plain(sector[0]),
                begun: 0,
                durable: 0,
            }]
        };
        let watched = disk.watched();
        let stretches = watched
            .iter()
            .map(|(at, len)| *at as usize..(at + len) as usize);
        let sectors = stretches.flat_map(|range| content[range].chunks(SECTOR).map(first));
        let sectors = sectors.collect();
        let mut teller = Self {
            files,
            watched,
            open: None,
            sectors,
            pending: Vec::new(),
            sessions: Vec::new(),
            mark: 0,
        };
        teller.begin();
        teller
    }

    fn begin(&mut self) {
        let number = self.sessions.len() as u64 + 1;
        let stamp = opening(&self.files).unwrap().stamp();
        self.sessions.push(Session {
            begun: self.files.ops(),
            data_write: guids(number).data_write.0,
            file_write_before: stamp[..16].try_into().unwrap(),
            file_before: self.files.now().read(Path::new(PATH)).unwrap(),
        });
        self.open = Some(begin(&self.files, number));
    }

    fn note(&mut self, range: (u64, u64), begun: usize, value: Value) {
        let first = range.0 / SECTOR as u64;
        let last = first + range.1 / SECTOR as u64;
        for (place, number) in numbers(&self.watched).enumerate() {
            if (first..last).contains(&number) {
                self.sectors[place].push(Version {
                    value,
                    begun,
                    durable: usize::MAX,
                });
                self.pending.push(place);
            }
        }
    }

    pub(crate) fn write(&mut self, at: u64, len: u64) {
        self.mark = self.mark % 200 + 1;
        let mut bytes = vec![self.mark; len as usize];
        for (number, sector) in (at / SECTOR as u64..).zip(bytes.chunks_mut(SECTOR)) {
            sector[..8].copy_from_slice(&number.to_le_bytes());
        }
        self.note((at, len), self.files.ops(), Value::Mark(self.mark));
        let open = self.open.as_ref().unwrap();
        open.write_at(DiskOffset(at), &bytes).unwrap();
    }

    pub(crate) fn zero(&mut self, at: u64, len: u64) {
        self.note((at, len), self.files.ops(), Value::Plain(0));
        self.open.as_ref().unwrap().zero(extent(at, len)).unwrap();
    }

    /// Whole blocks of a disk that is not fixed.
    pub(crate) fn unmap(&mut self, at: u64, len: u64) {
        self.note((at, len), self.files.ops(), Value::Plain(0));
        self.open.as_ref().unwrap().unmap(extent(at, len)).unwrap();
    }

    pub(crate) fn flush(&mut self) {
        self.open.as_ref().unwrap().flush().unwrap();
        self.settled();
    }

    fn settled(&mut self) {
        let now = self.files.ops();
        for sector in std::mem::take(&mut self.pending) {
            for version in &mut self.sectors[sector] {
                version.durable = version.durable.min(now);
            }
        }
    }

    /// Closes the disk properly and opens it again.
    pub(crate) fn close(&mut self) {
        let number = self.sessions.len() as u64 + 1000;
        let open = self.open.take().unwrap();
        open.close(guids(number).file_write).unwrap();
        self.settled();
        self.begin();
    }

    /// Goes away without closing, and opens the disk again.
    pub(crate) fn crash(&mut self) {
        self.flush();
        self.open = None;
        self.begin();
    }

    /// The end: the disk is closed.
    pub(crate) fn end(mut self, name: &str) -> Story {
        let open = self.open.take().unwrap();
        open.close(guids(5000).file_write).unwrap();
        self.settled();
        Story {
            name: name.to_owned(),
            history: self.files.history(),
            watched: self.watched,
            sectors: self.sectors,
            sessions: self.sessions,
            looks: std::cell::Cell::new(0),
        }
    }
}

impl Story {
    /// Starts a machine after a cut, looks at what is there, recovers it, and looks again.
    pub(crate) fn recover(&self, at: usize, files: &SimFiles) -> Result<(), String> {
        let look = self.looks.get() + 1;
        self.looks.set(look);
        let found =
            read_watched(files, &self.watched).map_err(|error| format!("only read: {error}"))?;
        let opening = opening(files).map_err(|error| format!("opened: {error}"))?;
        self.check_stamp(at, &opening.stamp(), files)?;
        self.check(at, &found, &opening.stamp())?;
        let disk = opening
            .begin(&guids(10_000 + look))
            .map_err(|error| format!("begun: {error}"))?;
        let recovered = gather(&self.watched, |at, buf| disk.read_at(at, buf));
        let recovered = recovered.map_err(|error| format!("read: {error}"))?;
        if recovered != found {
            return Err("the recovered disk is another than the one that was read".into());
        }
        let closed = disk.close(guids(20_000 + look).file_write);
        closed.map_err(|error| format!("closed: {error}"))?;
        if !look.is_multiple_of(8) {
            return Ok(());
        }
        if read_watched(files, &self.watched).map_err(|error| error.to_string())? != found {
            return Err("the closed disk is another than the one that was open".into());
        }
        self.go_on(&SimFiles::from_state(&files.now()), found)
    }

    /// The disk can be used again: new blocks meet no old ones.
    fn go_on(&self, files: &SimFiles, mut model: Vec<u8>) -> Result<(), String> {
        let disk = begin(files, 30_000 + self.looks.get());
        let bytes = vec![0xEE; 4096];
        let mut before = 0;
        for (start, len) in &self.watched {
            let written = disk.write_at(DiskOffset(start + 4096), &bytes);
            written.map_err(|error| format!("written again: {error}"))?;
            model[before + 4096..][..4096].copy_from_slice(&bytes);
            before += *len as usize;
        }
        disk.flush().map_err(|error| error.to_string())?;
        drop(disk);
        if read_watched(files, &self.watched).map_err(|error| error.to_string())? != model {
            return Err("writes after the recovery went astray".into());
        }
        Ok(())
    }

    fn session(&self, at: usize) -> Option<&Session> {
        self.sessions.iter().rfind(|session| session.begun < at)
    }

    /// MS-VHDX 2.2.2: `FileWriteGuid` changes before any other byte does.
    fn check_stamp(&self, at: usize, stamp: &[u8; 32], files: &SimFiles) -> Result<(), String> {
        let Some(session) = self.session(at) else {
            return Ok(());
        };
        if stamp[..16] != session.file_write_before {
            return Ok(());
        }
        let found = files.now().read(Path::new(PATH)).unwrap();
        let before = &session.file_before;
        let same = found.len() == before.len()
            && found[..HEADERS.start] == before[..HEADERS.start]
            && found[HEADERS.end..] == before[HEADERS.end..];
        if same {
            return Ok(());
        }
        Err("the file changed, and FileWriteGuid did not".into())
    }

    /// Each sector holds what was last promised or something later; and nothing of a session that has not set its
    /// `DataWriteGuid` yet (MS-VHDX 2.2.2).
    fn check(&self, at: usize, found: &[u8], stamp: &[u8; 32]) -> Result<(), String> {
        let session = self.session(at);
        let is_named = session.is_none_or(|session| stamp[16..] == session.data_write);
        let before = session.map_or(usize::MAX, |session| session.begun);
        let table: Vec<[u8; SECTOR]> = (0..=255).map(|byte| [byte; SECTOR]).collect();
        let sectors = numbers(&self.watched).zip(&self.sectors);
        for ((number, versions), bytes) in sectors.zip(found.chunks(SECTOR)) {
            let floor = versions.iter().rposition(|version| version.durable <= at);
            let allowed = versions[floor.unwrap_or(0)..].iter().filter(|version| {
                version.begun <= at && (is_named || version.begun <= before || version.durable == 0)
            });
            let mut allowed = allowed.peekable();
            if allowed.peek().is_none() {
                return Err(format!("sector {number}: DataWriteGuid is that of before"));
            }
            let fits = allowed.clone().any(|version| match version.value {
                Value::Plain(byte) => bytes == table[usize::from(byte)],
                Value::Mark(mark) => {
                    bytes[..8] == number.to_le_bytes()
                        && bytes[8..] == table[usize::from(mark)][8..]
                }
            });
            if !fits {
                let allowed: Vec<Value> = allowed.map(|version| version.value).collect();
                let bytes = &bytes[..12];
                return Err(format!("sector {number} holds {bytes:?} of {allowed:?}"));
            }
        }
        Ok(())
    }
}
