//! `Extents` against a model too simple to be wrong: a set of byte numbers.

use std::collections::BTreeSet;

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use proptest::prelude::*;

/// The bytes that a test plays with: few enough to name each one, many enough for everything
/// to overlap, touch and miss.
const UNIVERSE: u64 = 200;

/// Extents in any order, in the first or the very last bytes that a disk could have.
fn ranges() -> impl Strategy<Value = Vec<Extent>> {
    proptest::collection::vec((0..UNIVERSE, 1..20_u64), 0..24).prop_map(|pairs| {
        pairs
            .into_iter()
            .filter_map(|(start, len)| {
                let end = (start + len).min(UNIVERSE);
                Extent::between(DiskOffset(start), DiskOffset(end))
            })
            .collect()
    })
}

/// Moves extents to where arithmetic overflows.
fn shifted(extents: &[Extent], base: u64) -> Vec<Extent> {
    extents
        .iter()
        .map(|extent| {
            Extent::new(DiskOffset(base + extent.start().0), extent.len())
                .expect("each base leaves room for the universe")
        })
        .collect()
}

fn bases() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(12_345), Just(u64::MAX - UNIVERSE)]
}

fn bytes<'a>(extents: impl IntoIterator<Item = &'a Extent>) -> BTreeSet<u64> {
    extents
        .into_iter()
        .flat_map(|extent| extent.start().0..extent.end().0)
        .collect()
}

/// Checks the shape that every operation promises, and returns the bytes.
fn checked(extents: &Extents) -> BTreeSet<u64> {
    assert!(
        extents
            .as_slice()
            .is_sorted_by(|one, two| one.end() < two.start()),
        "not sorted, disjoint, non-adjacent: {extents:?}"
    );
    bytes(extents.as_slice())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn normalising_keeps_every_byte_and_is_idempotent(raw in ranges(), base in bases()) {
        let raw = shifted(&raw, base);
        let extents = Extents::from_unsorted(raw.clone());
        let model = bytes(&raw);
        prop_assert_eq!(checked(&extents), model.clone());
        prop_assert_eq!(extents.total().0, model.len() as u64);
        prop_assert_eq!(extents.is_empty(), model.is_empty());
        prop_assert_eq!(Extents::from_unsorted(extents.as_slice().to_vec()), extents.clone());
        prop_assert_eq!(extents.iter().rev().collect::<Extents>(), extents);
    }

    #[test]
    fn the_algebra_is_that_of_sets(left in ranges(), right in ranges(), base in bases()) {
        let (left, right) = (shifted(&left, base), shifted(&right, base));
        let (a, b) = (bytes(&left), bytes(&right));
        let (left, right) = (Extents::from_unsorted(left), Extents::from_unsorted(right));
        prop_assert_eq!(checked(&left.intersect(&right)), &a & &b);
        prop_assert_eq!(checked(&left.union(&right)), &a | &b);
        prop_assert_eq!(checked(&left.subtract(&right)), &a - &b);
    }

    #[test]
    fn alignment_adds_the_rest_of_each_touched_cell_up_to_the_end(
        raw in ranges(),
        base in bases(),
        grid in 1..90_u64,
        end in 0..=UNIVERSE,
    ) {
        let (raw, end) = (shifted(&raw, base), base + end);
        let model: BTreeSet<u64> = bytes(&raw)
            .into_iter()
            .map(u128::from)
            .map(|byte| byte / u128::from(grid) * u128::from(grid))
            .flat_map(|cell| cell..cell + u128::from(grid))
            .filter(|byte| *byte < u128::from(end))
            .map(|byte| u64::try_from(byte).unwrap())
            .collect();
        let aligned = Extents::from_unsorted(raw).align(ByteLen(grid), DiskOffset(end));
        prop_assert_eq!(checked(&aligned), model);
        prop_assert_eq!(aligned.align(ByteLen(grid), DiskOffset(end)), aligned);
    }

    #[test]
    fn splitting_then_joining_is_the_identity(raw in ranges(), base in bases(), grid in 1..90_u64) {
        let extents = Extents::from_unsorted(shifted(&raw, base));
        let pieces: Vec<Extent> = extents.split(ByteLen(grid)).collect();
        for piece in &pieces {
            prop_assert_eq!(piece.start().0 / grid, (piece.end().0 - 1) / grid);
        }
        prop_assert!(pieces.is_sorted_by(|one, two| one.end() <= two.start()));
        prop_assert_eq!(pieces.into_iter().collect::<Extents>(), extents);
    }

    #[test]
    fn pieces_are_as_long_as_the_grid_allows(raw in ranges(), base in bases(), grid in 1..90_u64) {
        let extents = Extents::from_unsorted(shifted(&raw, base));
        let pieces: Vec<Extent> = extents.split(ByteLen(grid)).collect();
        for pair in pieces.windows(2) {
            prop_assert!(pair[0].end() < pair[1].start() || pair[1].start().0 % grid == 0);
        }
    }

    #[test]
    fn cells_are_the_numbers_of_the_touched_cells(
        raw in ranges(),
        base in bases(),
        grid in prop_oneof![1..90_u64, Just(u64::MAX)],
    ) {
        let raw = shifted(&raw, base);
        let model: BTreeSet<u64> = bytes(&raw).iter().map(|byte| byte / grid).collect();
        let extents = Extents::from_unsorted(raw);
        let cells: Vec<u64> = extents.cells(ByteLen(grid)).collect();
        prop_assert!(cells.is_sorted_by(|one, two| one < two));
        prop_assert_eq!(cells.into_iter().collect::<BTreeSet<_>>(), model);
        let runs: Vec<_> = extents.cell_runs(ByteLen(grid)).collect();
        prop_assert!(runs.is_sorted_by(|one, two| one.end < two.start));
    }

    #[test]
    fn coalescing_fills_exactly_the_short_gaps(
        raw in ranges(),
        base in bases(),
        gap in prop_oneof![0..12_u64, Just(u64::MAX)],
    ) {
        let extents = Extents::from_unsorted(shifted(&raw, base));
        let mut model = checked(&extents);
        for pair in extents.as_slice().windows(2) {
            let between = pair[0].end().0..pair[1].start().0;
            if between.end - between.start <= gap {
                model.extend(between);
            }
        }
        let coalesced = extents.coalesce(ByteLen(gap));
        prop_assert_eq!(checked(&coalesced), model);
        prop_assert_eq!(coalesced.coalesce(ByteLen(gap)), coalesced);
    }

    #[test]
    fn clipping_keeps_the_bytes_before_the_end(raw in ranges(), base in bases(), end in 0..=UNIVERSE) {
        let (raw, end) = (shifted(&raw, base), base + end);
        let model: BTreeSet<u64> = bytes(&raw).into_iter().filter(|byte| *byte < end).collect();
        prop_assert_eq!(checked(&Extents::from_unsorted(raw).clip(DiskOffset(end))), model);
    }

    #[test]
    fn searching_finds_what_a_scan_finds(
        raw in ranges(),
        base in bases(),
        start in 0..UNIVERSE,
        len in 1..40_u64,
    ) {
        let extents = Extents::from_unsorted(shifted(&raw, base));
        let end = base + (start + len).min(UNIVERSE);
        let probe = Extent::between(DiskOffset(base + start), DiskOffset(end)).unwrap();
        let scan: Vec<Extent> = extents
            .iter()
            .filter(|extent| extent.intersection(probe).is_some())
            .collect();
        prop_assert_eq!(extents.intersecting(probe), scan.as_slice());
        prop_assert_eq!(
            extents.contains(probe.start()),
            bytes(extents.as_slice()).contains(&probe.start().0)
        );
    }
}
