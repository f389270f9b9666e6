//! The sectors of the `.mrt` file behind its header: a directory, and counters of regions.
//!
//! A region's counter is the clock at which it was marked last; a counter is only ever raised. The directory has
//! a bit for each sector that was ever written. It tells a sector that was never written, and so reads as
//! zeros, from one that was and was lost: the first says that nothing was touched, the second that everything
//! may have been. It stands twice, and what either says is listed. Both bits and the sector are written in one go
//! before one sync, which is enough: until that sync has returned, no write that they announce has begun.

use std::io;
use std::ops::Range;

use hypercbt_file::{DiskFile, ReadAt, step};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::clock::Clock;
use crate::format::{
    COUNTERS_PER_SECTOR, DIRECTORY_SECTOR_MAGIC, REGION_SECTOR_MAGIC, REGIONS_PER_SECTOR,
    RawSector, SECTOR_BODY_BYTES, SECTORS_PER_DIRECTORY,
};
use crate::layout::{Layout, regions_of};

pub(crate) type Counters = [Clock; COUNTERS_PER_SECTOR];

/// What a sector of counters holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sector {
    /// Never written: none of its regions was ever touched.
    Untouched,
    Whole(Box<Counters>),
    /// Any of its regions may have been touched at any time.
    Damaged,
}

/// A sector of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    bits: [u8; SECTOR_BODY_BYTES],
    /// What is on the disk, in either place, is not this.
    is_stale: bool,
}

/// The sectors of one tracker's file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sectors {
    pub(crate) layout: Layout,
    /// The tracker's id, in each sector.
    pub(crate) tracker: [u8; 16],
}

impl Directory {
    fn is_set(&self, sector: u64) -> bool {
        let (byte, bit) = place_in_directory(sector);
        self.bits.get(byte).is_some_and(|bits| bits & bit != 0)
    }

    pub(crate) fn set(&mut self, sector: u64) {
        let (byte, bit) = place_in_directory(sector);
        if let Some(bits) = self.bits.get_mut(byte).filter(|bits| **bits & bit == 0) {
            *bits |= bit;
            self.is_stale = true;
        }
    }
}

fn place_in_directory(sector: u64) -> (usize, u8) {
    let bit = usize::try_from(sector % SECTORS_PER_DIRECTORY).unwrap_or_default();
    (bit / 8, 1 << (bit % 8))
}

impl Sectors {
    /// Writes an empty directory into a new file.
    pub(crate) fn write_empty_directory(&self, file: &dyn DiskFile) -> io::Result<()> {
        (0..self.layout.directories()).try_for_each(|number| {
            let mut empty = Directory {
                bits: [0; SECTOR_BODY_BYTES],
                is_stale: true,
            };
            self.write_directory(file, number, &mut empty)
        })
    }

    /// Reads a sector of the directory: all that either copy lists. Where both are damaged any may have been
    /// written, so all are listed.
    pub(crate) fn read_directory(&self, file: &dyn ReadAt, number: u64) -> io::Result<Directory> {
        let mut bytes = [0; size_of::<RawSector>()];
        let mut copies = [None; 2];
        for (copy, at) in copies.iter_mut().zip(self.layout.directories_at(number)) {
            file.read_exact_at(&mut bytes, at)?;
            *copy = self.decode(DIRECTORY_SECTOR_MAGIC, number, &bytes);
        }
        let mut found = Directory {
            bits: [0; SECTOR_BODY_BYTES],
            is_stale: copies.iter().any(Option::is_none) || copies.first() != copies.last(),
        };
        if copies.iter().all(Option::is_none) {
            let sectors = self.layout.sectors_of(number);
            sectors.for_each(|sector| found.set(sector));
        }
        for copy in copies.iter().flatten() {
            let both = found.bits.iter_mut().zip(copy);
            both.for_each(|(bits, more)| *bits |= more);
        }
        Ok(found)
    }

    /// Writes both copies of a sector of the directory, where it differs from what is there.
    pub(crate) fn write_directory(
        &self,
        file: &dyn DiskFile,
        number: u64,
        directory: &mut Directory,
    ) -> io::Result<()> {
        if directory.is_stale {
            let bytes = self.encode(DIRECTORY_SECTOR_MAGIC, number, &directory.bits);
            for at in self.layout.directories_at(number) {
                file.write_all_at(&bytes, at)?;
            }
        }
        directory.is_stale = false;
        Ok(())
    }

    /// The sectors that a sector of the directory lists, in order.
    pub(crate) fn listed(&self, number: u64, directory: &Directory) -> Vec<u64> {
        let sectors = self.layout.sectors_of(number);
        sectors.filter(|sector| directory.is_set(*sector)).collect()
    }

    /// Reads a sector of counters.
    pub(crate) fn read(
        &self,
        file: &dyn ReadAt,
        sector: u64,
        directory: &Directory,
    ) -> io::Result<Sector> {
        let mut bytes = [0; size_of::<RawSector>()];
        file.read_exact_at(&mut bytes, self.layout.sector_at(sector))?;
        if !directory.is_set(sector) && bytes == [0; size_of::<RawSector>()] {
            return Ok(Sector::Untouched);
        }
        let body = self.decode(REGION_SECTOR_MAGIC, sector, &bytes);
        let counters = body.and_then(|body| {
            let mut counters = [Clock::default(); COUNTERS_PER_SECTOR];
            for (counter, raw) in counters.iter_mut().zip(body.chunks_exact(8)) {
                *counter = Clock::read(U64::read_from_bytes(raw).ok()?.get())?;
            }
            Some(Box::new(counters))
        });
        Ok(counters.map_or(Sector::Damaged, Sector::Whole))
    }

    /// Raises the counters of regions, given in order and apart, to `clock`. The caller syncs.
    pub(crate) fn mark(
        &self,
        file: &dyn DiskFile,
        regions: &[Range<u64>],
        clock: Clock,
    ) -> io::Result<()> {
        let mut open: Option<(u64, Directory)> = None;
        let mut rest = regions.iter().cloned().flat_map(by_sector).peekable();
        while let Some((sector, first)) = rest.next() {
            let number = sector / SECTORS_PER_DIRECTORY;
            let mut directory = match open.take() {
                Some((same, directory)) if same == number => directory,
                other => {
                    if let Some((done, mut directory)) = other {
                        self.write_directory(file, done, &mut directory)?;
                    }
                    self.read_directory(file, number)?
                }
            };
            let mut counters = match self.read(file, sector, &directory)? {
                Sector::Whole(counters) => counters,
                Sector::Untouched => Box::new([Clock::default(); COUNTERS_PER_SECTOR]),
                Sector::Damaged => Box::new([clock; COUNTERS_PER_SECTOR]),
            };
            raise(&mut counters, &first, clock);
            while let Some((_, more)) = rest.next_if(|(next, _)| *next == sector) {
                raise(&mut counters, &more, clock);
            }
            self.write(file, sector, &counters)?;
            if !step::left_out("rct.mark.directory") {
                directory.set(sector);
            }
            open = Some((number, directory));
        }
        match open {
            Some((number, mut directory)) => self.write_directory(file, number, &mut directory),
            None => Ok(()),
        }
    }

    /// Writes a sector of counters. Its bit in the directory is the caller's to set.
    pub(crate) fn write(
        &self,
        file: &dyn DiskFile,
        sector: u64,
        counters: &Counters,
    ) -> io::Result<()> {
        if step::left_out("rct.mark.counters") {
            return Ok(());
        }
        let mut body = [0; SECTOR_BODY_BYTES];
        for (raw, counter) in body.chunks_exact_mut(8).zip(counters) {
            raw.copy_from_slice(&counter.0.to_le_bytes());
        }
        let bytes = self.encode(REGION_SECTOR_MAGIC, sector, &body);
        file.write_all_at(&bytes, self.layout.sector_at(sector))
    }

    fn encode(&self, magic: [u8; 4], index: u64, body: &[u8; SECTOR_BODY_BYTES]) -> Vec<u8> {
        let mut raw = RawSector::new_zeroed();
        raw.magic = magic;
        raw.index = U64::new(index);
        raw.tracker = self.tracker;
        raw.body = *body;
        raw.checksum = U32::new(checksum(raw.as_bytes()));
        raw.as_bytes().to_vec()
    }

    /// The body of a sector, if it is whole, of its kind, of this tracker and in its place.
    fn decode(&self, magic: [u8; 4], index: u64, bytes: &[u8]) -> Option<[u8; SECTOR_BODY_BYTES]> {
        let raw = RawSector::ref_from_bytes(bytes).ok()?;
        let good = raw.magic == magic
            && raw.checksum.get() == checksum(bytes)
            && raw.index.get() == index
            && raw.tracker == self.tracker;
        good.then_some(raw.body)
    }
}

/// Of all that lies behind the checksum.
fn checksum(sector: &[u8]) -> u32 {
    crc32c::crc32c(sector.get(8..).unwrap_or_default())
}

/// Cuts regions where sectors end.
fn by_sector(regions: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let sectors = regions.start / REGIONS_PER_SECTOR..regions.end.div_ceil(REGIONS_PER_SECTOR);
    sectors.map(move |sector| {
        let own = regions_of(sector);
        (
            sector,
            regions.start.max(own.start)..regions.end.min(own.end),
        )
    })
}

fn raise(counters: &mut Counters, regions: &Range<u64>, clock: Clock) {
    let index = |region| usize::try_from(region % REGIONS_PER_SECTOR).unwrap_or_default();
    let count = usize::try_from(regions.end - regions.start).unwrap_or(usize::MAX);
    for counter in counters.iter_mut().skip(index(regions.start)).take(count) {
        *counter = clock.max(*counter);
    }
}

/// Regions of any order, perhaps several times, as they are marked: in order and apart.
pub(crate) fn in_order(mut regions: Vec<Range<u64>>) -> Vec<Range<u64>> {
    regions.sort_unstable_by_key(|range| range.start);
    regions.dedup_by(|next, last| {
        let meets = next.start <= last.end;
        if meets {
            last.end = last.end.max(next.end);
        }
        meets
    });
    regions
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hypercbt_extent::ByteLen;
    use hypercbt_file::{FileOffset, FileSystem};
    use hypercbt_powercut::SimFiles;

    use super::*;

    const REGION: u64 = 4096;

    /// A file of two directory sectors, empty.
    fn new_file() -> (Sectors, Arc<dyn DiskFile>) {
        let disk = ByteLen(REGION * REGIONS_PER_SECTOR * (SECTORS_PER_DIRECTORY + 2));
        let layout = Layout::new(disk, ByteLen(REGION)).unwrap();
        let tracker = [7; 16];
        let sectors = Sectors { layout, tracker };
        let file = SimFiles::new().create_new(Path::new("/mrt")).unwrap();
        file.set_len(layout.file_len()).unwrap();
        sectors.write_empty_directory(&*file).unwrap();
        (sectors, file)
    }

    /// The regions with a counter above zero; those of damaged sectors have the clock 99.
    fn marked(sectors: &Sectors, file: &dyn ReadAt) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for number in 0..sectors.layout.directories() {
            let directory = sectors.read_directory(file, number).unwrap();
            for sector in sectors.listed(number, &directory) {
                match sectors.read(file, sector, &directory).unwrap() {
                    Sector::Whole(counters) => {
                        let regions = regions_of(sector).zip(*counters);
                        let touched = regions.filter(|(_, counter)| counter.0 > 0);
                        found.extend(touched.map(|(region, counter)| (region, counter.0)));
                    }
                    Sector::Damaged => found.extend(regions_of(sector).map(|region| (region, 99))),
                    Sector::Untouched => unreachable!("listed"),
                }
            }
        }
        found
    }

    fn flip(file: &dyn DiskFile, at: FileOffset) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }

    #[test]
    fn marks_over_several_sectors_and_directories_are_found_again() {
        let (sectors, file) = new_file();
        let second = SECTORS_PER_DIRECTORY * REGIONS_PER_SECTOR;
        let regions = [3..4, 58..62, 70..71, second - 1..second + 1];
        sectors.mark(&*file, &regions, Clock(5)).unwrap();
        let expected: Vec<_> = regions.into_iter().flatten().map(|r| (r, 5)).collect();
        assert_eq!(marked(&sectors, &*file), expected);
    }

    #[test]
    fn a_counter_is_raised_and_never_lowered() {
        let (sectors, file) = new_file();
        sectors.mark(&*file, &[0..2], Clock(5)).unwrap();
        sectors.mark(&*file, &[1..3], Clock(4)).unwrap();
        assert_eq!(marked(&sectors, &*file), [(0, 5), (1, 5), (2, 4)]);
        sectors.mark(&*file, &[1..3], Clock(6)).unwrap();
        assert_eq!(marked(&sectors, &*file), [(0, 5), (1, 6), (2, 6)]);
    }

    #[test]
    fn a_damaged_sector_counts_as_touched_whole_also_when_it_is_marked_again() {
        let (sectors, file) = new_file();
        sectors.mark(&*file, &[0..1, 60..61], Clock(5)).unwrap();
        flip(&*file, FileOffset(sectors.layout.sector_at(1).0 + 511));
        let found = marked(&sectors, &*file);
        assert_eq!((found.len(), found[0], found[1]), (61, (0, 5), (60, 99)));
        sectors.mark(&*file, &[61..62], Clock(6)).unwrap();
        let found = marked(&sectors, &*file);
        assert!(found[1..].iter().all(|(_, counter)| *counter == 6));
        assert_eq!(found.len(), 61);
    }

    #[test]
    fn a_sector_that_was_written_and_reads_as_zeros_is_damaged() {
        let (sectors, file) = new_file();
        sectors.mark(&*file, &[0..1], Clock(5)).unwrap();
        file.write_all_at(&[0; 512], sectors.layout.sector_at(0))
            .unwrap();
        assert_eq!(marked(&sectors, &*file).len(), 60);
    }

    #[test]
    fn a_sector_in_the_wrong_place_or_of_another_tracker_is_damaged() {
        let (sectors, file) = new_file();
        sectors.mark(&*file, &[0..1, 60..61], Clock(5)).unwrap();
        let mut bytes = [0; 512];
        file.read_exact_at(&mut bytes, sectors.layout.sector_at(0))
            .unwrap();
        file.write_all_at(&bytes, sectors.layout.sector_at(1))
            .unwrap();
        assert_eq!(marked(&sectors, &*file).len(), 61);
        let other = Sectors {
            tracker: [8; 16],
            ..sectors
        };
        // The directory is not of that one either, so nothing is known of any sector.
        let all = REGIONS_PER_SECTOR * (SECTORS_PER_DIRECTORY + 2);
        assert_eq!(marked(&other, &*file).len() as u64, all);
    }

    #[test]
    fn a_damaged_copy_of_the_directory_is_made_anew_from_the_other() {
        for copy in 0..2 {
            let (sectors, file) = new_file();
            sectors.mark(&*file, &[0..1, 600..601], Clock(5)).unwrap();
            flip(&*file, sectors.layout.directories_at(0)[copy]);
            assert!(sectors.read_directory(&*file, 0).unwrap().is_stale);
            assert_eq!(marked(&sectors, &*file), [(0, 5), (600, 5)]);
            sectors.mark(&*file, &[0..1], Clock(6)).unwrap();
            assert!(!sectors.read_directory(&*file, 0).unwrap().is_stale);
            flip(&*file, sectors.layout.directories_at(0)[1 - copy]);
            assert_eq!(marked(&sectors, &*file), [(0, 6), (600, 5)]);
        }
    }

    #[test]
    fn what_either_copy_of_the_directory_lists_is_listed() {
        let (sectors, file) = new_file();
        let [first, second] = sectors.layout.directories_at(0);
        let mut empty = [0; 512];
        file.read_exact_at(&mut empty, first).unwrap();
        for older in [first, second] {
            sectors.mark(&*file, &[0..1], Clock(5)).unwrap();
            file.write_all_at(&empty, older).unwrap();
            file.write_all_at(&[0; 512], sectors.layout.sector_at(0))
                .unwrap();
            assert_eq!(marked(&sectors, &*file).len(), 60);
        }
    }

    #[test]
    fn with_both_copies_of_the_directory_damaged_each_sector_of_zeros_counts_as_touched() {
        let (sectors, file) = new_file();
        sectors.mark(&*file, &[0..1], Clock(5)).unwrap();
        for at in sectors.layout.directories_at(0) {
            flip(&*file, at);
        }
        let found = marked(&sectors, &*file);
        assert_eq!(found[..2], [(0, 5), (60, 99)]);
        let all = SECTORS_PER_DIRECTORY * REGIONS_PER_SECTOR;
        assert_eq!(found.last(), Some(&(all - 1, 99)));
    }

    #[test]
    fn regions_that_meet_are_marked_once() {
        assert_eq!(in_order(vec![5..6, 1..3, 2..5, 9..10, 1..2]), [1..6, 9..10]);
    }
}
