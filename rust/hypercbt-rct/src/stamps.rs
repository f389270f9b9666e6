//! Which stamps the disk's file may carry, so that a cut is not taken for a foreign edit, nor an edit for a cut.

use hypercbt_file::step;

use crate::Stamp;
use crate::error::{Error, Result};
use crate::format::MAX_STAMPS;
use crate::tracker::Tracker;

impl Tracker {
    /// Durably: from now on the disk's file may carry `coming`, too. Called before it is written there.
    pub fn expect(&self, coming: Stamp) -> Result<()> {
        let mut mrt = self.mrt();
        let accepted = &mrt.header().accepted;
        if accepted.last() == Some(&coming) {
            return Ok(());
        }
        if accepted.len() >= MAX_STAMPS {
            return Err(Error::TooManyStamps { limit: MAX_STAMPS });
        }
        self.make_usable(&mut mrt)?;
        if step::left_out("rct.expect.header") {
            return Ok(());
        }
        self.change_header(&mut mrt, |header| header.accepted.push(coming))
    }

    /// Durably: the file carries the stamp that was expected last, and no other is accepted any more.
    pub fn settle(&self) -> Result<()> {
        let mut mrt = self.mrt();
        match mrt.header().accepted.as_slice() {
            [.., last] if mrt.header().accepted.len() > 1 => {
                let last = *last;
                self.make_usable(&mut mrt)?;
                self.change_header(&mut mrt, |header| header.accepted = vec![last])
            }
            _ => Ok(()),
        }
    }

    /// Ends the session, for a clean stop or for another host: the `.rct` file is written, and of the stamps
    /// only `last`, which was expected and is in the disk's file, is accepted from now on.
    ///
    /// # Errors
    /// Nothing is missed then either; what the next session can tell is as after a crash.
    pub fn close(self, last: Stamp) -> Result<()> {
        if !self.mrt().header().accepted.contains(&last) {
            return Err(Error::StampNotExpected { stamp: last });
        }
        let flushed = self.flush();
        let mut mrt = self.mrt();
        self.make_usable(&mut mrt)?;
        self.change_header(&mut mrt, |header| header.accepted = vec![last])?;
        flushed
    }
}
