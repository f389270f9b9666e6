//! A small disk without fault, to be changed in one place.

use super::image::Image;
use super::{MIB, open, read, refusal};
use hypercbt_vhdx::VirtualDisk;

/// A disk of 8 MiB in blocks of 1 MiB, of which block 1 begins with `payload`.
pub fn good() -> Image {
    let mut image = Image::dynamic(8 * MIB, MIB, 512);
    image.block(1, 6, 4 * MIB, b"payload");
    image
}

pub fn refused(change: impl FnOnce(&mut Image)) -> String {
    let mut image = good();
    change(&mut image);
    refusal(open([image.build()]))
}

pub fn reads(change: impl FnOnce(&mut Image)) -> VirtualDisk {
    let mut image = good();
    change(&mut image);
    let disk = open([image.build()]).unwrap();
    assert_eq!(read(&disk, MIB, 7), b"payload");
    assert_eq!(read(&disk, 0, 7), [0; 7]);
    disk
}

pub const ANY: &str = "11111111-2222-3333-4444-555555555555";
