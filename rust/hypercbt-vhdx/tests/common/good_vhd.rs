//! A small legacy VHD without fault, to be changed in one place.

use super::vhd::VhdImage;
use super::{MIB, open, read, refusal};
use hypercbt_vhdx::VirtualDisk;

/// A disk of 8 MiB in blocks of 2 MiB, of which block 1 begins with `payload`.
pub fn good() -> VhdImage {
    let mut image = VhdImage::dynamic(8 * MIB, 2 * MIB);
    image.full(1, 7, b"payload");
    image
}

pub fn reads(change: impl FnOnce(&mut VhdImage)) -> VirtualDisk {
    let mut image = good();
    change(&mut image);
    let disk = open([image.build()]).unwrap();
    assert_eq!(read(&disk, 2 * MIB, 7), b"payload");
    assert_eq!(read(&disk, 0, 7), [0; 7]);
    disk
}

pub fn refused(change: impl FnOnce(&mut VhdImage)) -> String {
    let mut image = good();
    change(&mut image);
    refusal(open([image.build()]))
}
