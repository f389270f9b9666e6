//! How long a thread has worked: a machine that is busy with something else makes nothing longer.

use std::fs;
use std::time::{Duration, Instant};

/// What this thread does from here on.
pub struct Work {
    began: Instant,
    worked: Option<Duration>,
}

impl Work {
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            worked: worked(),
        }
    }

    /// The time that this thread has had a processor since; where no system tells it, the time that has passed.
    pub fn time(&self) -> Duration {
        match (self.worked, worked()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }
}

/// Linux counts the nanoseconds that a thread ran, then those that it waited, then its turns. A kernel that does not
/// count says that it had none.
fn worked() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut numbers = told.split_ascii_whitespace().map(str::parse::<u64>);
    let (ran, _, turns) = (
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    );
    (turns > 0).then(|| Duration::from_nanos(ran))
}
