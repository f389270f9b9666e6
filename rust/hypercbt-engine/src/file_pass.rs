//! Storing a file of a machine's configuration: cut into chunks and hung in a tree, as a disk is.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use hypercbt_repo::{NodeId, Run, codec, tree::TreeBuilder};

use crate::{
    Error, Observer, Phase, Progress, Result, allocation::Grid, job::JOB_BYTES, stop::Stop, store,
};

/// Stores the whole file, and returns its length and the root of its tree.
///
/// # Errors
/// [`Error::FileChanged`] if somebody writes to it meanwhile.
pub(crate) fn store(
    run: &Run,
    chunk_bytes: u32,
    level: i32,
    path: &Path,
    observer: &mut dyn Observer,
) -> Result<(u64, Option<NodeId>)> {
    let mut source = Source::open(path)?;
    let grid = Grid {
        disk_bytes: source.before.len(),
        chunk_bytes: u64::from(chunk_bytes),
    };
    let mut sink = run;
    let mut builder = TreeBuilder::new(None, grid.chunks(), run, &mut sink)?;
    let mut encoder = codec::Encoder::new(level);
    let chunk_len = usize::try_from(chunk_bytes).expect("a chunk fits in memory");
    let step = (JOB_BYTES / grid.chunk_bytes).max(1);
    let mut next = 0;
    while next < grid.chunks() {
        let chunks = next..(next + step).min(grid.chunks());
        let mut buffer = source.read(grid.bytes(&chunks))?;
        buffer.resize(buffer.len().next_multiple_of(chunk_len), 0);
        let mut stored = Vec::new();
        for (chunk, plain) in chunks.clone().zip(buffer.chunks_exact(chunk_len)) {
            let id = (!codec::is_zero(plain)).then(|| codec::chunk_id(plain));
            stored.extend(id.map(|id| (id, plain)));
            builder.set(chunk, id)?;
        }
        store::unknown(run, &stored, &mut encoder, &Stop::default())?;
        next = chunks.end;
        let progress = Progress {
            phase: Phase::Backup,
            done_bytes: grid.bytes(&(0..next)),
            total_bytes: grid.disk_bytes,
        };
        if observer.progress(progress).is_break() {
            return Err(Error::Cancelled);
        }
    }
    let root = builder.finish()?;
    source.check_unchanged()?;
    Ok((grid.disk_bytes, root))
}

/// A file that must stay as it is while it is read.
struct Source {
    file: File,
    path: PathBuf,
    before: Metadata,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let failed = |action| move |source| failed(action, path, source);
        let file = File::open(path).map_err(failed("open"))?;
        let before = file.metadata().map_err(failed("read"))?;
        if !before.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(failed("read")(source));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            before,
        })
    }

    fn read(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(len).expect("a few chunks fit in memory")];
        match self.file.read_exact(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.changed()),
            Err(error) => Err(failed("read", &self.path, error)),
            Ok(()) => Ok(buffer),
        }
    }

    fn check_unchanged(&self) -> Result<()> {
        let facts = |metadata: &Metadata| Ok((metadata.len(), metadata.modified()?));
        let now = self.file.metadata().and_then(|now| facts(&now));
        let same = now.and_then(|now| Ok(now == facts(&self.before)?));
        match same {
            Err(error) => Err(failed("read", &self.path, error)),
            Ok(false) => Err(self.changed()),
            Ok(true) => Ok(()),
        }
    }

    fn changed(&self) -> Error {
        Error::FileChanged {
            path: self.path.clone(),
        }
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}
