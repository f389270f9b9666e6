//! Files and names as they are, as they are durably, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::sync::Arc;

use crate::content::{Content, SECTOR_BYTES, index};
use crate::name::Name;

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) usize);

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File(FileId),
}

pub(crate) type Names = BTreeMap<Name, Node>;

/// One thing that was done. Enough to do it again.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(Name, FileId),
    CreateFolder(Name),
    Link(Name, FileId),
    Rename { from: Name, to: Name, file: FileId },
    Remove(Name),
    Change(FileId, Change),
    Sync(FileId),
    SyncFailed(FileId),
    SyncFolder(Name),
    SyncFolderFailed(Name),
}

/// A change of a file's bytes or length.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Of a write that failed only the first `shown` bytes are seen before a cut.
    Write {
        at: u64,
        bytes: Arc<[u8]>,
        shown: usize,
    },
    /// One that failed is not seen before a cut.
    SetLen { len: u64, shown: bool },
}

/// A change that is not promised.
#[derive(Debug, Clone)]
pub(crate) struct Pending<T> {
    pub(crate) change: T,
    /// The number of the operation: they are applied in order.
    pub(crate) op: usize,
    /// A sync failed after it: no later one makes it durable.
    pub(crate) forsaken: bool,
    /// Durable, but kept in the list, for something before it is not.
    pub(crate) durable: bool,
}

/// A file's bytes: durable, as seen, and the changes between.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    pub(crate) durable: Arc<Content>,
    pub(crate) seen: Arc<Content>,
    /// How long it may be found at most.
    longest: u64,
    pub(crate) pending: Vec<Pending<FileChange>>,
}

#[derive(Debug, Clone)]
pub(crate) struct FileChange {
    pub(crate) change: Change,
    /// How long the file seemed before and after.
    pub(crate) old_len: u64,
    pub(crate) new_len: u64,
    /// How long it may have been found at most, before.
    longest: u64,
}

/// What becomes of one or two names, all at once.
#[derive(Debug, Clone)]
pub(crate) struct NameChange {
    pub(crate) set: Vec<(Name, Option<Node>)>,
    /// Folders whose sync is waited for.
    waits: Vec<Name>,
}

/// Everything that a machine has on its disk.
#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) files: Vec<Arc<File>>,
    pub(crate) names: Arc<Names>,
    pub(crate) durable_names: Arc<Names>,
    pub(crate) pending_names: Vec<Pending<NameChange>>,
}

impl Volume {
    pub(crate) fn new(names: Arc<Names>, contents: &[Arc<Content>]) -> Self {
        let files = contents.iter().map(|content| {
            Arc::new(File {
                durable: Arc::clone(content),
                seen: Arc::clone(content),
                longest: content.len(),
                pending: Vec::new(),
            })
        });
        Self {
            files: files.collect(),
            durable_names: Arc::clone(&names),
            names,
            pending_names: Vec::new(),
        }
    }

    pub(crate) fn file(&self, id: FileId) -> &File {
        &self.files[id.0]
    }

    pub(crate) fn apply(&mut self, number: usize, op: &Op) {
        match op {
            Op::Create(name, file) => {
                self.files
                    .resize_with(self.files.len().max(file.0 + 1), Arc::default);
                self.rename(number, vec![(name.clone(), Some(Node::File(*file)))]);
            }
            Op::CreateFolder(name) => {
                self.rename(number, vec![(name.clone(), Some(Node::Folder))]);
            }
            Op::Link(name, file) => {
                self.rename(number, vec![(name.clone(), Some(Node::File(*file)))]);
            }
            Op::Rename { from, to, file } => {
                let new = (to.clone(), Some(Node::File(*file)));
                self.rename(number, vec![(from.clone(), None), new]);
            }
            Op::Remove(name) => self.rename(number, vec![(name.clone(), None)]),
            Op::Change(file, change) => self.file_mut(*file).change(number, change),
            Op::Sync(file) => self.file_mut(*file).sync(),
            Op::SyncFailed(file) => {
                for pending in &mut self.file_mut(*file).pending {
                    pending.forsaken |= !pending.durable;
                }
            }
            Op::SyncFolder(folder) => self.sync_folder(folder),
            Op::SyncFolderFailed(folder) => {
                for pending in &mut self.pending_names {
                    pending.forsaken |= !pending.durable && pending.change.waits.contains(folder);
                }
            }
        }
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        Arc::make_mut(&mut self.files[id.0])
    }

    fn rename(&mut self, op: usize, set: Vec<(Name, Option<Node>)>) {
        let names = Arc::make_mut(&mut self.names);
        set_names(names, &set);
        let folder = |(name, _): &(Name, _)| name.folder().map(|folder| folder.to_owned().into());
        let waits = set.iter().filter_map(folder).collect();
        self.pending_names.push(Pending {
            change: NameChange { set, waits },
            op,
            forsaken: false,
            durable: false,
        });
    }

    fn sync_folder(&mut self, folder: &Name) {
        // Names of changes that stay in the list: what comes after one of them on the same name stays too.
        let mut held = BTreeSet::new();
        let durable = Arc::make_mut(&mut self.durable_names);
        self.pending_names.retain_mut(|pending| {
            pending.change.waits.retain(|waits| waits != folder);
            pending.durable |= pending.change.waits.is_empty() && !pending.forsaken;
            let names = || pending.change.set.iter().map(|(name, _)| name);
            if pending.durable && !names().any(|name| held.contains(name)) {
                set_names(durable, &pending.change.set);
                return false;
            }
            held.extend(names().cloned());
            true
        });
    }
}

pub(crate) fn set_names(names: &mut Names, set: &[(Name, Option<Node>)]) {
    for (name, node) in set {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove::<OsStr>(std::borrow::Borrow::borrow(name)),
        };
    }
}

impl File {
    fn change(&mut self, op: usize, change: &Change) {
        let old_len = self.seen.len();
        let seen = Arc::make_mut(&mut self.seen);
        change.apply_seen(seen);
        let new_len = seen.len();
        let change = FileChange {
            change: change.clone(),
            old_len,
            new_len,
            longest: self.longest,
        };
        self.longest = self.longest.max(change.full_len());
        self.pending.push(Pending {
            change,
            op,
            forsaken: false,
            durable: false,
        });
    }

    fn sync(&mut self) {
        if self.pending.iter().any(|pending| pending.forsaken) {
            for pending in &mut self.pending {
                pending.durable |= !pending.forsaken;
            }
        } else {
            self.pending.clear();
            self.durable = Arc::clone(&self.seen);
            self.longest = self.seen.len();
        }
    }
}

impl Change {
    /// Does to the content what is seen before a cut.
    pub(crate) fn apply_seen(&self, content: &mut Content) {
        match self {
            Change::Write { at, bytes, shown } => content.write(*at, &bytes[..*shown]),
            Change::SetLen { len, shown: true } => content.set_len(*len),
            Change::SetLen { shown: false, .. } => {}
        }
    }
}

impl FileChange {
    /// The bytes that are changed: written, or cut off and thereby zero, whether or not an earlier change has cut
    /// them off.
    pub(crate) fn range(&self) -> Range<u64> {
        match &self.change {
            Change::Write { at, bytes, .. } => *at..at + bytes.len() as u64,
            Change::SetLen { len, .. } => (*len).min(self.longest)..self.longest,
        }
    }

    /// In how many sectors they lie.
    pub(crate) fn sectors(&self) -> u64 {
        let range = self.range();
        if range.is_empty() {
            return 0;
        }
        (range.end - 1) / SECTOR_BYTES - range.start / SECTOR_BYTES + 1
    }

    /// Does to the content what it does in these of its sectors, the length apart.
    pub(crate) fn apply_sectors(&self, content: &mut Content, sectors: Range<u64>) {
        let range = self.range();
        let border = |sector| range.start / SECTOR_BYTES * SECTOR_BYTES + sector * SECTOR_BYTES;
        let from = border(sectors.start).max(range.start);
        let to = border(sectors.end).min(range.end);
        if from >= to {
            return;
        }
        match &self.change {
            Change::Write { at, bytes, .. } => {
                content.write(from, &bytes[index(from - at)..index(to - at)]);
            }
            Change::SetLen { .. } => content.zero(from..to),
        }
    }

    /// The length if all of it happens.
    pub(crate) fn full_len(&self) -> u64 {
        match &self.change {
            Change::Write { .. } => self.range().end.max(self.old_len),
            Change::SetLen { len, .. } => *len,
        }
    }

    /// How many lengths it may lead to: each sector border in what it adds to the file, and its end.
    pub(crate) fn lengths(&self) -> u64 {
        match self.borders() {
            Some(borders) => borders.end - borders.start + 1,
            None => 1,
        }
    }

    /// One of them, from the shortest on.
    pub(crate) fn length(&self, number: u64) -> u64 {
        match self.borders() {
            Some(borders) if borders.start + number < borders.end => {
                (borders.start + number) * SECTOR_BYTES
            }
            _ => self.full_len(),
        }
    }

    /// The sector borders at which the file may end while a write makes it longer.
    fn borders(&self) -> Option<Range<u64>> {
        let Change::Write { at, .. } = &self.change else {
            return None;
        };
        let (added, end) = ((*at).max(self.old_len), self.range().end);
        (added < end).then(|| added.div_ceil(SECTOR_BYTES)..end.div_ceil(SECTOR_BYTES))
    }
}
