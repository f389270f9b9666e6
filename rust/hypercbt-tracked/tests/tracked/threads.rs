//! Many threads write while others freeze, thaw, seal and ask.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hypercbt_extent::DiskOffset;

use crate::support::{KIB, MIB, SECTOR, content, file_content, opened, scramble};

const WRITERS: u64 = 4;
const SECTORS_EACH: u64 = MIB / 512;

#[test]
fn every_frozen_file_and_every_answer_is_right_while_many_write() {
    let (files, disk) = opened();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (disk, stop) = (&disk, &stop);
            scope.spawn(move || {
                for round in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let sector = scramble(round << 8 | writer) % SECTORS_EACH;
                    let at = DiskOffset(writer * MIB + sector * 512);
                    let byte = u8::try_from(round % 255).unwrap() + 1;
                    disk.write_at(at, &[byte; SECTOR]).unwrap();
                }
            });
        }
        let mut last: Option<(_, Vec<u8>)> = None;
        for round in 0..6 {
            let frozen = disk.freeze().unwrap();
            let now = file_content(&files, super::support::BASE);
            if let Some((id, then)) = &last {
                let changed = disk.changes_since(id).unwrap();
                for (sector, (a, b)) in then.chunks(SECTOR).zip(now.chunks(SECTOR)).enumerate() {
                    let at = DiskOffset(sector as u64 * SECTOR as u64);
                    assert!(a == b || changed.contains(at), "round {round}: {at}");
                }
            }
            disk.flush_tracking().unwrap();
            let again = file_content(&files, super::support::BASE);
            assert!(now == again, "the frozen file changed");
            disk.thaw().unwrap();
            last = Some((frozen.id, now));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let before = content(&disk);
    disk.close().unwrap();
    assert!(file_content(&files, super::support::BASE) == before);
}

#[test]
fn the_first_change_of_a_session_may_come_from_any_thread() {
    let (files, disk) = opened();
    let id = disk.seal().unwrap();
    thread::scope(|scope| {
        for writer in 0..8_u64 {
            let disk = &disk;
            scope.spawn(move || {
                disk.write_at(DiskOffset(writer * 64 * KIB), &[1; SECTOR])
                    .unwrap();
            });
        }
    });
    disk.flush().unwrap();
    drop(disk);
    let disk = super::support::open(&files, 2).unwrap();
    let changed = disk.changes_since(&id).unwrap();
    assert_eq!(changed.total().0, 8 * 64 * KIB);
}
