//! Three restore points that share what they can, and what damage does to them.

use std::collections::BTreeSet;

use hypercbt_engine::{Error, VerifyScope, Wanted};
use hypercbt_repo::{Error as RepoError, PointId, RecordKind, RestorePoint, tree};

use crate::support::{CHUNK, FakeDisk, Lab, changes, disk, noise};

/// Two leaves and a root a tree, and three points that share what they can.
pub(crate) struct Shelf {
    pub(crate) lab: Lab,
    pub(crate) source: FakeDisk,
    pub(crate) points: Vec<(RestorePoint, Vec<u8>)>,
}

pub(crate) type Keys = BTreeSet<(RecordKind, [u8; 32])>;

pub(crate) const CHUNKS: u64 = 70;

pub(crate) fn shelf() -> Shelf {
    let mut lab = Lab::new();
    let source = FakeDisk::new(CHUNKS * CHUNK);
    for chunk in [0, 1, 2, 5, 66] {
        source.write(chunk * CHUNK, &noise(chunk + 1, 3 * 512));
    }
    source.write(8 * CHUNK, &noise(1, 3 * 512)); // the same as chunk 0
    let mut points = Vec::new();
    let first = lab.full(&source);
    points.push((first, source.bytes()));
    source.write(CHUNK, &noise(20, 512));
    let second = lab.list(&source, changes(&[(CHUNK, 512)]), &points[0].0);
    points.push((second, source.bytes()));
    source.write(66 * CHUNK, &noise(30, 512));
    let third = lab.compare(&source);
    points.push((third, source.bytes()));
    Shelf {
        lab,
        source,
        points,
    }
}

impl Shelf {
    pub(crate) fn fork(&self) -> Self {
        Self {
            lab: self.lab.fork(),
            source: self.source.copy(),
            points: self.points.clone(),
        }
    }

    /// What each point needs.
    pub(crate) fn needs(&self) -> Vec<(PointId, Keys)> {
        let view = self.lab.repository.view().unwrap();
        let needs = |(point, _): &(RestorePoint, Vec<u8>)| {
            let mut visited = tree::Visited::new();
            let walk = tree::walk(&*view, disk(point).root, CHUNKS, &mut visited);
            let keys = walk.map(|visit| match visit {
                tree::Visit::Node { id, .. } => (RecordKind::Node, id.0),
                tree::Visit::Chunk { id, .. } => (RecordKind::Chunk, id.0),
                tree::Visit::Lost { error, .. } => panic!("{error}"),
            });
            (point.id, keys.collect())
        };
        self.points.iter().rev().map(needs).collect()
    }

    /// Points of which every byte can be had hold what they should; the others say what is lost.
    pub(crate) fn assert_points(&self, broken: &[PointId], what: &str) {
        for (point, bytes) in &self.points {
            let read = self.lab.content(point);
            if broken.contains(&point.id) {
                for result in [read, self.lab.restored(point)] {
                    let error = result.expect_err(what);
                    assert!(
                        matches!(
                            error,
                            Error::Repository(
                                RepoError::ChunkLost { .. } | RepoError::NodeLost { .. }
                            )
                        ),
                        "{what}: {error:?}"
                    );
                }
            } else {
                assert!(read.unwrap() == *bytes, "{what}");
            }
        }
    }

    pub(crate) fn heals(&mut self, how: &Wanted, what: &str) {
        let point = self.lab.backup(&self.source, how.clone());
        self.points.push((point, self.source.bytes()));
        self.assert_points(&[], what);
        let report = self.lab.verify(VerifyScope::All);
        assert!(
            report.damaged.iter().all(|record| !record.lost),
            "{what}: {report:?}"
        );
    }
}
