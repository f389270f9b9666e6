//! Files as other programs left them, opened for writing.

use std::path::Path;

use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::{Error, Part, Reason};

use crate::common::dirty::{GUID, dirty, entry, moves_to};
use crate::common::image::Image;
use crate::common::log::{Change, LogEntry};
use crate::common::{KIB, MIB};
use crate::support::{
    Disk, Kind, PARENT, PATH, begin, content, guids, machine, opening, read_only, write,
};

/// Reads the disk, opens it for writing and writes to it, and looks whether all of it is still there.
fn goes_on(files: &SimFiles) {
    let mut expected = read_only(files).unwrap();
    let disk = begin(files, 1);
    assert!(content(&disk) == expected, "opened");
    write(&disk, 2 * MIB, &[7; 512]);
    expected[2 << 20..][..512].fill(7);
    disk.close(guids(2).file_write).unwrap();
    assert!(read_only(files).unwrap() == expected, "closed");
}

#[test]
fn a_log_of_another_program_is_replayed_into_the_file() {
    let zeros = |at, len| Change::Zero { at, len };
    let log = |changes| vec![(0, entry(5, 0, 5)), (2, LogEntry::new(GUID, 6, 0, changes))];
    for changes in [
        vec![moves_to(7)],
        vec![moves_to(7), zeros(7 * MIB, MIB)],
        vec![zeros(3 * MIB, 4096), moves_to(8)],
        vec![moves_to(7), zeros(20 * MIB, 3 * MIB)],
        vec![zeros(3 * MIB, MIB)],
    ] {
        let files = machine(&dirty(log(changes)));
        goes_on(&files);
    }
}

#[test]
fn the_header_that_counts_is_never_the_first_to_be_overwritten() {
    for (numbers, damaged, current) in [
        ([10, 11], [false, false], 1),
        ([12, 11], [false, false], 0),
        ([7, 7], [false, false], 0),
        ([12, 11], [true, false], 1),
        ([10, 11], [false, true], 0),
    ] {
        let mut image = Image::dynamic(4 * MIB, MIB, 512);
        for (header, (number, damaged)) in image
            .headers
            .iter_mut()
            .zip(numbers.into_iter().zip(damaged))
        {
            header.number = number;
            header.damaged = damaged;
        }
        let files = machine(&image);
        let slot = |state: &hypercbt_powercut::State| {
            let at = [64 * KIB, 128 * KIB][current] as usize;
            state.read(Path::new(PATH)).unwrap()[at..at + 4096].to_vec()
        };
        let before = slot(&files.now());
        goes_on(&files);
        // After the first write and before its sync.
        for state in files.history().extremes(1) {
            assert_eq!(slot(&state), before, "{numbers:?}");
        }
    }
}

#[test]
fn a_file_whose_headers_cannot_be_counted_on_is_not_written() {
    let mut image = Image::dynamic(4 * MIB, MIB, 512);
    image.headers[1].number = u64::MAX;
    let files = machine(&image);
    let refused = opening(&files).unwrap().begin(&guids(1)).err();
    assert!(matches!(
        refused,
        Some(Error::Corrupt {
            part: Part::Header,
            reason: Reason::NoNextNumber,
            ..
        })
    ));
    assert_eq!(files.ops(), 0);
}

#[test]
fn a_file_without_room_for_a_log_is_not_written() {
    let mut image = Image::dynamic(4 * MIB, MIB, 512);
    image.each_header(|header| header.log_len = 0);
    let files = machine(&image);
    let before = read_only(&files).unwrap();
    let refused = opening(&files).unwrap().begin(&guids(1)).err();
    assert!(matches!(
        refused,
        Some(Error::Corrupt {
            part: Part::Log,
            reason: Reason::TooSmall { .. },
            ..
        })
    ));
    assert!(read_only(&files).unwrap() == before);
}

#[test]
fn a_child_is_not_written_over_a_parent_that_changed() {
    let (files, _) = Disk::small(Kind::Child, 512).build();
    let mut state = files.now();
    let mut other = Image::dynamic(4 * MIB, MIB, 512);
    other.each_header(|header| header.data_write = [5; 16]);
    let built = other.build();
    state.put(PARENT, built.read(0, built.bytes() as usize));
    let files = SimFiles::from_state(&state);
    assert!(matches!(opening(&files), Err(Error::WrongParent { .. })));
    state.remove(PARENT);
    let files = SimFiles::from_state(&state);
    assert!(matches!(opening(&files), Err(Error::ParentNotFound { .. })));
    assert_eq!(files.ops(), 0);
}

#[test]
fn a_file_that_is_no_vhdx_is_refused() {
    let mut state = SimFiles::new().now();
    assert!(matches!(
        opening(&SimFiles::from_state(&state)),
        Err(Error::Open { .. })
    ));
    state.put(PATH, [0; 4096]);
    assert!(matches!(
        opening(&SimFiles::from_state(&state)),
        Err(Error::Corrupt {
            part: Part::FileIdentifier,
            ..
        })
    ));
}
