//! Writing the `.rct` file back: the map as it is, made durable under its name.
//!
//! The order: the clock moves on, so that later touches are marked later; the `.mrt` file says durably that this
//! write-back comes; the map is read, a part at a time, while writers go on; the new file is synced and takes the
//! name. Until then the old one serves. A part that is read after the clock has moved may hold later touches, too: it is
//! fuller than it must be, never emptier.

use hypercbt_file::step;

use crate::error::{Result, TrackerCall, TrackerFile};
use crate::header::RctName;
use crate::mrt::Mrt;
use crate::place::failed;
use crate::runs::Widening;
use crate::snapshot::Writer;
use crate::tracker::{RUNS_AT_ONCE, Tracker, lock};

impl Tracker {
    /// Writes the `.rct` file back. From now on only what is touched after this is coarse after a cut.
    ///
    /// # Errors
    /// The old `.rct` file stays then, and nothing is missed.
    pub fn flush(&self) -> Result<()> {
        let _one = lock(&self.write_back);
        let mut mrt = self.mrt();
        self.make_usable(&mut mrt)?;
        let clock = self.state().begin_write_back();
        let session = self.session;
        let name = RctName { clock, session };
        let announce = |mrt: &mut Mrt| {
            let there = mrt.rct;
            self.change_header(mrt, |header| header.rct = [there, Some(name)])
        };
        let announced_late = step::left_out("rct.write_back.announce_first");
        if !announced_late && !step::left_out("rct.write_back.announce") {
            announce(&mut mrt)?;
        }
        drop(mrt);
        // Writers go on meanwhile. What they touch may be in this file or not; it is marked at a later clock.
        self.write_rct(name)?;
        let mut mrt = self.mrt();
        if announced_late {
            announce(&mut mrt)?;
        }
        mrt.rct = Some(name);
        self.state().stats.rct_writes += 1;
        Ok(())
    }
}

impl Tracker {
    /// Writes the map as it is now under the name of the `.rct` file.
    fn write_rct(&self, name: RctName) -> Result<()> {
        let tracker = self.mrt().header().tracker;
        let unfinished = self.place.begin(TrackerFile::Rct, tracker)?;
        let written = self.write_runs(Writer::new(&*unfinished.content, name), tracker);
        written.map_err(failed(TrackerFile::Rct, TrackerCall::Write))?;
        // Nobody opens it for writing, so nobody need be kept out.
        unfinished.finish(&mut Vec::new())?;
        Ok(())
    }

    fn write_runs(&self, mut writer: Writer<'_>, tracker: [u8; 16]) -> std::io::Result<()> {
        let mut wide = Widening::new(self.rct_unit.0 / self.grains.grain.0);
        let mut at = Some(0);
        while let Some(from) = at {
            let (runs, next) = self.state().map.read(from, RUNS_AT_ONCE);
            at = next;
            for run in runs.into_iter().filter_map(|run| wide.push(run)) {
                self.push_run(&mut writer, run)?;
            }
        }
        if let Some(run) = wide.finish() {
            self.push_run(&mut writer, run)?;
        }
        writer.finish(tracker, &self.disk, self.rct_unit)
    }

    fn push_run(&self, writer: &mut Writer<'_>, run: crate::runs::Run) -> std::io::Result<()> {
        let extent = self.grains.extent(run);
        extent.map_or(Ok(()), |extent| writer.push(extent, run.touched))
    }
}
