//! What a guest writes is read, kept, and known to have changed.

use hypercbt_extent::DiskOffset;
use hypercbt_rct::Recovered;
use hypercbt_tracked::Tracking;

use crate::support::{DISK_BYTES, KIB, MIB, content, extent, open, opened, read, write};

#[test]
fn what_is_written_is_read_and_changed() {
    let (_files, disk) = opened();
    assert_eq!(disk.tracking(), Tracking::Started);
    let id = disk.seal().unwrap();
    write(&disk, 5 * KIB, 7).unwrap();
    assert_eq!(read(&disk, 5 * KIB), 7);
    let changed = disk.changes_since(&id).unwrap();
    assert_eq!(changed.as_slice(), [extent(4 * KIB, 4 * KIB)]);
}

#[test]
fn zeros_and_unmapped_extents_count_as_changed() {
    let (_files, disk) = opened();
    for at in [0, MIB] {
        disk.write_at(DiskOffset(at), &vec![9; 1 << 20]).unwrap();
    }
    let id = disk.seal().unwrap();
    disk.zero(extent(8 * KIB, 4 * KIB)).unwrap();
    disk.unmap(extent(MIB, MIB)).unwrap();
    assert_eq!(read(&disk, 8 * KIB), 0);
    assert_eq!(read(&disk, 4 * KIB), 9);
    let changed = disk.changes_since(&id).unwrap();
    let expected = [extent(8 * KIB, 4 * KIB), extent(MIB, MIB)];
    assert_eq!(changed.as_slice(), expected);
}

#[test]
fn nothing_written_is_nothing_changed() {
    let (_files, disk) = opened();
    write(&disk, 0, 1).unwrap();
    let id = disk.seal().unwrap();
    disk.write_at(DiskOffset(0), &[]).unwrap();
    assert!(disk.changes_since(&id).unwrap().is_empty());
}

#[test]
fn after_a_clean_stop_it_goes_on_as_finely_as_the_rct_file() {
    let (files, disk) = opened();
    let id = disk.seal().unwrap();
    write(&disk, 20 * KIB, 7).unwrap();
    disk.close().unwrap();
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    assert_eq!(read(&disk, 20 * KIB), 7);
    let changed = disk.changes_since(&id).unwrap();
    assert_eq!(changed.as_slice(), [extent(16 * KIB, 16 * KIB)]);
}

#[test]
fn after_a_crash_it_goes_on_as_coarsely_as_the_mrt_file() {
    let (files, disk) = opened();
    let id = disk.seal().unwrap();
    write(&disk, 70 * KIB, 7).unwrap();
    disk.flush().unwrap();
    drop(disk);
    let disk = open(&files, 2).unwrap();
    assert_eq!(disk.tracking(), Tracking::Continued);
    assert!(matches!(
        disk.recovered().unwrap(),
        Recovered::Fine { whole_regions: 1 } | Recovered::Coarse { whole_regions: 1 }
    ));
    assert_eq!(read(&disk, 70 * KIB), 7);
    let changed = disk.changes_since(&id).unwrap();
    assert_eq!(changed.as_slice(), [extent(64 * KIB, 64 * KIB)]);
}

#[test]
fn many_sessions_that_change_nothing_lose_nothing() {
    let (files, disk) = opened();
    write(&disk, 0, 3).unwrap();
    let id = disk.seal().unwrap();
    disk.close().unwrap();
    for session in 2..8 {
        let disk = open(&files, session).unwrap();
        assert_eq!(disk.tracking(), Tracking::Continued);
        assert!(disk.changes_since(&id).unwrap().is_empty());
        if session % 2 == 0 {
            disk.close().unwrap();
        }
    }
}

#[test]
fn an_id_is_kept_until_it_is_forgotten() {
    let (files, disk) = opened();
    let (first, second) = (disk.seal().unwrap(), disk.seal().unwrap());
    disk.forget(&first).unwrap();
    disk.close().unwrap();
    assert_eq!(open(&files, 2).unwrap().ids().unwrap(), [second]);
}

#[test]
fn a_write_past_the_end_changes_nothing() {
    let (_files, disk) = opened();
    let id = disk.seal().unwrap();
    let before = content(&disk);
    assert!(write(&disk, DISK_BYTES - 511, 1).is_err());
    assert!(write(&disk, u64::MAX - 511, 1).is_err());
    assert!(disk.zero(extent(DISK_BYTES - 512, 1024)).is_err());
    assert!(disk.unmap(extent(DISK_BYTES, 512)).is_err());
    assert_eq!(content(&disk), before);
    assert!(disk.changes_since(&id).unwrap().is_empty());
}
