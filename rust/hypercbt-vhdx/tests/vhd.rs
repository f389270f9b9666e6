//! Footers of legacy VHD files: which counts, what it says, and what is no VHD.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use common::good_vhd::{good, reads, refused};
use common::sparse::SparseFile;
use common::vhd::{VhdImage, fixed};
use common::{MIB, open, read, refusal};
use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::{FileOffset, Guid, Kind, ReadAt, VirtualDisk};

fn extent(start: u64, len: u64) -> Extent {
    Extent::new(DiskOffset(start), ByteLen(len)).unwrap()
}

// Footers.

#[test]
fn a_dynamic_disk_tells_what_it_is() {
    let disk = reads(|_| ());
    let layer = &disk.layers()[0];
    assert_eq!(disk.format().as_str(), "vhd");
    assert_eq!((disk.size(), layer.kind), (ByteLen(8 * MIB), Kind::Dynamic));
    assert_eq!(
        (disk.logical_sector_bytes(), disk.physical_sector_bytes()),
        (512, 512)
    );
    assert_eq!(
        (disk.block_bytes(), layer.present_blocks),
        (Some(2 << 20), 1)
    );
    assert_eq!(disk.disk_id(), Some(Guid([0xD1; 16])));
    assert_eq!(layer.creator.as_deref(), Some("win"));
    assert!(!layer.footer_is_copy);
    assert_eq!(disk.allocated().as_slice(), [extent(2 * MIB, 2 * MIB)]);
}

#[test]
fn a_fixed_disk_is_its_bytes_without_the_footer_and_its_holes_are_zeros() {
    let mut payload = vec![0; 3 << 20];
    payload[100] = 7;
    let disk = open([fixed(&payload, |_| ())]).unwrap();
    assert_eq!(
        (disk.format().as_str(), disk.layers()[0].kind),
        ("vhd", Kind::Fixed)
    );
    assert_eq!((disk.size().0, disk.block_bytes()), (3 * MIB, None));
    assert!(read(&disk, 0, 3 << 20) == payload);
    let past = Extent::new(DiskOffset(3 * MIB - 1), ByteLen(2)).unwrap();
    assert!(disk.segments(past).is_err());

    let mut sparse = SparseFile::default();
    sparse.write(8192, &[1; 4096]);
    sparse.set_len(3 * MIB);
    let footer = fixed(&payload, |_| ()).read(3 * MIB, 512);
    sparse.write(3 * MIB, &footer);
    assert_eq!(
        open([sparse]).unwrap().allocated().as_slice(),
        [extent(8192, 4096)]
    );
}

#[test]
fn the_current_size_counts_whatever_the_geometry_says() {
    // qemu and Virtual PC would show 120 * 4 * 17 sectors of it to their guests.
    for creator in [*b"vpc ", *b"qemu", *b"qem2", *b"win ", *b"d2v\0"] {
        let disk = reads(|image| {
            image.footer.creator = creator;
            image.footer.geometry = (120, 4, 17);
        });
        assert_eq!(disk.size().0, 8 * MIB);
    }
}

#[test]
fn a_footer_with_a_wrong_checksum_is_none() {
    let damaged = fixed(&[7; 1024], |footer| footer.checksum_error = 1);
    assert_eq!(refusal(open([damaged])), "footer: neither copy is valid");
    assert_eq!(
        refused(|image| image.footer.checksum_error = 1),
        "footer: neither copy is valid"
    );
}

#[test]
fn the_copy_serves_where_the_footer_is_damaged_missing_or_cut_off() {
    let intact = Some(good().footer.bytes());
    let damaged = reads(|image| {
        image.copy = intact;
        image.footer.checksum_error = 1;
    });
    let missing = reads(|image| {
        image.copy = intact;
        image.footer.signature = [0; 8];
    });
    let cut = reads(|image| image.has_footer = false);
    for disk in [damaged, missing, cut] {
        assert!(disk.layers()[0].footer_is_copy);
    }
}

#[test]
fn the_footer_serves_where_the_copy_is_damaged() {
    let mut footer = good().footer;
    footer.checksum_error = 1;
    assert!(!reads(|image| image.copy = Some(footer.bytes())).layers()[0].footer_is_copy);
    reads(|image| image.copy = Some([0; 512]));
}

#[test]
fn copies_that_contradict_each_other_are_refused_and_harmless_differences_are_not() {
    let with = |change: fn(&mut common::vhd::VhdFooter)| {
        let mut footer = good().footer;
        change(&mut footer);
        footer.bytes()
    };
    let contradiction = "footer: the two copies contradict each other";
    for change in [
        (|footer| footer.size += 512) as fn(&mut common::vhd::VhdFooter),
        |footer| footer.id = [9; 16],
        |footer| footer.kind = 4,
        |footer| footer.header_at = 1024,
    ] {
        assert_eq!(
            refused(|image| image.copy = Some(with(change))),
            contradiction
        );
    }
    reads(|image| image.copy = Some(with(|footer| footer.creator = *b"vpc ")));
    reads(|image| image.copy = Some(with(|footer| footer.geometry = (7, 7, 7))));
}

#[test]
fn what_the_guest_of_a_fixed_disk_wrote_at_its_start_is_no_footer() {
    let mut payload = vec![0; 4 << 20];
    let inner = good().build().read(0, 2048);
    payload[..2048].copy_from_slice(&inner);
    let disk = open([fixed(&payload, |_| ())]).unwrap();
    assert_eq!(disk.layers()[0].kind, Kind::Fixed);
    assert!(read(&disk, 0, 2048) == inner);
    // Nor can a fixed disk's footer stand there.
    let mut copy = fixed(&[0; 1024], |_| ()).read(1024, 512);
    copy.resize(4096, 0);
    let mut file = SparseFile::default();
    file.write(0, &copy);
    assert_eq!(refusal(open([file])), "footer: neither copy is valid");
}

#[test]
fn a_footer_of_511_bytes_is_read() {
    reads(|image| image.footer_bytes = 511);
    let mut old = fixed(&[7; 1024], |_| ());
    old.set_len(1024 + 511);
    let disk = open([old]).unwrap();
    assert_eq!(read(&disk, 0, 1024), [7; 1024]);
}

#[test]
fn a_vhd_is_never_taken_for_a_raw_disk() {
    for (len, at) in [(1536_u64, 0), (1536, 1024), (2047, 2047 - 511)] {
        let mut file = SparseFile::default();
        file.write(at, b"conectix");
        file.set_len(len);
        assert_eq!(
            refusal(open([file])),
            "footer: neither copy is valid",
            "{len} {at}"
        );
    }
}

#[test]
fn footers_that_say_what_cannot_be_are_refused() {
    let refused =
        |change: fn(&mut common::vhd::VhdFooter)| refusal(open([fixed(&[1; 1024], change)]));
    assert_eq!(refused(|footer| footer.kind = 5), "footer: unknown type 5");
    assert_eq!(
        refused(|footer| footer.version = 0x0002_0000),
        "footer: unknown version 2"
    );
    assert_eq!(
        refused(|footer| footer.size = 0),
        "footer: a disk of 0 bytes is not possible"
    );
    assert_eq!(
        refused(|footer| footer.size = 1000),
        "footer: a disk of 1000 bytes is not possible"
    );
    let large = (2040 << 30) + 512;
    let mut image = VhdImage::dynamic(2040 << 30, 2 * MIB);
    image.footer.size = large;
    let expected = format!("footer: a disk of {large} bytes is not possible");
    assert_eq!(refusal(open([image.build()])), expected);
    let truncated = "footer: the file ends at 1024, before 1536";
    assert_eq!(refused(|footer| footer.size = 1536), truncated);
}

#[test]
fn a_minor_version_is_compatible() {
    reads(|image| {
        image.footer.version = 0x0001_0001;
        image.header_version = 0x0001_0001;
    });
}

#[test]
fn a_stamp_changes_with_either_footer() {
    use std::sync::{Arc, Mutex};
    #[derive(Clone)]
    struct Shared(Arc<Mutex<SparseFile>>);
    impl ReadAt for Shared {
        fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> std::io::Result<()> {
            self.0.lock().unwrap().read_exact_at(buf, at)
        }
        fn len(&self) -> std::io::Result<ByteLen> {
            self.0.lock().unwrap().len()
        }
    }
    let file = Shared(Arc::new(Mutex::new(good().build())));
    let storage: Box<dyn ReadAt> = Box::new(file.clone());
    let disk = VirtualDisk::from_storage(vec![("disk".to_owned(), storage)]).unwrap();
    let end = file.0.lock().unwrap().bytes() - 512;
    for at in [24, end + 24, end + 511] {
        let before = disk.stamp().unwrap();
        assert_eq!(disk.stamp().unwrap(), before);
        file.0.lock().unwrap().write(at, &[0x55]);
        assert_ne!(disk.stamp().unwrap(), before, "{at}");
    }
    assert_ne!(disk.stamp().unwrap(), disk.opened_stamp());
}
