//! How a session begins: tracking starts, or goes on with what the files hold.
//!
//! Each session writes a `.mrt` file of its own, whole, before it takes the name: a file that an earlier session
//! could not sync is never built upon. What nobody asks for any more is left out, so the file shrinks, too.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use hypercbt_extent::ByteLen;
use hypercbt_file::{FileSystem, step};

use crate::clock::Clock;
use crate::error::{Error, Lost, Result, TrackerFile};
use crate::format::MAX_STAMPS;
use crate::header::Header;
use crate::layout::Layout;
use crate::map::{Grains, Map};
use crate::mrt::{Found, Mrt};
use crate::place::Place;
use crate::recovery::Recovery;
use crate::sectors::Sectors;
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
        let tracker = session;
        let sectors = Sectors { layout, tracker };
        let mrt = Mrt::create(&place, sectors, replaced, |_| Ok(header))?;
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
        let old = Found::open(&place)?;
        check(&old.header, identity, found)?;
        if old.header.session == session {
            return Err(Error::SessionNotNew);
        }
        let grains = grains(options, identity, old.header.region);
        let mut header = old.header.clone();
        header.sequence += 1;
        header.session = session;
        accept(&mut header.accepted, found);
        let limit = limit(options);
        let mut recovery = Recovery::new(
            &old,
            State::new(old.sectors.layout, Map::new(grains), limit, header.clock),
        );
        if rct_is_there {
            recovery.read_rct(&place)?;
        }
        let file = Arc::clone(&old.file);
        let mut mrt = Mrt::create(&place, old.sectors, Some(file), |new| {
            header.clock = recovery.read_marks(new)?;
            Ok(header)
        })?;
        mrt.rct = recovery.rct;
        place.clear_unfinished();
        let recovered = recovery.recovered();
        let state = recovery.state;
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

/// Keeps the stamps that the file may have after a cut, with the one that was found last: the settled one, and those
/// that were expected since and may be there but not durable. Also what was expected after the found one stays: a
/// write of it may have failed and have reached the medium all the same.
fn accept(accepted: &mut Vec<Stamp>, found: Stamp) {
    let mut number = 0..;
    // The settled one keeps its place.
    accepted.retain(|stamp| number.next() == Some(0) || *stamp != found);
    if accepted.last() != Some(&found) {
        accepted.push(found);
    }
    if step::left_out("rct.open.all_stamps") {
        *accepted = vec![found];
    }
    // Only processes that crash again and again, each after it began to write a stamp, come here.
    while accepted.len() > MAX_STAMPS - 2 {
        accepted.remove(1);
    }
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
