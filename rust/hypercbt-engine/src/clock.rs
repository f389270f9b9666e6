//! Time that passes, as an argument: the audit has a time budget, and tests have no clock.

use std::time::{Duration, Instant};

/// How long something has been going on.
pub trait Clock: Sync {
    /// Time since some fixed moment; never less than before.
    fn elapsed(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn elapsed(&self) -> Duration {
        (**self).elapsed()
    }
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
