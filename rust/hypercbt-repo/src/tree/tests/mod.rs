//! Trees in memory, and what is refused.

mod model;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use super::*;
use crate::{ChunkId, codec::node_id};

type Model = BTreeMap<u64, ChunkId>;
type Tree = (Option<NodeId>, u64);

/// Nodes in memory; counts what is loaded and put.
#[derive(Default)]
struct Nodes {
    bytes: RefCell<HashMap<NodeId, Vec<u8>>>,
    loads: Cell<usize>,
    puts: Cell<usize>,
}

impl Nodes {
    fn remove(&self, id: NodeId) {
        self.bytes.borrow_mut().remove(&id);
    }

    /// Keeps a node that no builder would make, and names it.
    fn forge(&self, level: u8, children: &[(usize, [u8; 32])]) -> NodeId {
        let mut all = vec![None; shape::children_at(level)];
        for &(index, id) in children {
            all[index] = Some(id);
        }
        let bytes = Node::new(level, all).unwrap().encode();
        let id = node_id(&bytes);
        self.bytes.borrow_mut().insert(id, bytes);
        id
    }

    fn counting<T>(&self, work: impl FnOnce() -> T) -> (T, usize, usize) {
        let before = (self.loads.get(), self.puts.get());
        let result = work();
        let (loads, puts) = (self.loads.get(), self.puts.get());
        (result, loads - before.0, puts - before.1)
    }
}

impl NodeSource for Nodes {
    fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        self.loads.set(self.loads.get() + 1);
        let nodes = self.bytes.borrow();
        let bytes = nodes.get(&id).ok_or(Error::NodeLost { id })?;
        Ok(Arc::new(Node::decode(bytes).unwrap()))
    }
}

impl NodeSink for &Nodes {
    fn put(&mut self, id: NodeId, bytes: Vec<u8>) -> Result<()> {
        assert_eq!(id, node_id(&bytes));
        self.puts.set(self.puts.get() + 1);
        self.bytes.borrow_mut().insert(id, bytes);
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Change {
    Set(u64, Option<ChunkId>),
    Zero(Range<u64>),
}

fn chunk(number: u8) -> ChunkId {
    ChunkId([number; 32])
}

fn build(nodes: &Nodes, base: Option<Tree>, chunks: u64, changes: &[Change]) -> Result<Tree> {
    let mut sink = nodes;
    let mut builder = TreeBuilder::new(base, chunks, nodes, &mut sink)?;
    for change in changes {
        match change.clone() {
            Change::Set(chunk, id) => builder.set(chunk, id)?,
            Change::Zero(range) => builder.set_zero(range)?,
        }
    }
    Ok((builder.finish()?, chunks))
}

fn read(nodes: &Nodes, tree: Tree) -> Model {
    let reader = TreeReader::new(nodes, tree.0, tree.1);
    let leaves = reader.leaves(0..tree.1).map(Result::unwrap);
    leaves
        .flat_map(|leaf| leaf.present().collect::<Vec<_>>())
        .collect()
}

fn full(nodes: &Nodes, chunks: u64) -> Tree {
    let varied = |number: u64| chunk(u8::try_from(number % 251).unwrap() + 1);
    let changes: Vec<_> = (0..chunks)
        .map(|number| Change::Set(number, Some(varied(number))))
        .collect();
    build(nodes, None, chunks, &changes).unwrap()
}

#[test]
fn a_range_is_read_without_the_leaves_beside_it() {
    let nodes = Nodes::default();
    let tree = full(&nodes, 1_000);
    let reader = TreeReader::new(&nodes, tree.0, tree.1);
    let (leaves, loads, _) = nodes.counting(|| reader.leaves(100..130).collect::<Vec<_>>());
    let leaves: Vec<_> = leaves.into_iter().map(Result::unwrap).collect();
    assert_eq!(loads, 3); // the root and two leaves
    assert_eq!(
        leaves.iter().map(|leaf| leaf.first).collect::<Vec<_>>(),
        [64, 128]
    );
    let numbers: Vec<_> = leaves
        .iter()
        .flat_map(|leaf| leaf.present().map(|(at, _)| at))
        .collect();
    assert!(numbers.into_iter().eq(100..130));
    assert_eq!(reader.leaves(130..130).count(), 0);
}

#[test]
fn a_cursor_loads_a_path_once() {
    let nodes = Nodes::default();
    let tree = full(&nodes, 1_000);
    let mut cursor = TreeReader::new(&nodes, tree.0, tree.1).cursor();
    let (found, loads, _) = nodes.counting(|| {
        let all = (0..1_000).filter_map(|at| cursor.get(at).unwrap());
        all.count()
    });
    assert_eq!(found, 1_000);
    assert_eq!(loads, 1 + 16);
}

#[test]
fn an_untouched_tree_is_its_base_without_a_look() {
    let nodes = Nodes::default();
    let tree = full(&nodes, 1_000);
    let (same, loads, puts) = nodes.counting(|| build(&nodes, Some(tree), 1_000, &[]).unwrap());
    assert_eq!((same, loads, puts), (tree, 0, 0));
}

#[test]
fn a_disk_that_grew_shares_its_old_tree() {
    let nodes = Nodes::default();
    let old = full(&nodes, 1_000);
    let (new, loads, puts) = nodes.counting(|| build(&nodes, Some(old), 1 << 30, &[]).unwrap());
    assert_eq!((loads, puts), (0, 2)); // from height 1 to height 3
    assert_eq!(read(&nodes, new), read(&nodes, old));
}

#[test]
fn a_disk_cannot_start_from_a_larger_one() {
    let nodes = Nodes::default();
    let larger = full(&nodes, 100);
    let result = build(&nodes, Some(larger), 99, &[]);
    assert!(matches!(
        result,
        Err(Error::TreeShrank {
            chunks: 99,
            base_chunks: 100
        })
    ));
}

#[test]
fn going_back_and_going_past_the_end_are_refused() {
    let set = |at| Change::Set(at, Some(chunk(1)));
    let cases = [
        vec![set(5), set(5)],
        vec![set(5), set(4)],
        vec![Change::Zero(0..6), set(5)],
        vec![set(5), Change::Zero(5..6)],
        vec![set(100)],
        vec![set(u64::MAX)],
        vec![Change::Zero(99..101)],
    ];
    for changes in cases {
        let result = build(&Nodes::default(), None, 100, &changes);
        assert!(
            matches!(result, Err(Error::TreeOrder { end: 100, .. })),
            "{changes:?}"
        );
    }
    assert!(
        build(
            &Nodes::default(),
            None,
            100,
            &[set(5), Change::Zero(6..100)]
        )
        .is_ok()
    );
}

/// What each way to use a tree says of it.
fn errors(nodes: &Nodes, tree: Tree) -> Vec<Error> {
    let mut visited = Visited::new();
    let lost = |visit| match visit {
        Visit::Lost { error, .. } => Some(error),
        _ => None,
    };
    let from_reader = TreeReader::new(nodes, tree.0, tree.1)
        .leaves(0..tree.1)
        .find_map(Result::err);
    let from_diff = diff(nodes, tree, (None, tree.1)).find_map(Result::err);
    let from_builder = build(
        nodes,
        Some(tree),
        tree.1,
        &[Change::Set(tree.1 - 1, Some(chunk(1)))],
    )
    .err();
    let from_walk = walk(nodes, tree.0, tree.1, &mut visited).find_map(lost);
    [from_reader, from_diff, from_builder, from_walk]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn a_node_that_is_in_the_wrong_place_is_damage_to_everybody() {
    let nodes = Nodes::default();
    let leaf = nodes.forge(0, &[(3, [1; 32])]);
    let inner = nodes.forge(1, &[(1, leaf.0)]);
    let skips_a_level = nodes.forge(2, &[(0, leaf.0)]);
    let cases = [
        (leaf, 3),               // bit 3 is past the end
        (leaf, 1_000),           // a leaf where the root is higher
        (inner, 64),             // an inner node where a leaf belongs
        (inner, 67),             // a leaf's bit past the end, further down
        (skips_a_level, 16_385), // a leaf below level 2
    ];
    for (root, chunks) in cases {
        if chunks == 16_385 {
            let reader = TreeReader::new(&nodes, Some(root), chunks);
            assert!(reader.leaves(0..chunks).any(|leaf| leaf.is_err()));
            continue;
        }
        let errors = errors(&nodes, (Some(root), chunks));
        assert_eq!(errors.len(), 4, "{root} of {chunks}");
        for error in errors {
            let damaged = matches!(
                error,
                Error::Damaged {
                    reason: Damage::Field,
                    ..
                }
            );
            assert!(damaged, "{error} for {root} of {chunks}");
        }
    }
    assert_eq!(
        read(&nodes, (Some(inner), 68)),
        Model::from([(67, chunk(1))])
    );
}

#[test]
fn a_base_is_checked_against_its_own_end_and_not_against_that_of_the_grown_disk() {
    let nodes = Nodes::default();
    let leaf = nodes.forge(0, &[(3, [1; 32])]);
    for (base_chunks, fits) in [(3, false), (4, true)] {
        let base = (Some(leaf), base_chunks);
        let grown = build(&nodes, Some(base), 64, &[Change::Set(9, Some(chunk(1)))]);
        assert_eq!(grown.is_ok(), fits);
    }
}

#[test]
fn having_been_visited_elsewhere_excuses_no_child_past_the_end() {
    let nodes = Nodes::default();
    let leaf = nodes.forge(0, &[(3, [1; 32]), (60, [2; 32])]);
    let root = nodes.forge(1, &[(0, leaf.0), (1, leaf.0)]);
    let mut visited = Visited::new();
    assert_eq!(walk(&nodes, Some(root), 128, &mut visited).count(), 4);
    assert_eq!(walk(&nodes, Some(root), 125, &mut visited).count(), 0);
    let visits: Vec<_> = walk(&nodes, Some(root), 124, &mut visited).collect();
    assert!(
        matches!(&visits[..], [Visit::Lost { id, chunks, .. }] if *id == leaf && *chunks == (64..124))
    );
}

#[test]
fn what_follows_a_lost_leaf_is_still_there() {
    let nodes = Nodes::default();
    let tree = full(&nodes, 1_000);
    let root = nodes.node(tree.0.unwrap()).unwrap();
    let gone = NodeId(root.child(2).unwrap());
    nodes.remove(gone);

    let (good, bad): (Vec<_>, Vec<_>) = TreeReader::new(&nodes, tree.0, tree.1)
        .leaves(0..1_000)
        .partition(Result::is_ok);
    assert_eq!(good.len(), 15);
    assert!(matches!(bad[..], [Err(Error::NodeLost { id })] if id == gone));

    let (good, bad): (Vec<_>, Vec<_>) = diff(&nodes, (None, 0), tree).partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (1_000 - 64, 1));

    let mut visited = Visited::new();
    for other in [chunk(1), chunk(2)] {
        // Each tree that needs it is told, not only the first.
        let beside = nodes.forge(0, &[(0, other.0)]);
        let needs_it = nodes.forge(1, &[(0, beside.0), (2, gone.0)]);
        let visits: Vec<_> = walk(&nodes, Some(needs_it), 1_000, &mut visited).collect();
        let [
            Visit::Node { .. },
            Visit::Node { .. },
            Visit::Chunk { .. },
            last,
        ] = &visits[..]
        else {
            panic!("{visits:?}");
        };
        assert!(
            matches!(last, Visit::Lost { id, chunks, .. } if *id == gone && *chunks == (128..192))
        );
    }
    let mut since = Visited::new();
    let visits = chunks_since(&nodes, &[(Some(gone), 64)], tree, &mut since);
    let chunks = visits
        .filter(|visit| matches!(visit, Visit::Chunk { .. }))
        .count();
    assert_eq!(chunks, 1_000 - 64, "a base that is lost leaves nothing out");
}

#[test]
fn an_empty_disk_has_no_tree_and_no_chunks() {
    let nodes = Nodes::default();
    for chunks in [0, 1, 1 << 40, u64::MAX] {
        let tree = build(&nodes, None, chunks, &[Change::Zero(0..chunks)]).unwrap();
        assert_eq!(tree.0, None);
        let reader = TreeReader::new(&nodes, None, chunks);
        assert_eq!(reader.get(0).unwrap(), None);
        assert_eq!(reader.leaves(0..chunks).count(), 0);
        assert_eq!(diff(&nodes, tree, (None, 7)).count(), 0);
    }
}

#[test]
fn the_root_of_a_known_tree_never_changes() {
    let nodes = Nodes::default();
    let tree = full(&nodes, 100);
    let leaf = |from: u8, to: u8| {
        let ids: Vec<u8> = (from..to).flat_map(|number| [number + 1; 32]).collect();
        let ones = u32::from(to - from);
        let mut bitmap = [0xff; 8];
        bitmap[(ones as usize / 8).min(8)..].fill(0);
        if ones % 8 > 0 {
            bitmap[ones as usize / 8] = (1 << (ones % 8)) - 1;
        }
        let bytes = [&[0; 4][..], &ones.to_le_bytes(), &bitmap, &ids].concat();
        blake3::derive_key("hypercbt 2026 disk tree node v0", &bytes)
    };
    let mut bitmap = [0; 32];
    bitmap[0] = 3;
    let root = [
        &[1, 0, 0, 0, 2, 0, 0, 0][..],
        &bitmap,
        &leaf(0, 64),
        &leaf(64, 100),
    ]
    .concat();
    let root = blake3::derive_key("hypercbt 2026 disk tree node v0", &root);
    assert_eq!(tree.0, Some(NodeId(root)));
}
