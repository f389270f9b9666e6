//! Legacy VHD files as fuzz inputs. They are decoded and exercised as VHDX files are; see [`crate::vhdx`].

use crate::common::sparse::SparseFile;

/// Where the checksum of a footer is.
const FOOTER_SUM: usize = 64;
/// Where the checksum of a dynamic header is.
const HEADER_SUM: usize = 36;

/// Makes all checksums right, so that a changed file gets past them.
pub fn fix_checksums(file: &mut SparseFile) {
    let len = file.bytes();
    let places = [Some(0), len.checked_sub(512), len.checked_sub(511)];
    for at in places.into_iter().flatten() {
        let bytes = (len - at).min(512) as usize;
        let mut footer = file.read(at, bytes);
        if bytes < 511 || footer[..8] != *b"conectix" {
            continue;
        }
        seal(&mut footer, FOOTER_SUM);
        file.write(at, &footer);
        let header_at = u64::from_be_bytes(footer[16..24].try_into().expect("8 bytes"));
        if header_at.checked_add(1024).is_some_and(|end| end <= len) {
            let mut header = file.read(header_at, 1024);
            seal(&mut header, HEADER_SUM);
            file.write(
                header_at + HEADER_SUM as u64,
                &header[HEADER_SUM..HEADER_SUM + 4],
            );
        }
    }
}

fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum = crate::common::vhd::sum(bytes);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
}
