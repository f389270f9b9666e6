//! Layers of a chain above the file that changes count from (design §5.1).
//!
//! ```text
//! checkpoint's own layer    web01_5F3A.avhdx   read whole, and again the next time: it is thrown away
//! sealed in                 web01.vhdx         an RCT id tells what changed in this file since
//! ```
//!
//! An RCT id is of one file, the one that the machine wrote to when it was sealed. What stands in layers above that
//! file no answer covers, so it is read; and what a point read from such a layer may be gone the next time, so the
//! point says where that was, and whoever builds on it reads those places again.

use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_repo::PointDisk;
use hypercbt_vhdx::VirtualDisk;

use crate::{allocation::Grid, claims::Claims};

const MOST_EXTENTS: usize = PointDisk::MOST_LAYER_EXTENTS;

/// Where the one layer of a name stands, leaf first.
pub(crate) enum Found {
    At(usize),
    Nowhere,
    Often(usize),
}

/// Finds the layer of this file name. Hosts do not tell upper from lower case, so neither is told here.
pub(crate) fn find(disk: &VirtualDisk, name: &str) -> Found {
    let layers = disk.layers().iter().enumerate();
    let mut same = layers.filter(|(_, layer)| file_name(&layer.name).eq_ignore_ascii_case(name));
    match (same.next(), same.count()) {
        (Some((index, _)), 0) => Found::At(index),
        (None, _) => Found::Nowhere,
        (Some(_), more) => Found::Often(more + 1),
    }
}

/// The last part of a path of any system.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The chunks of which layers above layer `index` hold anything.
pub(crate) fn claims_above(disk: &VirtualDisk, grid: Grid, index: usize) -> Claims {
    Claims::of_sorted(grid, disk.held_above(index))
}

/// What layers above layer `index` hold, said in few words: gaps are filled until it is.
pub(crate) fn extents_above(disk: &VirtualDisk, index: usize) -> Vec<(u64, u64)> {
    few(disk.held_above(index))
        .iter()
        .map(|extent| (extent.start().0, extent.len().0))
        .collect()
}

/// A superset of sorted extents that has at most [`MOST_EXTENTS`], in bounded memory: the shortest gaps are filled
/// first, from 4 KiB on, since no read is smaller.
fn few(extents: impl Iterator<Item = Extent>) -> Extents {
    let (mut some, mut gap): (Vec<Extent>, u64) = (Vec::new(), 0);
    let shorten = |some: Vec<Extent>, gap: &mut u64| {
        let mut short = Extents::from_unsorted(some).coalesce(ByteLen(*gap));
        while short.len() > MOST_EXTENTS {
            *gap = (*gap * 2).max(4096);
            short = short.coalesce(ByteLen(*gap));
        }
        short
    };
    for extent in extents {
        some.push(extent);
        // Now and then, so that each is looked at a few times and not thousands.
        if some.len() > 4 * MOST_EXTENTS {
            some = shorten(some, &mut gap).into_iter().collect();
        }
    }
    shorten(some, &mut gap)
}

/// What a point says that it read from such layers, on a disk that may have shrunk since.
pub(crate) fn recorded(extents: &[(u64, u64)], disk_bytes: u64) -> Extents {
    let extents = extents.iter();
    let extents = extents.filter_map(|&(at, len)| Extent::new(DiskOffset(at), ByteLen(len)));
    let extents: Extents = extents.collect();
    extents.clip(DiskOffset(disk_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(at: u64, len: u64) -> Extent {
        Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
    }

    #[test]
    fn paths_of_any_system_end_in_their_file_name() {
        for path in [
            "disk.vhdx",
            "/mnt/VMs/disk.vhdx",
            r"C:\VMs\disk.vhdx",
            r"\\hv01/C$\disk.vhdx",
        ] {
            assert_eq!(file_name(path), "disk.vhdx");
        }
    }

    #[test]
    fn few_extents_are_told_as_they_are_and_neighbours_as_one() {
        let told = few([extent(0, 512), extent(512, 512), extent(4096, 1)].into_iter());
        assert_eq!(told.as_slice(), [extent(0, 1024), extent(4096, 1)]);
    }

    #[test]
    fn many_extents_become_few_and_lose_no_byte() {
        // Far more than are held at once, each twentieth of them behind a gap twice as long.
        let mut at = 0;
        let many: Vec<Extent> = (0..60_000)
            .map(|number| {
                at += 512 + (512 << (number % 20));
                extent(at, 512)
            })
            .collect();
        let told = few(many.iter().copied());
        assert!(
            (1000..=MOST_EXTENTS).contains(&told.len()),
            "{}",
            told.len()
        );
        let all = Extents::from_unsorted(many);
        assert!(all.subtract(&told).is_empty());
        assert_eq!(told.as_slice()[0].start(), all.as_slice()[0].start());
        assert_eq!(told.as_slice().last().unwrap().end().0, at + 512);
    }

    #[test]
    fn what_a_point_read_past_the_end_of_a_disk_that_shrank_is_left_out() {
        let told = recorded(&[(0, 10), (90, 20), (200, 1)], 100);
        assert_eq!(told.as_slice(), [extent(0, 10), extent(90, 10)]);
    }
}
