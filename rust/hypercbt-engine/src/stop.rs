//! How the threads of a long run end together.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{Error, Result};

/// The first failure, and the sign for everybody to stop.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether the run is over in any case. After another failure it may start again without its base.
    pub(crate) fn is_cancelled(&self) -> bool {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*error, Some(Error::Cancelled))
    }

    pub(crate) fn fail(&self, error: Error) {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn into_result(self) -> Result<()> {
        self.error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }
}
