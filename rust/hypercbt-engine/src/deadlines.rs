//! How much an audit reads at least, so that nothing waits for longer than a period on a disk that grows, too.
//!
//! A slice is a share of what is allocated *today*. Where more is allocated every day, what is written ahead of the
//! cursor has to be passed as well, and the rotation comes around late. So each stretch of the disk has a deadline, a
//! period after it was last read, and what lies between it and the cursor is spread evenly over the runs until then.

use std::{ops::Range, time::Duration};

use hypercbt_repo::{AuditState, Timestamp};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    Result,
    allocation::{Grid, stretches},
    claims::Claims,
};

/// A rotation over a disk, as it stands before a run.
pub(crate) struct Deadlines<'a> {
    pub(crate) disk: &'a VirtualDisk,
    pub(crate) grid: Grid,
    pub(crate) claims: &'a Claims,
    pub(crate) state: &'a AuditState,
    /// When the run began.
    pub(crate) now: Timestamp,
    /// Since the base; the next run is expected after as long again.
    pub(crate) elapsed: Duration,
    pub(crate) period: Duration,
}

impl Deadlines<'_> {
    /// How many of the next unclaimed chunks have to be read in this run.
    pub(crate) fn due(&self) -> Result<u64> {
        let (mut ahead, mut due) = (0, 0);
        for (chunks, at) in self.order() {
            ahead += self.unclaimed(&chunks)?;
            if let Some(at) = at {
                due = due.max(share(ahead, self.elapsed, self.left(at)));
            }
        }
        Ok(due)
    }

    /// The stretches of the disk as the rotation comes to them, and when each was last read, where that is known.
    fn order(&self) -> Vec<(Range<u64>, Option<Timestamp>)> {
        let chunks = self.grid.chunks();
        let cursor = if self.state.cursor < chunks {
            self.state.cursor
        } else {
            0
        };
        let mut order = Vec::new();
        for part in [cursor..chunks, 0..cursor] {
            let mut next = part.start;
            for span in &self.state.read {
                let (from, to) = (span.from.max(next), span.to.min(part.end));
                if from < to {
                    order.push((next..from, None));
                    order.push((from..to, Some(span.at)));
                    next = to;
                }
            }
            order.push((next..part.end, None));
        }
        order.retain(|(chunks, _)| !chunks.is_empty());
        order
    }

    /// The time until what was read `at` some time must be read again, this run's own share of it included.
    fn left(&self, at: Timestamp) -> Duration {
        let age =
            Duration::from_micros(u64::try_from(self.now.0.saturating_sub(at.0)).unwrap_or(0));
        self.period.saturating_add(self.elapsed).saturating_sub(age)
    }

    /// How many of these chunks hold anything and are not claimed.
    fn unclaimed(&self, chunks: &Range<u64>) -> Result<u64> {
        let mut count = 0;
        let all = stretches(self.disk, self.grid, chunks.start)?;
        for stretch in all.take_while(|stretch| stretch.chunks.start < chunks.end) {
            if stretch.allocated {
                let here = stretch.chunks.start..stretch.chunks.end.min(chunks.end);
                let outside = self.claims.outside(&here);
                count += outside
                    .iter()
                    .map(|range| range.end - range.start)
                    .sum::<u64>();
            }
        }
        Ok(count)
    }
}

/// ⌈chunks × elapsed ÷ left⌉, all of them where there is no later run in time.
fn share(chunks: u64, elapsed: Duration, left: Duration) -> u64 {
    if left <= elapsed {
        return chunks;
    }
    let share = (u128::from(chunks) * elapsed.as_micros()).div_ceil(left.as_micros());
    u64::try_from(share).expect("at most `chunks`, since `elapsed` is less than `left`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_share_rounds_up_and_is_everything_where_the_time_is_over() {
        assert_eq!(share(560, DAY, 28 * DAY), 20);
        assert_eq!(share(561, DAY, 28 * DAY), 21);
        assert_eq!(share(560, DAY, DAY), 560);
        assert_eq!(share(560, DAY, Duration::ZERO), 560);
        assert_eq!(share(560, Duration::ZERO, Duration::ZERO), 560);
        assert_eq!(share(560, Duration::ZERO, DAY), 0);
        // Timestamps are no further apart than this.
        let most = Duration::from_micros(u64::MAX / 2);
        assert!(share(u64::MAX, most, most + DAY) > u64::MAX / 2);
    }
}
