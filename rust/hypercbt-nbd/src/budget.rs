//! How many bytes of requests may be in memory at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that are shared out, and waited for when there are none.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Mutex<u64>,
    more: Condvar,
}

/// Bytes that were taken; they go back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            left: Mutex::new(bytes),
            more: Condvar::new(),
        }
    }

    /// Takes so many bytes, waiting until they are there. No more than the whole budget may be asked for.
    pub(crate) fn take(&self, bytes: u64) -> Share<'_> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self
            .more
            .wait_while(left, |left| *left < bytes)
            .unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        Share {
            budget: self,
            bytes,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let budget = self.budget;
        *budget.left.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        budget.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn what_is_not_there_is_waited_for() {
        let budget = Budget::new(10);
        let first = budget.take(6);
        thread::scope(|scope| {
            let (told, tells) = mpsc::channel();
            let budget = &budget;
            scope.spawn(move || {
                let _share = budget.take(5);
                told.send("second").unwrap();
            });
            let _small = budget.take(4);
            assert!(tells.try_recv().is_err(), "there was nothing left to take");
            drop(first);
            assert_eq!(tells.recv(), Ok("second"));
        });
        let _all = budget.take(10);
    }
}
