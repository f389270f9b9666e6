//! Makes the map in memory anew from the files, at least as full as it was.
//!
//! There is one way, after a clean stop as after a power cut: what the `.rct` file has, and whole regions where a
//! counter of the `.mrt` file is later than it. After a clean stop no counter is.

use std::ops::Range;

use hypercbt_file::{DiskFile, step};

use crate::Recovered;
use crate::clock::Clock;
use crate::error::{Error, Lost, Result, TrackerCall, TrackerFile};
use crate::header::RctName;
use crate::layout::regions_of;
use crate::mrt::Found;
use crate::place::{Place, failed};
use crate::sectors::{Counters, Sector};
use crate::snapshot::{self, Verdict};
use crate::state::State;

/// What was found so far.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    old: &'a Found,
    pub(crate) state: State,
    /// The `.rct` file that was used.
    pub(crate) rct: Option<RctName>,
    /// No clock in any of the files is later.
    newest: Clock,
    whole_regions: u64,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(old: &'a Found, mut state: State) -> Self {
        let header = &old.header;
        let sealed = header.kept.iter().map(|kept| kept.sealed_at.next());
        let newest = sealed.fold(header.clock, Clock::max);
        state.continue_with(header.kept.clone(), header.last_counter);
        Self {
            old,
            state,
            rct: None,
            newest,
            whole_regions: 0,
        }
    }

    /// Takes over what the `.rct` file holds. If it is of no use, the `.mrt` file does alone.
    pub(crate) fn read_rct(&mut self, place: &Place) -> Result<()> {
        let lost = |reason| Err(Error::TrackingLost { reason });
        let file = place.open_to_read(TrackerFile::Rct)?;
        let floor = self.state.floor();
        let read = snapshot::read(&*file, &self.old.header, |extent, touched| {
            self.newest = touched.max(self.newest);
            if floor.is_some_and(|floor| touched > floor) {
                self.state.touch_at(extent, touched);
            }
        });
        match read.map_err(failed(TrackerFile::Rct, TrackerCall::Read))? {
            Verdict::Whole(name) => {
                self.newest = name.clock.next().max(self.newest);
                self.rct = Some(name);
                Ok(())
            }
            Verdict::Useless => Ok(()),
            Verdict::FromTheFuture => lost(Lost::FromTheFuture),
            Verdict::Newer(version) => {
                let file = TrackerFile::Rct;
                lost(Lost::NewerFormat { file, version })
            }
        }
    }

    /// Takes over, whole, each region whose counter is later than what the `.rct` file knows, and copies the counters
    /// that anybody may ask for into a `new` file. Returns the clock at which the session begins.
    pub(crate) fn read_marks(&mut self, new: &dyn DiskFile) -> Result<Clock> {
        let sectors = self.old.sectors;
        let mut rotten: Vec<Range<u64>> = Vec::new();
        for number in 0..sectors.layout.directories() {
            let directory = sectors.read_directory(&*self.old.file, number);
            let directory = directory.map_err(failed(TrackerFile::Mrt, TrackerCall::Read))?;
            let mut copied = sectors.read_directory(new, number).map_err(copy_failed)?;
            for sector in sectors.listed(number, &directory) {
                let read = sectors.read(&*self.old.file, sector, &directory);
                match read.map_err(failed(TrackerFile::Mrt, TrackerCall::Read))? {
                    Sector::Untouched => {}
                    Sector::Damaged => {
                        let regions = regions_of(sector);
                        match rotten.last_mut() {
                            // A whole directory may be lost: that is one range and not a million.
                            Some(last) if last.end == regions.start => last.end = regions.end,
                            _ => rotten.push(regions),
                        }
                    }
                    Sector::Whole(mut counters) => {
                        if self.take(sector, &mut counters) && !step::left_out("rct.open.marks") {
                            let written = sectors.write(new, sector, &counters);
                            written.map_err(copy_failed)?;
                            copied.set(sector);
                        }
                    }
                }
            }
            let written = sectors.write_directory(new, number, &mut copied);
            written.map_err(copy_failed)?;
        }
        self.state.set_clock(self.newest);
        if self.state.is_tracking() {
            // Any of their regions may have been touched at any time.
            for extent in rotten
                .iter()
                .filter_map(|regions| sectors.layout.extent(regions.clone()))
            {
                self.state.touch(extent);
            }
            sectors
                .mark(new, &rotten, self.newest)
                .map_err(copy_failed)?;
        }
        Ok(self.newest)
    }

    /// Takes over a sector, and clears the counters that nobody asks for. False if none is left.
    fn take(&mut self, sector: u64, counters: &mut Counters) -> bool {
        let floor = self.state.floor();
        // What the `.rct` file has need not be taken whole.
        let known = self.rct.map(|name| name.clock);
        let mut is_asked_for = false;
        for (region, counter) in regions_of(sector).zip(counters) {
            self.newest = self.newest.max(*counter);
            if floor.is_none_or(|floor| *counter <= floor) {
                *counter = Clock::default();
                continue;
            }
            is_asked_for = true;
            let extent = self.old.sectors.layout.extent(region..region + 1);
            if let Some(extent) = extent.filter(|_| Some(*counter) > known) {
                self.state.touch_at(extent, *counter);
                self.whole_regions += 1;
            }
        }
        is_asked_for
    }

    pub(crate) fn recovered(&self) -> Recovered {
        let whole_regions = self.whole_regions;
        match self.rct {
            Some(_) => Recovered::Fine { whole_regions },
            None => Recovered::Coarse { whole_regions },
        }
    }
}

/// Writing the new file failed.
fn copy_failed(source: std::io::Error) -> Error {
    failed(TrackerFile::Mrt, TrackerCall::Write)(source)
}
