//! Files whose `.mrt` syncs wait at a gate, so that a test decides who waits with whom.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use hypercbt_extent::ByteLen;
use hypercbt_file::{DiskFile, Entry, FileOffset, FileSystem, ReadAt};
use hypercbt_powercut::SimFiles;

#[derive(Debug, Default)]
struct Gate {
    /// Syncs may pass.
    open: bool,
    /// So many may pass though it is closed.
    passes: u64,
    /// Syncs that wait now.
    waiting: usize,
    /// Syncs of the `.mrt` file that began since the gate is there.
    syncs: u64,
    /// What the next syncs return.
    fails: u64,
}

/// A file system with a gate before each sync of a `.mrt` file.
#[derive(Debug, Clone)]
pub struct GatedFiles {
    pub files: SimFiles,
    /// What is opened for writing in the place of what.
    instead: Arc<Mutex<Option<(PathBuf, PathBuf)>>>,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Option<Arc<(Mutex<Gate>, Condvar)>>,
}

impl GatedFiles {
    /// The gate is open.
    pub fn new() -> Self {
        Self::over(SimFiles::new())
    }

    /// The same, before files that are there.
    pub fn over(files: SimFiles) -> Self {
        let gate = Gate {
            open: true,
            ..Gate::default()
        };
        Self {
            files,
            instead: Arc::default(),
            gate: Arc::new((Mutex::new(gate), Condvar::new())),
        }
    }

    /// As if this name was looked up before another file took it.
    pub fn open_instead(&self, path: &Path, old: &Path) {
        *self.instead.lock().unwrap() = Some((path.into(), old.into()));
    }

    pub fn close(&self) {
        self.gate.0.lock().unwrap().open = false;
    }

    pub fn open(&self) {
        self.gate.0.lock().unwrap().open = true;
        self.gate.1.notify_all();
    }

    /// One of those that wait passes; returns when the next one waits.
    pub fn let_one_pass(&self) {
        let mut gate = self.gate.0.lock().unwrap();
        let next = gate.syncs + 1;
        gate.passes += 1;
        self.gate.1.notify_all();
        while gate.syncs < next {
            gate = self.gate.1.wait(gate).unwrap();
        }
    }

    /// The next syncs fail, so many.
    pub fn fail(&self, times: u64) {
        self.gate.0.lock().unwrap().fails = times;
    }

    pub fn syncs(&self) -> u64 {
        self.gate.0.lock().unwrap().syncs
    }

    /// Returns when a sync waits at the gate.
    pub fn await_a_sync(&self) {
        let mut gate = self.gate.0.lock().unwrap();
        while gate.waiting == 0 {
            gate = self.gate.1.wait(gate).unwrap();
        }
    }

    fn gated(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let is_mrt = path.to_string_lossy().contains(".mrt");
        let gate = is_mrt.then(|| Arc::clone(&self.gate));
        Arc::new(GatedFile { file, gate })
    }
}

impl ReadAt for GatedFile {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    fn len(&self) -> io::Result<ByteLen> {
        self.file.len()
    }
}

impl DiskFile for GatedFile {
    fn write_all_at(&self, bytes: &[u8], at: FileOffset) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn set_len(&self, len: ByteLen) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        if let Some((gate, moved)) = self.gate.as_deref() {
            let mut gate = gate.lock().unwrap();
            gate.syncs += 1;
            gate.waiting += 1;
            moved.notify_all();
            while !gate.open && gate.passes == 0 {
                gate = moved.wait(gate).unwrap();
            }
            if !gate.open {
                gate.passes -= 1;
            }
            gate.waiting -= 1;
            if gate.fails > 0 {
                gate.fails -= 1;
                return Err(io::ErrorKind::Other.into());
            }
        }
        self.file.sync()
    }
}

impl FileSystem for GatedFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.files.create_new(path)?))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let instead = self.instead.lock().unwrap();
        let found = match &*instead {
            Some((name, old)) if name == path => old,
            _ => path,
        };
        Ok(self.gated(path, self.files.open_to_write(found)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.files.open_to_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.files.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.files.sync_folder(path)
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        self.files.entry(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.files.list(path)
    }
}
