//! Segments of a disk, by numbers.

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::{FileIndex, FileOffset, Place, Segment, VirtualDisk};

pub fn extent(at: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(at), ByteLen(len)).unwrap()
}

pub fn data(at: u64, len: u64, file: u32, file_at: u64) -> Segment {
    let place = Place::Data {
        file: FileIndex(file),
        at: FileOffset(file_at),
    };
    Segment {
        extent: extent(at, len),
        place,
    }
}

pub fn zero(at: u64, len: u64) -> Segment {
    Segment {
        extent: extent(at, len),
        place: Place::Zero,
    }
}

pub fn resolve(disk: &VirtualDisk) -> Vec<Segment> {
    disk.resolve(extent(0, disk.size().0)).unwrap()
}
