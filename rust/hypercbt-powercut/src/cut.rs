//! The moment at which power goes: what is promised, what is not, and a state for each choice.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::sync::Arc;

use crate::content::Content;
use crate::name::Name;
use crate::plan::{Keep, Lengths, Plan};
use crate::random::Random;
use crate::state::State;
use crate::volume::{Change, File, FileId, Names, Node, Pending, Volume, set_names};

/// A volume at a cut.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) at: usize,
    volume: Volume,
    /// Changes that may be lost, in order.
    pub(crate) free: Vec<Item>,
}

/// One change that may be lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    op: usize,
    what: What,
    /// In how many sectors it may be torn.
    pub(crate) sectors: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Data(FileId),
    Name,
}

impl Item {
    /// The file whose bytes it changes; none for names.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self.what {
            What::Data(file) => Some(file),
            What::Name => None,
        }
    }
}

impl Cut {
    pub(crate) fn new(at: usize, volume: Volume) -> Self {
        let mut free = Vec::new();
        for (number, file) in volume.files.iter().enumerate() {
            let pending = file.pending.iter().filter(|pending| !pending.durable);
            free.extend(pending.map(|pending| Item {
                op: pending.op,
                what: What::Data(FileId(number)),
                sectors: pending.change.sectors(),
            }));
        }
        let names = volume.pending_names.iter();
        free.extend(
            names
                .filter(|pending| !pending.durable)
                .map(|pending| Item {
                    op: pending.op,
                    what: What::Name,
                    sectors: 0,
                }),
        );
        free.sort_unstable_by_key(|item| item.op);
        Self { at, volume, free }
    }

    /// The state in which what the plan keeps has survived.
    pub(crate) fn state(&self, plan: &Plan) -> State {
        let keeps: BTreeMap<usize, Keep> = self
            .free
            .iter()
            .zip(&plan.keeps)
            .map(|(item, keep)| (item.op, *keep))
            .collect();
        let keep = |op, durable| {
            if durable {
                Keep::Yes
            } else {
                keeps.get(&op).copied().unwrap_or(Keep::No)
            }
        };
        let names = self.names(keep);
        let mut contents = vec![Arc::default(); self.volume.files.len()];
        for node in names.values() {
            if let Node::File(id) = *node {
                let file = self.volume.file(id);
                contents[id.0] = if file.pending.is_empty() {
                    Arc::clone(&file.durable)
                } else {
                    survived(id, file, plan.lengths, keep)
                };
            }
        }
        State { names, contents }
    }

    fn names(&self, keep: impl Fn(usize, bool) -> Keep) -> Arc<Names> {
        let mut names = Arc::clone(&self.volume.durable_names);
        if self.volume.pending_names.is_empty() {
            return names;
        }
        let survived = Arc::make_mut(&mut names);
        for pending in &self.volume.pending_names {
            if keep(pending.op, pending.durable).sector(0) {
                set_names(survived, &pending.change.set);
            }
        }
        // A folder comes before what lies in it.
        let mut folders = BTreeSet::<Name>::new();
        survived.retain(|name, node| {
            let there = name
                .folder()
                .is_none_or(|folder| folders.contains::<OsStr>(folder));
            if there && *node == Node::Folder {
                folders.insert(name.clone());
            }
            there
        });
        names
    }
}

/// What is left of a file.
fn survived(
    id: FileId,
    file: &File,
    lengths: Lengths,
    keep: impl Fn(usize, bool) -> Keep,
) -> Arc<Content> {
    let kept = |pending: &Pending<_>| keep(pending.op, pending.durable);
    let all_seen = file
        .pending
        .iter()
        .all(|pending| match pending.change.change {
            Change::Write {
                ref bytes, shown, ..
            } => shown == bytes.len(),
            Change::SetLen { shown, .. } => shown,
        });
    let none_durable = file.pending.iter().all(|pending| !pending.durable);
    // Most files of most states are as they are or as they were: those contents exist, digest and all.
    if all_seen
        && lengths == Lengths::Newest
        && file.pending.iter().all(|one| kept(one) == Keep::Yes)
    {
        return Arc::clone(&file.seen);
    }
    if none_durable
        && lengths == Lengths::Oldest
        && file.pending.iter().all(|one| kept(one) == Keep::No)
    {
        return Arc::clone(&file.durable);
    }
    let mut content = Content::clone(&file.durable);
    // How long it must be for what survives.
    let mut fitting = content.len();
    for pending in &file.pending {
        let change = &pending.change;
        if pending.durable {
            change.change.apply_seen(&mut content);
            fitting = content.len();
            continue;
        }
        let keep = kept(pending);
        let mut sector = 0;
        while sector < change.sectors() {
            let start = sector;
            while sector < change.sectors() && keep.sector(sector) {
                sector += 1;
            }
            change.apply_sectors(&mut content, start..sector);
            sector += 1;
        }
        fitting = match change.change {
            Change::Write { .. } => content.len().max(fitting),
            Change::SetLen { len, .. } if keep.sector(0) => len,
            Change::SetLen { .. } => fitting,
        };
    }
    content.cut_to(length(id, file, lengths, fitting));
    Arc::new(content)
}

/// One of the lengths that the file may have.
fn length(id: FileId, file: &File, lengths: Lengths, fitting: u64) -> u64 {
    let promised = file.pending.iter().rposition(|pending| pending.durable);
    let later = &file.pending[promised.map_or(0, |last| last + 1)..];
    // Changes that were synced after one that was forsaken count without it, or as they seemed.
    let mut oldest = file.durable.len();
    if promised.is_some() {
        let mut durable = Content::clone(&file.durable);
        let changes = file.pending.iter().filter(|pending| pending.durable);
        changes.for_each(|pending| pending.change.change.apply_seen(&mut durable));
        oldest = durable.len();
    }
    let seemed = promised.map_or(oldest, |last| file.pending[last].change.new_len);
    match lengths {
        Lengths::Oldest => oldest,
        Lengths::Newest => later.last().map_or(seemed, |last| last.change.full_len()),
        Lengths::Fitting => {
            let all = later
                .iter()
                .flat_map(|pending| {
                    let change = &pending.change;
                    (0..change.lengths()).map(|number| change.length(number))
                })
                .chain([oldest, seemed]);
            let longest = all.clone().max().unwrap_or(oldest);
            all.filter(|&len| len >= fitting).min().unwrap_or(longest)
        }
        Lengths::Drawn(seed) => {
            let mut random = Random::new(seed, id.0 as u64);
            match random.index(later.len() + 2) {
                0 => oldest,
                1 => seemed,
                n => {
                    let change = &later[n - 2].change;
                    change.length(random.below(change.lengths()))
                }
            }
        }
    }
}
