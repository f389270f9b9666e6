//! How a session begins: tracking starts, or goes on with what the files hold.
//!
//! There is one way to go on, after a clean stop as after a power cut: what the `.rct` file has, and whole
//! regions where a counter is later than it. After a clean stop no counter is.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use hypercbt_extent::ByteLen;
use hypercbt_file::FileSystem;

use crate::clock::Clock;
use crate::error::{Error, Lost, Result, TrackerCall, TrackerFile};
use crate::header::{Header, RctName};
use crate::layout::{Layout, regions_of};
use crate::map::{Grains, Map};
use crate::mrt::Mrt;
use crate::place::{Place, failed};
use crate::sectors::Sector;
use crate::snapshot::{self, Verdict};
use crate::state::State;
use crate::tracker::Tracker;
use crate::{DiskIdentity, Options, Recovered, Stamp};

fn lost<T>(reason: Lost) -> Result<T> {
    Err(Error::TrackingLost { reason })
}

impl Tracker {
    /// Starts tracking: makes `<disk>.mrt` and `<disk>.rct`, and replaces those of ours that are there.
    ///
    /// `session` is random, and becomes the tracker's own id too.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if a file of one of these names was not made by a tracker; it is not touched.
    pub fn create(
        files: Arc<dyn FileSystem>,
        disk: &Path,
        identity: &DiskIdentity,
        stamp: Stamp,
        options: &Options,
        session: [u8; 16],
    ) -> Result<Self> {
        options.check()?;
        let invalid = Error::InvalidOptions { options: *options };
        let layout = Layout::new(identity.size, options.mrt_region).ok_or(invalid)?;
        let place = Place::new(files, disk);
        place.is_there(TrackerFile::Rct)?;
        let replaced = if place.is_there(TrackerFile::Mrt)? {
            Some(place.open_to_write(TrackerFile::Mrt)?)
        } else {
            None
        };
        place.clear_unfinished();
        let header = Header {
            sequence: 1,
            tracker: session,
            disk: *identity,
            region: options.mrt_region,
            session,
            clock: Clock::FIRST,
            last_counter: 0,
            accepted: vec![stamp],
            rct: [None, None],
            kept: Vec::new(),
        };
        let mrt = Mrt::create(&place, layout, header)?;
        drop(replaced);
        let grains = grains(options, identity, options.mrt_region);
        let state = State::new(layout, Map::new(grains), limit(options), Clock::FIRST);
        let tracker = Self::assemble(
            place,
            mrt,
            state,
            grains,
            options,
            session,
            Recovered::Started,
        );
        // With this both files are there, and an older tracker's `.rct` file is not.
        tracker.flush()?;
        Ok(tracker)
    }

    /// Goes on with what the files beside the disk hold. `found` is the stamp that the disk's file has now.
    ///
    /// # Errors
    /// [`Error::NotTracked`] where there are no files, [`Error::TrackingLost`] where they do not know what
    /// changed, [`Error::NotOurs`] where one of them is not ours, [`Error::InUse`] where another tracks the disk.
    pub fn open(
        files: Arc<dyn FileSystem>,
        disk: &Path,
        identity: &DiskIdentity,
        found: Stamp,
        options: &Options,
        session: [u8; 16],
    ) -> Result<Self> {
        options.check()?;
        let place = Place::new(files, disk);
        let mrt_is_there = place.is_there(TrackerFile::Mrt)?;
        let rct_is_there = place.is_there(TrackerFile::Rct)?;
        match (mrt_is_there, rct_is_there) {
            (true, _) => {}
            (false, true) => return lost(Lost::Missing),
            (false, false) => return Err(Error::NotTracked),
        }
        let mut mrt = Mrt::open(&place)?;
        check(mrt.header(), identity, found)?;
        if mrt.header().session == session {
            return Err(Error::SessionNotNew);
        }
        let grains = grains(options, identity, mrt.header().region);
        let (state, recovered) = recover(&place, &mut mrt, grains, options, rct_is_there)?;
        let clock = state.clock;
        mrt.change(|header| {
            header.session = session;
            header.clock = clock;
            // Both stay until one is settled: the stamp that was found may not be durable yet.
            header.accepted.truncate(1);
            if header.accepted.first() != Some(&found) {
                header.accepted.push(found);
            }
        })?;
        place.clear_unfinished();
        Ok(Self::assemble(
            place, mrt, state, grains, options, session, recovered,
        ))
    }

    fn assemble(
        place: Place,
        mrt: Mrt,
        state: State,
        grains: Grains,
        options: &Options,
        session: [u8; 16],
        recovered: Recovered,
    ) -> Self {
        let header = mrt.header();
        Self {
            place,
            disk: header.disk,
            session,
            grains,
            rct_unit: options.rct_unit.min(header.region),
            recovered,
            state: Mutex::new(state),
            batch_done: Condvar::new(),
            mrt: Mutex::new(mrt),
            write_back: Mutex::new(()),
        }
    }
}

/// The region of an existing file stays as it was made, so the finer precisions give way to it.
fn grains(options: &Options, identity: &DiskIdentity, region: ByteLen) -> Grains {
    Grains {
        grain: options.grain.min(region),
        disk: identity.size,
    }
}

fn limit(options: &Options) -> usize {
    usize::try_from(options.memory_limit.0).unwrap_or(usize::MAX)
}

/// Whether the files speak of this disk, and of the state that it is in.
fn check(header: &Header, identity: &DiskIdentity, found: Stamp) -> Result<()> {
    if header.disk.disk_id != identity.disk_id {
        return lost(Lost::OtherDisk);
    }
    if header.disk.size != identity.size {
        return lost(Lost::Resized {
            tracked: header.disk.size,
            found: identity.size,
        });
    }
    if !header.accepted.contains(&found) {
        return lost(Lost::DiskChanged { found });
    }
    Ok(())
}

/// Makes the map in memory anew, at least as full as it was.
fn recover(
    place: &Place,
    mrt: &mut Mrt,
    grains: Grains,
    options: &Options,
    rct_is_there: bool,
) -> Result<(State, Recovered)> {
    let header = mrt.header().clone();
    let layout = mrt.sectors.layout;
    let mut state = State::new(layout, Map::new(grains), limit(options), header.clock);
    state.continue_with(header.kept.clone(), header.last_counter);
    let mut newest = header.clock;
    for kept in &header.kept {
        newest = newest.max(kept.sealed_at.next());
    }
    let rct = if rct_is_there {
        read_rct(place, &header, &mut state, &mut newest)?
    } else {
        None
    };
    mrt.rct = rct;
    // What the `.rct` file has, need not be taken whole; what nobody asks for, not at all.
    let known = rct.map(|name| name.clock).max(state.floor());
    let marks = read_marks(mrt, known, &mut state, &mut newest)?;
    state.set_clock(newest);
    for sector in &marks.rotten {
        if let Some(extent) = layout
            .extent(regions_of(*sector))
            .filter(|_| state.is_tracking())
        {
            state.touch(extent);
        }
    }
    mrt.heal(&marks.rotten, &marks.rotten_directories, newest)?;
    let whole_regions = marks.whole_regions;
    let recovered = match rct {
        Some(_) => Recovered::Fine { whole_regions },
        None => Recovered::Coarse { whole_regions },
    };
    Ok((state, recovered))
}

/// Takes over what the `.rct` file holds. None if the `.mrt` file must do alone.
fn read_rct(
    place: &Place,
    header: &Header,
    state: &mut State,
    newest: &mut Clock,
) -> Result<Option<RctName>> {
    let file = place.open_to_read(TrackerFile::Rct)?;
    let floor = state.floor();
    let read = snapshot::read(&*file, header, |extent, touched| {
        *newest = touched.max(*newest);
        if floor.is_some_and(|floor| touched > floor) {
            state.touch_at(extent, touched);
        }
    });
    match read.map_err(failed(TrackerFile::Rct, TrackerCall::Read))? {
        Verdict::Whole(name) => {
            *newest = name.clock.next().max(*newest);
            Ok(Some(name))
        }
        Verdict::Useless => Ok(None),
        Verdict::FromTheFuture => lost(Lost::FromTheFuture),
        Verdict::Newer(version) => lost(Lost::NewerFormat {
            file: TrackerFile::Rct,
            version,
        }),
    }
}

/// What the sectors of the `.mrt` file gave.
#[derive(Debug, Default)]
struct Marks {
    whole_regions: u64,
    /// Sectors that are damaged: all of their regions count as touched now.
    rotten: Vec<u64>,
    rotten_directories: Vec<u64>,
}

/// Takes over, whole, each region whose counter is later than what is `known` otherwise.
fn read_marks(
    mrt: &Mrt,
    known: Option<Clock>,
    state: &mut State,
    newest: &mut Clock,
) -> Result<Marks> {
    let sectors = mrt.sectors;
    let mut marks = Marks::default();
    for number in 0..sectors.layout.directories() {
        let directory = sectors.read_directory(mrt.file(), number);
        let directory = directory.map_err(failed(TrackerFile::Mrt, TrackerCall::Read))?;
        if directory.is_stale() {
            marks.rotten_directories.push(number);
        }
        let each = |sector, content| match content {
            Sector::Untouched => {}
            Sector::Damaged => marks.rotten.push(sector),
            Sector::Whole(counters) => {
                for (region, counter) in regions_of(sector).zip(*counters) {
                    *newest = counter.max(*newest);
                    let extent = sectors.layout.extent(region..region + 1);
                    let is_news = Some(counter) > known && state.is_tracking();
                    if let Some(extent) = extent.filter(|_| is_news && counter.0 > 0) {
                        state.touch_at(extent, counter);
                        marks.whole_regions += 1;
                    }
                }
            }
        };
        let read = sectors.read_listed(mrt.file(), number, &directory, each);
        read.map_err(failed(TrackerFile::Mrt, TrackerCall::Read))?;
    }
    Ok(marks)
}
