//! Whatever is written and whenever and however it is backed up, it restores byte for byte.

use std::collections::HashMap;

use hypercbt_engine::{AuditPolicy, Wanted};
use hypercbt_extent::Extents;
use hypercbt_repo::{Method, NodeId, RestorePoint};
use proptest::prelude::*;

use crate::support::{CHUNK, DAY, FakeDisk, Lab, changes, disk, noise, stats};

const SECTORS: u64 = 80 * 128;

#[derive(Debug, Clone)]
enum Step {
    /// Bytes at any place.
    Write {
        at: u64,
        len: u64,
        seed: u64,
    },
    /// Zeros that are allocated.
    Clear {
        at: u64,
        len: u64,
    },
    /// Sectors that become a hole.
    Unmap {
        sector: u64,
        sectors: u64,
    },
    Resize {
        sectors: u64,
    },
    Full {
        workers: usize,
    },
    Compare {
        workers: usize,
    },
    /// Since any point of the same size: what changed, and perhaps more.
    List {
        since: usize,
        more: Vec<(u64, u64)>,
        workers: usize,
        audit: u8,
    },
    Delete {
        which: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (any::<u64>(), 1..2 * CHUNK, 1..20_u64).prop_map(|(at, len, seed)| Step::Write {
        at,
        len,
        seed,
    });
    let aligned = (0..80_u64, 1..4_u64, 1..6_u64).prop_map(|(chunk, chunks, seed)| Step::Write {
        at: chunk * CHUNK,
        len: chunks * CHUNK,
        seed,
    });
    let clear = (any::<u64>(), 1..2 * CHUNK).prop_map(|(at, len)| Step::Clear { at, len });
    let unmap =
        (any::<u64>(), 1..300_u64).prop_map(|(sector, sectors)| Step::Unmap { sector, sectors });
    let resize = (1..=SECTORS).prop_map(|sectors| Step::Resize { sectors });
    let more = proptest::collection::vec((any::<u64>(), 1..CHUNK), 0..4);
    let list =
        (any::<usize>(), more, 1..5_usize, 0..3_u8).prop_map(|(since, more, workers, audit)| {
            Step::List {
                since,
                more,
                workers,
                audit,
            }
        });
    let step = prop_oneof![
        4 => write,
        2 => aligned,
        1 => clear,
        2 => unmap,
        1 => resize,
        1 => (1..5_usize).prop_map(|workers| Step::Full { workers }),
        2 => (1..5_usize).prop_map(|workers| Step::Compare { workers }),
        4 => list,
        1 => any::<usize>().prop_map(|which| Step::Delete { which }),
    ];
    proptest::collection::vec(step, 4..24)
}

struct Machine {
    lab: Lab,
    source: FakeDisk,
    points: Vec<(RestorePoint, Vec<u8>)>,
    roots: HashMap<Vec<u8>, Option<NodeId>>,
}

impl Machine {
    fn len(&self) -> u64 {
        self.source.file().bytes.len() as u64
    }

    fn step(&mut self, step: Step) {
        let len = self.len();
        match step {
            Step::Write {
                at,
                len: count,
                seed,
            } => {
                let at = at % len;
                self.source.write(at, &noise(seed, count.min(len - at)));
            }
            Step::Clear { at, len: count } => {
                let at = at % len;
                self.source
                    .write(at, &vec![0; count.min(len - at) as usize]);
            }
            Step::Unmap { sector, sectors } => {
                let sector = sector % (len / 512);
                let sectors = sectors.min(len / 512 - sector);
                self.source.unmap(sector * 512, sectors * 512);
            }
            Step::Resize { sectors } => self.source.set_len(sectors * 512),
            Step::Full { workers } => self.backup(Wanted::Full, workers),
            Step::Compare { workers } => self.backup(Wanted::Compare, workers),
            Step::List {
                since,
                more,
                workers,
                audit,
            } => self.list(since, &more, workers, audit),
            Step::Delete { which } => {
                if !self.points.is_empty() {
                    let (point, _) = self.points.remove(which % self.points.len());
                    self.lab.repository.delete_point(point.id).unwrap();
                }
            }
        }
    }

    fn list(&mut self, since: usize, more: &[(u64, u64)], workers: usize, audit: u8) {
        let len = self.len();
        let same_size: Vec<&(RestorePoint, Vec<u8>)> = self
            .points
            .iter()
            .filter(|(_, bytes)| bytes.len() as u64 == len)
            .collect();
        if same_size.is_empty() {
            return self.backup(Wanted::Compare, workers);
        }
        let (since, before) = same_size[since % same_size.len()];
        let mut pairs = changed(before, &self.source.bytes());
        for &(at, count) in more {
            let at = at % len;
            pairs.push((at, count.min(len - at)));
        }
        self.lab.audit = match audit {
            0 => AuditPolicy::Off,
            1 => AuditPolicy::Full,
            _ => AuditPolicy::DEFAULT,
        };
        let wanted = Wanted::List {
            changes: changes(&pairs),
            since: since.id,
        };
        self.backup(wanted, workers);
    }

    fn backup(&mut self, wanted: Wanted, workers: usize) {
        self.lab.workers = workers;
        self.lab.now += DAY;
        self.lab.seed += 1;
        let point = self.lab.backup(&self.source, wanted);
        let bytes = self.source.bytes();
        assert_eq!(stats(&point).missed_chunks, 0);
        assert_eq!(disk(&point).size, bytes.len() as u64);
        let root = *self.roots.entry(bytes.clone()).or_insert(disk(&point).root);
        assert_eq!(disk(&point).root, root, "equal content, another root");
        self.points.push((point, bytes));
        for (point, bytes) in &self.points {
            assert!(
                self.lab.content(point).unwrap() == *bytes,
                "{:?} reads differently",
                disk(point).method
            );
        }
    }
}

/// Sectors that differ, as a tracker that sees every write would at least say.
fn changed(before: &[u8], now: &[u8]) -> Vec<(u64, u64)> {
    let sectors = before.chunks(512).zip(now.chunks(512));
    (0..)
        .zip(sectors)
        .filter(|(_, (before, now))| before != now)
        .map(|(number, _)| (number * 512, 512))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_point_restores_whatever_was_written_and_however_it_was_backed_up(
        sectors in 1..=SECTORS,
        steps in steps(),
    ) {
        let mut lab = Lab::new();
        lab.pack_bytes = 5 * CHUNK;
        let mut machine = Machine {
            lab,
            source: FakeDisk::new(sectors * 512),
            points: Vec::new(),
            roots: HashMap::new(),
        };
        for step in steps {
            machine.step(step);
        }
        machine.backup(Wanted::Compare, 2);
        for (point, bytes) in &machine.points {
            machine.lab.assert_holds(point, bytes);
        }
        machine.lab.assert_clean();
        machine.lab.assert_stored_once();
        // A repository that never saw anything else gives the same tree.
        let alone = Lab::new().full(&machine.source);
        prop_assert_eq!(disk(&alone).root, disk(&machine.points.last().unwrap().0).root);
    }
}

#[test]
fn a_list_since_an_older_point_that_says_what_changed_since_then_is_right() {
    let mut lab = Lab::new();
    let source = FakeDisk::of(&[1, 2, 3]);
    let first = lab.full(&source);
    let before = source.bytes();
    source.set(1, 5);
    lab.list(&source, changes(&[(CHUNK, CHUNK)]), &first);
    source.set(1, 2); // as it was
    let pairs = changed(&before, &source.bytes());
    assert_eq!(pairs, []);
    let third = lab.list(&source, Extents::new(), &first);
    assert_eq!(disk(&third).method, Method::List);
    lab.assert_holds(&third, &source.bytes());
}
