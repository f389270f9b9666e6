//! Which entries are to be replayed (MS-VHDX 2.3.3).
//!
//! A *run* is a row of valid entries, each where the one before ends and with the number after it. Its last entry,
//! the *head*, names its *tail*, an earlier entry of the run (or itself): from there to the head goes the *active
//! sequence*. Of all runs that hold their head's tail, the one with the greatest head number counts. Anything left
//! over from earlier rounds of the ring fails one of these tests.

use super::entry::Entry;

/// The active sequence, in order, or nothing if the log holds none. `entries` are sorted by place.
///
/// Of two heads with the greatest number, which no writer makes, the first in the log counts.
pub(super) fn active(entries: &[Entry], sectors: u64) -> Vec<Entry> {
    let heads = heads(entries, sectors);
    let mut best: Option<(usize, usize)> = None;
    for (index, entry) in entries.iter().enumerate() {
        let is_head = heads.get(index) == Some(&index);
        let tail = find(entries, entry.tail).filter(|tail| heads.get(*tail) == Some(&index));
        let best_number = best
            .and_then(|(_, head)| entries.get(head))
            .map_or(0, |head| head.sequence_number);
        if let (true, Some(tail)) = (is_head && entry.sequence_number > best_number, tail) {
            best = Some((tail, index));
        }
    }
    let mut sequence = Vec::new();
    let mut next = best.map(|(tail, _)| tail);
    while let Some(entry) = next.and_then(|index| entries.get(index)) {
        sequence.push(*entry);
        next = successor(entries, entry, sectors);
    }
    sequence
}

/// For each entry the head of the run that it is in.
fn heads(entries: &[Entry], sectors: u64) -> Vec<usize> {
    let mut by_number: Vec<usize> = (0..entries.len()).collect();
    by_number.sort_unstable_by_key(|index| entries.get(*index).map(|entry| entry.sequence_number));
    let mut heads = vec![0; entries.len()];
    // From the greatest number down: an entry's successor, having a greater one, knows its head already.
    for index in by_number.into_iter().rev() {
        let next = entries
            .get(index)
            .and_then(|entry| successor(entries, entry, sectors));
        let head = next
            .and_then(|next| heads.get(next).copied())
            .unwrap_or(index);
        if let Some(place) = heads.get_mut(index) {
            *place = head;
        }
    }
    heads
}

fn successor(entries: &[Entry], entry: &Entry, sectors: u64) -> Option<usize> {
    let next = find(entries, (entry.sector + entry.sectors) % sectors.max(1))?;
    let number = entries.get(next)?.sequence_number;
    (Some(number) == entry.sequence_number.checked_add(1)).then_some(next)
}

fn find(entries: &[Entry], sector: u64) -> Option<usize> {
    entries
        .binary_search_by_key(&sector, |entry| entry.sector)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(place, length, tail, number)`
    fn numbers(entries: &[(u64, u64, u64, u64)]) -> Vec<u64> {
        let entries: Vec<Entry> = entries
            .iter()
            .map(|(sector, sectors, tail, sequence_number)| Entry {
                sector: *sector,
                sectors: *sectors,
                tail: *tail,
                sequence_number: *sequence_number,
                descriptor_count: 0,
                flushed_file_bytes: 0,
                last_file_bytes: 0,
            })
            .collect();
        active(&entries, 256)
            .iter()
            .map(|entry| entry.sequence_number)
            .collect()
    }

    #[test]
    fn a_single_entry_that_is_its_own_tail_is_a_sequence() {
        assert_eq!(numbers(&[(8, 2, 8, 5)]), [5]);
    }

    #[test]
    fn replay_begins_at_the_tail_of_the_head_not_at_the_start_of_the_run() {
        assert_eq!(numbers(&[(0, 2, 0, 5), (2, 2, 0, 6), (4, 3, 2, 7)]), [6, 7]);
    }

    #[test]
    fn a_stale_entry_behind_the_head_is_not_replayed() {
        assert_eq!(numbers(&[(0, 2, 0, 5), (2, 2, 0, 6), (4, 3, 4, 4)]), [5, 6]);
        assert_eq!(
            numbers(&[(0, 2, 0, 5), (2, 2, 0, 6), (4, 3, 200, 9)]),
            [5, 6]
        );
    }

    #[test]
    fn an_entry_that_is_not_where_the_last_one_ends_does_not_follow_it() {
        assert_eq!(numbers(&[(0, 2, 0, 5), (3, 2, 0, 6)]), [5]);
    }

    #[test]
    fn of_two_sequences_the_one_with_the_greater_head_counts_wherever_it_is() {
        assert_eq!(numbers(&[(0, 2, 0, 5), (2, 2, 0, 6), (90, 1, 90, 9)]), [9]);
        assert_eq!(
            numbers(&[(0, 2, 0, 15), (2, 2, 0, 16), (90, 1, 90, 9)]),
            [15, 16]
        );
    }

    #[test]
    fn the_head_of_a_run_decides_and_not_its_first_entry() {
        assert_eq!(
            numbers(&[(0, 2, 0, 4), (2, 2, 0, 5), (4, 2, 0, 6), (90, 1, 90, 5)]),
            [4, 5, 6]
        );
    }

    #[test]
    fn a_run_whose_head_points_outside_it_does_not_count() {
        assert_eq!(numbers(&[(0, 2, 0, 5), (90, 1, 0, 9)]), [5]);
        assert_eq!(numbers(&[(90, 1, 3, 9)]), [0; 0]);
    }

    #[test]
    fn a_run_goes_around_the_end_of_the_ring() {
        assert_eq!(
            numbers(&[(1, 2, 250, 7), (3, 1, 250, 8), (250, 7, 250, 6)]),
            [6, 7, 8]
        );
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(numbers(&[(0, 1, 0, u64::MAX), (1, 1, 1, 0)]), [u64::MAX]);
    }

    #[test]
    fn no_entries_are_no_sequence() {
        assert_eq!(numbers(&[]), [0; 0]);
    }
}
