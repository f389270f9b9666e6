//! Where data is and where holes are, in the disk's words and in the protocol's.

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::{Content, Export, protocol::state};

/// What requests should be multiples of: a page, the unit of most guests.
pub(crate) const PREFERRED_BLOCK_BYTES: u32 = 4096;

/// Descriptors in one reply, 512 KiB; the client asks again for the rest.
const MAX_DESCRIPTORS: usize = 64 << 10;

/// Bytes of the disk that are asked for at once, so that no answer of the disk is large: if every
/// other sector were a hole, 256 MiB would have half a million segments.
const STEP: u64 = 256 << 20;

/// The data and holes of `extent`, all of it.
///
/// Where the disk cannot tell, or does not tell of every byte, all counts as data, which is never
/// wrong (NBD "Metadata contexts"): reading fails for no more than what is lost, and says why.
pub(crate) fn partition(export: &dyn Export, extent: Extent) -> Vec<(Extent, Content)> {
    match export.segments(extent) {
        Ok(segments) if covers(&segments, extent) => segments,
        _ => vec![(extent, Content::Data)],
    }
}

fn covers(segments: &[(Extent, Content)], extent: Extent) -> bool {
    let mut at = extent.start();
    let follows = |(part, _): &(Extent, Content)| {
        let follows = part.start() == at;
        at = part.end();
        follows
    };
    segments.iter().all(follows) && at == extent.end()
}

/// Lengths and states from the start of `extent` on: at least one, and as many as fit, or only `one`.
pub(crate) fn descriptors(export: &dyn Export, extent: Extent, one: bool) -> Vec<(u32, u32)> {
    let most = if one { 1 } else { MAX_DESCRIPTORS };
    let mut found: Vec<(u32, u32)> = Vec::new();
    for step in steps(extent, ByteLen(STEP)) {
        for (part, content) in partition(export, step) {
            let len = u32::try_from(part.len().0).expect("a request is shorter than 4 GiB");
            let state = match content {
                Content::Data => state::DATA,
                Content::Zero => state::HOLE_AND_ZERO,
            };
            match found.last_mut() {
                Some((last_len, last_state)) if *last_state == state => {
                    *last_len += len;
                    continue;
                }
                _ => {}
            }
            if found.len() == most {
                return found;
            }
            found.push((len, state));
        }
    }
    found
}

/// Parts of `extent` that end at multiples of `step`, or at its end.
pub(crate) fn steps(extent: Extent, step: ByteLen) -> impl Iterator<Item = Extent> {
    let mut at = extent.start();
    std::iter::from_fn(move || {
        let border = (at.0 / step.0 + 1).saturating_mul(step.0);
        let part = Extent::between(at, extent.end().min(DiskOffset(border)))?;
        at = part.end();
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn extent(start: u64, len: u64) -> Extent {
        Extent::new(DiskOffset(start), ByteLen(len)).unwrap()
    }

    /// A disk of 3 GiB, every other page of which is a hole.
    struct Comb;

    impl Export for Comb {
        fn size(&self) -> ByteLen {
            ByteLen(3 << 30)
        }
        fn is_read_only(&self) -> bool {
            true
        }
        fn read_at(&self, _: DiskOffset, _: &mut [u8]) -> io::Result<()> {
            unreachable!("nobody reads")
        }
        fn write_at(&self, _: DiskOffset, _: &[u8]) -> io::Result<()> {
            unreachable!("nobody writes")
        }
        fn zero(&self, _: Extent, _: bool) -> io::Result<()> {
            unreachable!("nobody writes")
        }
        fn unmap(&self, _: Extent) -> io::Result<()> {
            unreachable!("nobody writes")
        }
        fn flush(&self) -> io::Result<()> {
            unreachable!("nobody writes")
        }
        fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
            assert!(extent.len().0 <= STEP, "an answer of the disk is bounded");
            let content = |part: &Extent| match part.start().0 / 4096 % 2 {
                0 => Content::Data,
                _ => Content::Zero,
            };
            let parts = steps(extent, ByteLen(4096));
            Ok(parts.map(|part| (part, content(&part))).collect())
        }
    }

    #[test]
    fn a_disk_of_many_pieces_is_told_of_in_part() {
        let found = descriptors(&Comb, extent(0, 3 << 30), false);
        assert_eq!(found.len(), MAX_DESCRIPTORS);
        assert_eq!(found[..3], [(4096, 0), (4096, 3), (4096, 0)]);
        assert_eq!(descriptors(&Comb, extent(4096, 3 << 20), true), [(4096, 3)]);
    }

    #[test]
    fn steps_end_at_multiples_and_cover_everything() {
        let parts: Vec<_> = steps(extent(5, 20), ByteLen(8)).collect();
        assert_eq!(
            parts,
            [extent(5, 3), extent(8, 8), extent(16, 8), extent(24, 1)]
        );
        let whole: Vec<_> = steps(extent(8, 8), ByteLen(8)).collect();
        assert_eq!(whole, [extent(8, 8)]);
    }

    #[test]
    fn steps_end_at_the_largest_number() {
        let parts: Vec<_> = steps(extent(u64::MAX - 9, 9), ByteLen(1 << 63)).collect();
        assert_eq!(parts, [extent(u64::MAX - 9, 9)]);
    }
}
