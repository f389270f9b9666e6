//! The machine: a file system in memory that records what is done to it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hypercbt_extent::ByteLen;
use hypercbt_file::{DiskFile, Entry, FileSystem, ReadAt};

use crate::fault::{Call, Fault, Faults};
use crate::handle::{Handle, Writer};
use crate::history::{History, KEPT_EVERY};
use crate::name::{Name, normal};
use crate::state::State;
use crate::volume::{FileId, Names, Node, Op, Volume};

/// Files in memory that remember what was done to them. A clone is the same machine.
///
/// Paths begin at `/`, relative ones too. Renaming and removing is for files, not for folders.
#[derive(Debug, Clone)]
pub struct SimFiles {
    machine: Arc<Mutex<Machine>>,
    /// The process that sees the machine through this is killed after so many operations.
    killed_after: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) volume: Volume,
    history: History,
    pub(crate) locks: BTreeSet<FileId>,
    pub(crate) faults: Faults,
}

impl Default for SimFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl SimFiles {
    /// An empty disk: the folder `/`.
    pub fn new() -> Self {
        let root = (Name::new(Path::new("/")), Node::Folder);
        let names = Arc::new(Names::from([root]));
        Self::on(Volume::new(names, &[]))
    }

    /// The machine starts again after a cut: everything is durable that is there, nothing is locked.
    pub fn from_state(state: &State) -> Self {
        Self::on(Volume::new(Arc::clone(&state.names), &state.contents))
    }

    fn on(volume: Volume) -> Self {
        let history = History {
            ops: Arc::default(),
            kept: Arc::new(vec![volume.clone()]),
            first: 0,
            promises: Arc::default(),
        };
        let machine = Machine {
            volume,
            history,
            locks: BTreeSet::new(),
            faults: Faults::default(),
        };
        Self {
            machine: Arc::new(Mutex::new(machine)),
            killed_after: None,
        }
    }

    /// The same machine for a process that is killed when `ops` operations were recorded: from then on nothing
    /// happens that it asks for, and all its calls fail. What it has written stays, unsynced, until power goes.
    /// Its locks go when its files are dropped.
    #[must_use]
    pub fn killed_after(&self, ops: usize) -> Self {
        Self {
            machine: Arc::clone(&self.machine),
            killed_after: Some(ops),
        }
    }

    /// From now on some calls fail.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// From now on no call fails any more.
    pub fn mend(&self) {
        self.lock().faults.clear();
    }

    /// How many operations were recorded: after each, power may go.
    pub fn ops(&self) -> usize {
        self.lock().history.len()
    }

    /// What was done so far.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// What a clean stop leaves: everything that was written.
    pub fn now(&self) -> State {
        let machine = self.lock();
        let files = machine.volume.files.iter();
        State {
            names: Arc::clone(&machine.volume.names),
            contents: files.map(|file| Arc::clone(&file.seen)).collect(),
        }
    }

    /// The machine, for a process that has not been killed.
    pub(crate) fn alive(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.lock();
        if self.killed_after.is_some_and(|ops| machine.ops() >= ops) {
            return Err(io::Error::other("the process was killed"));
        }
        Ok(machine)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    /// Does something, and records it.
    pub(crate) fn perform(&mut self, op: Op) {
        let number = self.history.len();
        if number > 0 && number.is_multiple_of(KEPT_EVERY) {
            Arc::make_mut(&mut self.history.kept).push(self.volume.clone());
        }
        self.volume.apply(number, &op);
        Arc::make_mut(&mut self.history.ops).push(op);
    }

    pub(crate) fn ops(&self) -> usize {
        self.history.len()
    }

    fn node(&self, path: &OsStr) -> io::Result<Node> {
        let node = self.volume.names.get(path).copied();
        node.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &OsStr) -> io::Result<FileId> {
        match self.node(path)? {
            Node::File(file) => Ok(file),
            Node::Folder => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn entry(&self, name: &Name, node: Node) -> Entry {
        Entry {
            name: name.last(),
            is_folder: node == Node::Folder,
            len: ByteLen(match node {
                Node::File(file) => self.volume.file(file).seen.len(),
                Node::Folder => 0,
            }),
        }
    }

    /// Refuses a name that is taken, or whose folder is not there.
    fn free(&self, name: &Name) -> io::Result<()> {
        self.in_folder(name)?;
        match self.node(std::borrow::Borrow::borrow(name)) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(()),
        }
    }

    fn in_folder(&self, name: &Name) -> io::Result<()> {
        let folder = name.folder().ok_or(io::ErrorKind::AlreadyExists)?;
        match self.node(folder)? {
            Node::Folder => Ok(()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }
}

impl FileSystem for SimFiles {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let path = normal(path);
        let mut machine = self.alive()?;
        let name = Name::from(path.clone());
        machine.free(&name)?;
        machine.faults.check(Call::Create, &[&path])?;
        let file = FileId(machine.volume.files.len());
        machine.perform(Op::Create(name, file));
        machine.locks.insert(file);
        drop(machine);
        Ok(Arc::new(Writer(Handle::new(self.clone(), path, file))))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let path = normal(path);
        let mut machine = self.alive()?;
        let file = machine.file(&path)?;
        if !machine.locks.insert(file) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(machine);
        Ok(Arc::new(Writer(Handle::new(self.clone(), path, file))))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        let path = normal(path);
        let file = self.alive()?.file(&path)?;
        Ok(Arc::new(Handle::new(self.clone(), path, file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut machine = self.alive()?;
        let file = machine.file(&from)?;
        let name = Name::from(to.clone());
        machine.in_folder(&name)?;
        match machine.node(&to) {
            Ok(Node::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            // As POSIX has it: two names of one file, and nothing happens.
            Ok(Node::File(other)) if other == file => return Ok(()),
            _ => {}
        }
        machine.faults.check(Call::Rename, &[&from, &to])?;
        machine.perform(Op::Rename {
            from: Name::from(from),
            to: name,
            file,
        });
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut machine = self.alive()?;
        let file = machine.file(&from)?;
        let name = Name::from(to.clone());
        machine.free(&name)?;
        machine.faults.check(Call::Link, &[&from, &to])?;
        machine.perform(Op::Link(name, file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut machine = self.alive()?;
        machine.file(&path)?;
        machine.faults.check(Call::Remove, &[&path])?;
        machine.perform(Op::Remove(Name::from(path)));
        Ok(())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut machine = self.alive()?;
        let name = Name::from(path.clone());
        machine.free(&name)?;
        machine.faults.check(Call::Create, &[&path])?;
        machine.perform(Op::CreateFolder(name));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut machine = self.alive()?;
        if machine.node(&path)? != Node::Folder {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let name = Name::from(path.clone());
        match machine.faults.check(Call::SyncFolder, &[&path]) {
            Ok(()) => machine.perform(Op::SyncFolder(name)),
            Err(error) => {
                machine.perform(Op::SyncFolderFailed(name));
                return Err(error);
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let path = normal(path);
        let machine = self.alive()?;
        if machine.node(&path)? != Node::Folder {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // All below a folder stand together.
        let mut below: OsString = path.clone();
        if below != "/" {
            below.push("/");
        }
        let names = machine
            .volume
            .names
            .range::<OsStr, _>((Bound::Excluded(&*below), Bound::Unbounded));
        let names = names.take_while(|(name, _)| name.is_below(&below));
        let inside = names.filter(|(name, _)| name.folder() == Some(&path));
        let entries = inside.map(|(name, node)| machine.entry(name, *node));
        Ok(entries.collect())
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let name = Name::new(path);
        let machine = self.alive()?;
        let node = machine.node(std::borrow::Borrow::borrow(&name))?;
        Ok(machine.entry(&name, node))
    }
}
