//! The simulator against a model that is too simple to be wrong: all legal states of short histories, made by
//! applying each change or not, in all combinations. What is drawn is among them, and all of them are drawn.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypercbt_extent::ByteLen;
use hypercbt_file::{DiskFile, FileOffset, FileSystem};
use hypercbt_powercut::{Call, Fault, SimFiles, State};
use proptest::prelude::*;

const SECTOR: usize = 512;
/// Longer than any file here.
const IMAGE: usize = 3 * SECTOR;
/// Histories with more states are passed over.
const MOST_STATES: usize = 64;

/// What a test does to the files `0` and `1`.
#[derive(Debug, Clone)]
enum Do {
    Write { file: usize, at: usize, len: usize },
    SetLen { file: usize, len: usize },
    Sync { file: usize, fails: bool },
    Rename { from: usize, to: usize },
    Link { from: usize, to: usize },
    Remove { name: usize },
    SyncFolder { folder: usize, fails: bool },
}

const NAMES: [&str; 4] = ["/a", "/b", "/in/a", "/in/b"];
const FOLDERS: [&str; 2] = ["/", "/in"];

fn folder_of(name: usize) -> usize {
    name / 2
}

/// One event of a file, or of names.
#[derive(Debug, Clone)]
enum Event {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync { fails: bool },
}

#[derive(Debug, Clone)]
enum NameEvent {
    Set(Vec<(PathBuf, Option<Thing>)>, Vec<usize>),
    Sync { folder: usize, fails: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Folder,
    File(usize),
}

type Tree = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Default)]
struct Model {
    files: Vec<Vec<Event>>,
    names: Vec<NameEvent>,
}

impl Model {
    fn states(&self) -> Option<BTreeSet<Tree>> {
        let contents: Vec<Vec<Vec<u8>>> = self
            .files
            .iter()
            .map(|events| contents(events))
            .collect::<Option<_>>()?;
        let mut states = BTreeSet::new();
        for names in self.name_images() {
            let there: Vec<_> = names
                .iter()
                .filter(|(path, _)| {
                    let mut above = path.ancestors().skip(1);
                    above.all(|above| above == Path::new("/") || names.contains_key(above))
                })
                .filter_map(|(path, thing)| match thing {
                    Thing::File(file) => Some((path.clone(), *file)),
                    Thing::Folder => None,
                })
                .collect();
            let files: BTreeSet<usize> = there.iter().map(|(_, file)| *file).collect();
            let mut choices: Vec<BTreeMap<usize, &Vec<u8>>> = vec![BTreeMap::new()];
            for file in files {
                let mut more = Vec::new();
                for choice in &choices {
                    for content in &contents[file] {
                        let mut choice = choice.clone();
                        choice.insert(file, content);
                        more.push(choice);
                    }
                }
                choices = more;
                if choices.len() > MOST_STATES {
                    return None;
                }
            }
            for choice in choices {
                let tree = there
                    .iter()
                    .map(|(path, file)| (path.clone(), choice[file].clone()));
                states.insert(tree.collect());
            }
        }
        (states.len() <= MOST_STATES).then_some(states)
    }

    fn name_images(&self) -> BTreeSet<BTreeMap<PathBuf, Thing>> {
        let mut images = BTreeSet::from([BTreeMap::new()]);
        for (number, event) in self.names.iter().enumerate() {
            let NameEvent::Set(set, folders) = event else {
                continue;
            };
            let promised = folders.iter().all(|of| {
                let mut later = self.names[number..].iter();
                later.find_map(|event| match event {
                    NameEvent::Sync { folder, fails } if folder == of => Some(!fails),
                    _ => None,
                }) == Some(true)
            });
            let applied: BTreeSet<_> = images
                .iter()
                .map(|image| {
                    let mut image = image.clone();
                    for (path, thing) in set {
                        match thing {
                            Some(thing) => image.insert(path.clone(), *thing),
                            None => image.remove(path),
                        };
                    }
                    image
                })
                .collect();
            if promised {
                images = applied;
            } else {
                images.extend(applied);
            }
        }
        images
    }
}

/// All contents that a file may have.
fn contents(events: &[Event]) -> Option<Vec<Vec<u8>>> {
    let promised = |number: usize| {
        let next = events[number..].iter().find_map(|event| match event {
            Event::Sync { fails } => Some(!fails),
            _ => None,
        });
        next == Some(true)
    };
    let mut images = BTreeSet::from([[0; IMAGE].to_vec()]);
    // What the file seems to be, what is promised of its length, and what it may be.
    let (mut seen, mut oldest) = (0, 0);
    let mut lengths = BTreeSet::from([0]);
    for (number, event) in events.iter().enumerate() {
        let (range, bytes, mut new_lengths) = match event {
            Event::Sync { .. } => continue,
            Event::Write(at, bytes) => {
                let end = at + bytes.len();
                let added = (seen.max(*at)..end).filter(|len| len % SECTOR == 0);
                let lengths: BTreeSet<usize> = added.chain([end.max(seen)]).collect();
                (*at..end, bytes.clone(), lengths)
            }
            Event::SetLen(len) => (*len..IMAGE, vec![0; IMAGE - len], BTreeSet::from([*len])),
        };
        for sector in 0..IMAGE / SECTOR {
            let piece: Vec<usize> = (sector * SECTOR..(sector + 1) * SECTOR)
                .filter(|at| range.contains(at))
                .collect();
            let mut applied = BTreeSet::new();
            for image in &images {
                let mut image = image.clone();
                for &at in &piece {
                    image[at] = bytes[at - range.start];
                }
                applied.insert(image);
            }
            if promised(number) {
                images = applied;
            } else {
                images.extend(applied);
            }
            if images.len() > MOST_STATES {
                return None;
            }
        }
        match event {
            Event::Write(at, bytes) => seen = seen.max(at + bytes.len()),
            Event::SetLen(len) => seen = *len,
            Event::Sync { .. } => {}
        }
        if promised(number) {
            match event {
                Event::Write(at, bytes) => oldest = oldest.max(at + bytes.len()),
                Event::SetLen(len) => oldest = *len,
                Event::Sync { .. } => {}
            }
            lengths = BTreeSet::from([oldest, seen]);
        } else {
            lengths.append(&mut new_lengths);
        }
    }
    let mut found = BTreeSet::new();
    for image in &images {
        found.extend(lengths.iter().map(|&len| image[..len].to_vec()));
    }
    Some(found.into_iter().collect())
}

/// Does it to the simulator and to the model alike.
fn play(steps: &[Do]) -> (SimFiles, Model) {
    let files = SimFiles::new();
    let mut model = Model::default();
    let mut open: Vec<Arc<dyn DiskFile>> = Vec::new();
    let mut there: BTreeMap<usize, usize> = BTreeMap::new();
    let path = |name: usize| PathBuf::from(NAMES[name]);
    files.create_folder(Path::new("/in")).unwrap();
    model.names.push(NameEvent::Set(
        vec![("/in".into(), Some(Thing::Folder))],
        vec![0],
    ));
    for name in [0, 3] {
        let file = open.len();
        open.push(files.create_new(&path(name)).unwrap());
        model.files.push(Vec::new());
        there.insert(name, file);
        let set = vec![(path(name), Some(Thing::File(file)))];
        model.names.push(NameEvent::Set(set, vec![folder_of(name)]));
    }
    let fault = |call| Fault {
        call,
        path: None,
        after: 0,
        times: 1,
        error: io::ErrorKind::Other,
    };
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Do::Write { file, at, len } => {
                let bytes = vec![u8::try_from(number + 1).unwrap(); len];
                open[file]
                    .write_all_at(&bytes, FileOffset(at as u64))
                    .unwrap();
                model.files[file].push(Event::Write(at, bytes));
            }
            Do::SetLen { file, len } => {
                open[file].set_len(ByteLen(len as u64)).unwrap();
                model.files[file].push(Event::SetLen(len));
            }
            Do::Sync { file, fails } => {
                if fails {
                    files.fail(fault(Call::Sync));
                }
                assert_eq!(open[file].sync().is_err(), fails);
                model.files[file].push(Event::Sync { fails });
            }
            Do::SyncFolder { folder, fails } => {
                if fails {
                    files.fail(fault(Call::SyncFolder));
                }
                assert_eq!(
                    files.sync_folder(Path::new(FOLDERS[folder])).is_err(),
                    fails
                );
                model.names.push(NameEvent::Sync { folder, fails });
            }
            Do::Rename { from, to } => {
                let renamed = files.rename(&path(from), &path(to));
                assert_eq!(renamed.is_ok(), there.contains_key(&from));
                if let Some(&file) = there.get(&from)
                    && there.get(&to) != Some(&file)
                {
                    there.remove(&from);
                    there.insert(to, file);
                    let set = vec![(path(from), None), (path(to), Some(Thing::File(file)))];
                    model
                        .names
                        .push(NameEvent::Set(set, vec![folder_of(from), folder_of(to)]));
                }
            }
            Do::Link { from, to } => {
                let linked = files.link(&path(from), &path(to));
                let free = !there.contains_key(&to);
                assert_eq!(linked.is_ok(), free && there.contains_key(&from));
                if linked.is_ok() {
                    let file = there[&from];
                    there.insert(to, file);
                    let set = vec![(path(to), Some(Thing::File(file)))];
                    model.names.push(NameEvent::Set(set, vec![folder_of(to)]));
                }
            }
            Do::Remove { name } => {
                let removed = files.remove(&path(name));
                assert_eq!(removed.is_ok(), there.remove(&name).is_some());
                if removed.is_ok() {
                    let set = vec![(path(name), None)];
                    model.names.push(NameEvent::Set(set, vec![folder_of(name)]));
                }
            }
        }
    }
    (files, model)
}

fn tree(state: &State) -> Tree {
    let paths = state.paths().into_iter();
    paths
        .map(|path| (path.clone(), state.read(&path).unwrap()))
        .collect()
}

fn step() -> impl Strategy<Value = Do> {
    let file = 0..2_usize;
    let place = prop::sample::select(vec![0, 100, 500, 512, 600, 1024]);
    let fails = prop::bool::weighted(0.2);
    prop_oneof![
        4 => (file.clone(), place.clone(), prop::sample::select(vec![10, 20, 512]))
            .prop_map(|(file, at, len)| Do::Write { file, at, len }),
        1 => (file.clone(), place).prop_map(|(file, len)| Do::SetLen { file, len }),
        2 => (file, fails).prop_map(|(file, fails)| Do::Sync { file, fails }),
        1 => (0..4_usize, 0..4_usize).prop_map(|(from, to)| Do::Rename { from, to }),
        1 => (0..4_usize, 0..4_usize).prop_map(|(from, to)| Do::Link { from, to }),
        1 => (0..4_usize).prop_map(|name| Do::Remove { name }),
        4 => (0..2_usize, fails).prop_map(|(folder, fails)| Do::SyncFolder { folder, fails }),
    ]
}

/// Draws until everything legal was seen; panics where something else was. False if there is too much.
fn compare(steps: &[Do]) -> bool {
    let (files, model) = play(steps);
    let Some(legal) = model.states() else {
        return false;
    };
    let history = files.history();
    let end = history.len();
    let mut missing = legal.clone();
    let mut take = |state: &State| {
        let found = tree(state);
        assert!(
            legal.contains(&found),
            "not legal after {steps:?}: {found:?}"
        );
        missing.remove(&found);
        missing.is_empty()
    };
    for state in history.extremes(end) {
        take(&state);
    }
    for seed in 0..5_000_000 {
        if take(&history.state(end, seed << 20)) {
            return true;
        }
    }
    panic!(
        "never drawn after {steps:?}: {:?} of {}",
        missing.first(),
        legal.len()
    );
}

#[test]
fn what_is_drawn_is_legal_and_all_that_is_legal_is_drawn() {
    let config = ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let compared = std::cell::Cell::new(0);
    proptest!(config, |(steps in prop::collection::vec(step(), 0..9))| {
        compared.set(compared.get() + u32::from(compare(&steps)));
    });
    assert!(
        compared.get() > 100,
        "only {} were short enough",
        compared.get()
    );
}

#[test]
fn what_survives_of_a_second_cut_takes_what_the_first_one_took() {
    let write = Do::Write {
        file: 0,
        at: 0,
        len: 512,
    };
    let steps = [
        Do::SyncFolder {
            folder: 0,
            fails: false,
        },
        write,
        Do::SetLen { file: 0, len: 500 },
        Do::SetLen { file: 0, len: 100 },
    ];
    assert!(compare(&steps));
}

#[test]
fn a_sync_of_the_file_and_its_folder_leave_one_state() {
    let steps = [
        Do::Write {
            file: 0,
            at: 0,
            len: 1100,
        },
        Do::Sync {
            file: 0,
            fails: false,
        },
        Do::Sync {
            file: 1,
            fails: false,
        },
        Do::SyncFolder {
            folder: 1,
            fails: false,
        },
        Do::SyncFolder {
            folder: 0,
            fails: false,
        },
    ];
    let (files, model) = play(&steps);
    assert_eq!(model.states().unwrap().len(), 1);
    assert!(compare(&steps));
    let without_the_last = &steps[..4];
    assert!(play(without_the_last).1.states().unwrap().len() > 1);
    assert_eq!(files.history().extremes(files.ops()).len(), 1);
}
