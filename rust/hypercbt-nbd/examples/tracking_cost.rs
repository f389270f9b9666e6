//! The server that `benches/tracking.py` measures: one fixed VHDX over NBD, with a tracker or without.
//!
//! ```text
//! tracking_cost create|tracked|untracked FILE [SIZE | SOCKET]
//! ```
//!
//! Standard input has one command a line, each answered by one line of JSON: `seal`, `write-back`,
//! `stats` and `changes ID` for a tracked disk, `stop` for both. It is an example and not a part of the command line,
//! because nobody but a measurement wants a disk that is written without its tracker.

use std::{
    error::Error,
    io::{self, BufRead, Write},
    path::Path,
    sync::Arc,
    thread,
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_file::LocalFiles;
use hypercbt_nbd::{Address, Content, Export, Server, Stop};
use hypercbt_tracked::{TrackedDisk, TrackedOptions};
use hypercbt_vhdx::{
    Guid, Guids, NewKind, NewVhdx, OpenOptions, Opening, Place, Segment, VhdxOptions, WritableVhdx,
    create_vhdx,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What is served.
#[expect(clippy::large_enum_variant, reason = "there is only ever one")]
enum Disk {
    Tracked(TrackedDisk),
    Untracked(WritableVhdx),
}

impl Export for Disk {
    fn size(&self) -> ByteLen {
        match self {
            Self::Tracked(disk) => disk.size(),
            Self::Untracked(disk) => disk.size(),
        }
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn block_bytes(&self) -> ByteLen {
        ByteLen(512)
    }

    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Tracked(disk) => disk.read_at(at, buf).map_err(io::Error::other),
            Self::Untracked(disk) => disk.read_at(at, buf).map_err(io::Error::other),
        }
    }

    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tracked(disk) => disk.write_at(at, bytes).map_err(io::Error::other),
            Self::Untracked(disk) => disk.write_at(at, bytes).map_err(io::Error::other),
        }
    }

    fn zero(&self, extent: Extent, _may_unmap: bool) -> io::Result<()> {
        match self {
            Self::Tracked(disk) => disk.zero(extent).map_err(io::Error::other),
            Self::Untracked(disk) => disk.zero(extent).map_err(io::Error::other),
        }
    }

    fn unmap(&self, extent: Extent) -> io::Result<()> {
        match self {
            Self::Tracked(disk) => disk.unmap(extent).map_err(io::Error::other),
            Self::Untracked(disk) => disk.unmap(extent).map_err(io::Error::other),
        }
    }

    fn flush(&self) -> io::Result<()> {
        match self {
            Self::Tracked(disk) => disk.flush().map_err(io::Error::other),
            Self::Untracked(disk) => disk.flush().map_err(io::Error::other),
        }
    }

    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
        let segments = match self {
            Self::Tracked(disk) => disk.segments(extent).map_err(io::Error::other),
            Self::Untracked(disk) => disk.segments(extent).map_err(io::Error::other),
        }?;
        Ok(segments.iter().map(content).collect())
    }
}

fn content(segment: &Segment) -> (Extent, Content) {
    let content = match segment.place {
        Place::Data { .. } => Content::Data,
        Place::Zero => Content::Zero,
    };
    (segment.extent, content)
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, file, last] = words.as_slice() else {
        return Err("tracking_cost create|tracked|untracked FILE SIZE|SOCKET".into());
    };
    let file = Path::new(file);
    match what.as_str() {
        "create" => create(file, ByteLen(last.parse()?)),
        "tracked" => serve(&Disk::Tracked(tracked(file)?), last),
        "untracked" => serve(&Disk::Untracked(untracked(file)?), last),
        _ => Err("create, tracked or untracked?".into()),
    }
}

fn create(file: &Path, size: ByteLen) -> Result<()> {
    let options = VhdxOptions {
        size,
        block_bytes: 32 << 20,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        disk_id: guid()?,
        file_write_guid: guid()?,
        data_write_guid: guid()?,
    };
    let kind = NewKind::Fixed;
    Ok(create_vhdx(&LocalFiles, file, &NewVhdx { kind, options })?)
}

fn tracked(file: &Path) -> Result<TrackedDisk> {
    let random = Box::new(|| random().expect("the system has random bytes"));
    Ok(TrackedDisk::open(
        Arc::new(LocalFiles),
        file,
        &TrackedOptions::default(),
        random,
    )?)
}

fn untracked(file: &Path) -> Result<WritableVhdx> {
    let opening = Opening::new(Arc::new(LocalFiles), file, &OpenOptions::default())?;
    Ok(opening.begin(&Guids {
        file_write: guid()?,
        data_write: guid()?,
        log: guid()?,
    })?)
}

fn guid() -> Result<Guid> {
    Ok(Guid(random()?))
}

fn random() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Serves until it is told to stop. The disk is not closed: a measurement throws it away.
fn serve(disk: &Disk, socket: &str) -> Result<()> {
    let server = Server::bind(&Address::Unix(socket.into()))?;
    let stop = Stop::new()?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(disk, &stop));
        let obeyed = obey(disk);
        stop.stop();
        let done = serving.join().expect("the server does not panic")?;
        obeyed?;
        answer(&format!(
            r#"{{"requests":{},"failed":{}}}"#,
            done.requests, done.failed_requests
        ))
    })
}

fn obey(disk: &Disk) -> Result<()> {
    answer(r#"{"ready":true}"#)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "stop" {
            return Ok(());
        }
        let Disk::Tracked(disk) = disk else {
            return Err(format!("{line}: there is no tracker").into());
        };
        answer(&command(disk, &line)?)?;
    }
    Ok(())
}

fn command(disk: &TrackedDisk, line: &str) -> Result<String> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("seal", _) => Ok(format!(r#"{{"id":"{}"}}"#, disk.seal()?)),
        ("write-back", _) => disk
            .flush_tracking()
            .map(|()| "{}".to_owned())
            .map_err(Into::into),
        ("stats", _) => {
            let stats = disk.tracking_stats()?;
            Ok(format!(
                r#"{{"first_touches":{},"mark_syncs":{},"marks_written":{}}}"#,
                stats.first_touches, stats.mark_syncs, stats.marks_written
            ))
        }
        ("changes", id) => {
            let changes = disk.changes_since(&id.parse()?)?;
            let pairs: Vec<String> = changes
                .iter()
                .map(|extent| format!("[{},{}]", extent.start().0, extent.len().0))
                .collect();
            Ok(format!(r#"{{"changes":[{}]}}"#, pairs.join(",")))
        }
        _ => Err(format!("{line:?} is no command").into()),
    }
}

fn answer(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
