//! One thread that plans tasks, some that do them, and the calling one that tells the observer.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{Error, Observer, Progress, Result, observer::REPORT_EVERY, stop::Stop};

/// Runs until every task that `plan` sends is done, or everybody stops. What failed stands in `stop`.
pub(crate) fn run<T: Send>(
    workers: usize,
    stop: &Stop,
    observer: &mut dyn Observer,
    progress: impl Fn() -> Progress,
    plan: impl FnOnce(&Sender<T>) -> Result<()> + Send,
    work: impl Fn(&Receiver<T>) + Sync,
) {
    let (tasks, inbox) = bounded::<T>(2 * workers);
    let (alive, ended) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let planner = alive.clone();
        scope.spawn(move || {
            let _alive = planner;
            if let Err(error) = plan(&tasks) {
                stop.fail(error);
            }
        });
        for _ in 0..workers {
            let (inbox, alive, work) = (inbox.clone(), alive.clone(), &work);
            scope.spawn(move || {
                let _alive = alive;
                work(&inbox);
            });
        }
        drop((inbox, alive));
        let mut report = || {
            if observer.progress(progress()).is_break() {
                stop.fail(Error::Cancelled);
            }
        };
        // The channel closes when the last thread has ended.
        while ended.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
            report();
        }
        report();
    });
}
