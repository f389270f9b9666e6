//! Trees against a model that is too simple to be wrong: which chunk holds what.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

fn apply(model: &mut Model, changes: &[Change]) {
    for change in changes {
        match change.clone() {
            Change::Set(chunk, Some(id)) => drop(model.insert(chunk, id)),
            Change::Set(chunk, None) => drop(model.remove(&chunk)),
            Change::Zero(range) => model.retain(|chunk, _| !range.contains(chunk)),
        }
    }
}

fn sets(model: &Model) -> Vec<Change> {
    let set = |(chunk, id): (&u64, &ChunkId)| Change::Set(*chunk, Some(*id));
    model.iter().map(set).collect()
}

/// The places on the paths from the root to these chunks.
fn paths(chunks: u64, touched: impl IntoIterator<Item = u64>) -> HashSet<Place> {
    let mut places = HashSet::new();
    for chunk in touched {
        let mut place = TreeShape::new(chunks).root();
        places.insert(place);
        while place.level() > 0 {
            place = place.child(place.index_of(chunk));
            places.insert(place);
        }
    }
    places
}

fn touched(changes: &[Change]) -> Vec<u64> {
    let ends = |change: &Change| match change {
        Change::Set(chunk, _) => [*chunk, *chunk],
        Change::Zero(range) => [range.start, range.end - 1],
    };
    changes.iter().flat_map(ends).collect()
}

fn difference(a: &Model, b: &Model) -> Vec<u64> {
    let both: BTreeSet<_> = a.keys().chain(b.keys()).copied().collect();
    both.into_iter()
        .filter(|chunk| a.get(chunk) != b.get(chunk))
        .collect()
}

/// Every node of a tree with the places where it stands, the simple way.
fn all_nodes(nodes: &Nodes, id: Option<NodeId>, place: Place, found: &mut HashSet<NodeId>) {
    let Some(id) = id else { return };
    found.insert(id);
    let node = nodes.node(id).unwrap();
    for (index, child) in node.children().iter().enumerate() {
        if place.level() > 0 {
            all_nodes(nodes, child.map(NodeId), place.child(index), found);
        }
    }
}

fn check_generation(nodes: &Nodes, base: (Tree, &Model), next: (Tree, &Model), changes: &[Change]) {
    let ((base, before), (tree, after)) = (base, next);
    assert_eq!(read(nodes, tree), *after, "the reader equals the model");

    let reader = TreeReader::new(nodes, tree.0, tree.1);
    let mut cursor = reader.cursor();
    let near = |at: u64| [at.saturating_sub(1), at, at + 1, at + 64];
    for at in touched(changes).into_iter().rev().flat_map(near) {
        assert_eq!(reader.get(at).unwrap(), after.get(&at).copied());
        assert_eq!(cursor.get(at).unwrap(), after.get(&at).copied());
    }
    if let [from, .., to] = touched(changes)[..] {
        let expected = after.range(from..to).count() as u64;
        assert_eq!(reader.count_non_null(from..to).unwrap(), expected);
    }

    let again = build(&Nodes::default(), None, tree.1, &sets(after)).unwrap();
    assert_eq!(
        again, tree,
        "equal content has an equal root, however it came about"
    );

    let differing = difference(before, after);
    let collect = |a, b| diff(nodes, a, b).map(Result::unwrap).collect::<Vec<_>>();
    let (forward, loads, _) = nodes.counting(|| collect(base, tree));
    assert_eq!(forward, differing);
    assert_eq!(collect(tree, base), differing);
    // Trees of other heights differ above the lower one's root, too.
    let lifted = TreeShape::new(tree.1).height() - TreeShape::new(base.1).height();
    let most = 2 * paths(tree.1, differing.iter().copied()).len() + usize::from(lifted);
    assert!(loads <= most, "{loads} loads where {most} are enough");
}

fn check_walks(nodes: &Nodes, base: (Tree, &Model), next: (Tree, &Model)) {
    let ((base, before), (tree, after)) = (base, next);
    let mut visited = Visited::new();
    let mut seen = HashSet::new();
    let mut chunks = BTreeSet::new();
    for (tree, model) in [(base, before), (tree, after), (tree, after)] {
        for visit in walk(nodes, tree.0, tree.1, &mut visited) {
            match visit {
                Visit::Node { id, .. } => assert!(seen.insert(id), "each node once"),
                Visit::Chunk { id, chunk } => {
                    assert_eq!(model.get(&chunk), Some(&id));
                    chunks.insert(id);
                }
                Visit::Lost { error, .. } => panic!("{error}"),
            }
        }
    }
    let mut expected = HashSet::new();
    for tree in [base, tree] {
        all_nodes(nodes, tree.0, TreeShape::new(tree.1).root(), &mut expected);
    }
    assert_eq!(seen, expected);
    assert!(
        chunks.iter().eq(before
            .values()
            .chain(after.values())
            .collect::<BTreeSet<_>>())
    );

    for ((base, before), (tree, after)) in [
        ((base, before), (tree, after)),
        ((tree, after), (base, before)), // a higher base of a lower tree too
    ] {
        let mut visited = Visited::new();
        let (visits, loads, _) =
            nodes.counting(|| chunks_since(nodes, &[base], tree, &mut visited).collect::<Vec<_>>());
        let changed = difference(before, after);
        let different = paths(tree.1.max(base.1), changed.iter().copied()).len();
        assert!(
            loads <= 2 * different + 8,
            "{loads} loads for {different} places"
        );
        let mut found = HashSet::new();
        for visit in visits {
            if let Visit::Chunk { id, chunk } = visit {
                assert_eq!(after.get(&chunk), Some(&id));
                assert!(changed.contains(&chunk));
                found.insert(id);
            }
        }
        let old: HashSet<_> = before.values().collect();
        let mut new = after.values().filter(|id| !old.contains(id));
        assert!(
            new.all(|id| found.contains(id)),
            "what no base holds is visited"
        );
    }
}

/// A jump, what happens where it ends, and to how many chunks.
type RawChange = (u64, u8, u64);

/// Changes in ascending order.
fn changes(largest_jump: u64) -> impl Strategy<Value = Vec<RawChange>> {
    let distance = prop_oneof![0..3_u64, 0..70_u64, 0..=largest_jump];
    prop::collection::vec((distance.clone(), 0..8_u8, distance), 0..24)
}

fn place_changes(raw: &[RawChange], chunks: u64) -> Vec<Change> {
    let mut at = 0;
    let mut placed = Vec::new();
    for &(jump, what, len) in raw {
        at += jump;
        let end = match what {
            0 | 1 => (at + len).min(chunks),
            _ => at + 1,
        };
        if at >= chunks || end <= at {
            continue;
        }
        placed.push(match what {
            0 | 1 => Change::Zero(at..end),
            2 => Change::Set(at, None),
            // Few ids, so that a chunk is often set to what it was, and leaves are equal by chance.
            _ => Change::Set(at, Some(chunk(what % 3))),
        });
        at = end;
    }
    placed
}

fn check_history(start: u64, generations: &[(u64, Vec<RawChange>)]) {
    let nodes = Nodes::default();
    let mut model = Model::new();
    let mut base: Tree = (None, start);
    for (growth, raw) in generations {
        let chunks = base.1 + growth;
        let changes = place_changes(raw, chunks);
        let before = model.clone();
        apply(&mut model, &changes);

        let (tree, loads, puts) =
            nodes.counting(|| build(&nodes, Some(base), chunks, &changes).unwrap());
        let mut allowed = touched(&changes);
        if base.0.is_some() && TreeShape::new(base.1).height() < TreeShape::new(chunks).height() {
            allowed.push(0); // the old root hangs at the left edge
        }
        let allowed = paths(chunks, allowed).len();
        assert!(
            puts <= allowed && loads <= allowed,
            "{puts} puts, {loads} loads for {allowed} places"
        );

        check_generation(&nodes, (base, &before), (tree, &model), &changes);
        check_walks(&nodes, (base, &before), (tree, &model));

        let (same, _, puts) =
            nodes.counting(|| build(&nodes, Some(tree), chunks, &sets(&model)).unwrap());
        assert_eq!(
            (same, puts),
            (tree, 0),
            "setting what is there already puts nothing"
        );
        let all = [Change::Zero(0..chunks)];
        let (empty, loads, puts) =
            nodes.counting(|| build(&nodes, Some(tree), chunks, &all).unwrap());
        assert!(
            empty.0.is_none() && puts == 0 && loads <= 1,
            "zeros are null and need no look"
        );
        base = tree;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn small_disks_hold_what_the_model_holds(
        start in prop_oneof![1..130_u64, 16_000..17_000_u64],
        generations in prop::collection::vec((prop_oneof![Just(0), 0..200_u64, 0..20_000_u64], changes(9_000)), 1..5),
    ) {
        check_history(start, &generations);
    }

    #[test]
    fn large_sparse_disks_hold_what_the_model_holds(
        start in 1_u64 << 20..1 << 29,
        generations in prop::collection::vec((prop_oneof![Just(0), 0_u64..1 << 29], changes(1 << 27)), 1..4),
    ) {
        check_history(start, &generations);
    }
}
