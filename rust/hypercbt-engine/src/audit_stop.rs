//! How an audit is told from outside that there is no more time for it.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Observer, Progress};

/// Ends the audits of a run, from any thread: what they have not read is owed to the next run. A comparison of a
/// whole disk that an audit made necessary ends the run, with [`Error::WideningStopped`](crate::Error).
#[derive(Debug, Clone, Default)]
pub struct AuditStop(Arc<AtomicBool>);

impl AuditStop {
    /// Says so, for this disk and all that follow.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The observer of a comparison that ends where there is no more time for it.
pub(crate) struct Stoppable<'a> {
    observer: &'a mut dyn Observer,
    stop: &'a AuditStop,
    /// Whether it was ended here, and not by the observer.
    pub(crate) stopped: bool,
}

impl<'a> Stoppable<'a> {
    pub(crate) fn new(observer: &'a mut dyn Observer, stop: &'a AuditStop) -> Self {
        Self {
            observer,
            stop,
            stopped: false,
        }
    }
}

impl Observer for Stoppable<'_> {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        self.observer.progress(progress)?;
        self.stopped = self.stop.is_set();
        if self.stopped {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
