//! The observer that Python gives: a callable, and Ctrl-C.

use std::{cell::RefCell, ops::ControlFlow};

use hypercbt_engine::{Observer, Progress};
use pyo3::prelude::*;

/// Tells a Python callable of progress and looks for signals. What either raises stops the work.
pub(crate) struct PyObserver {
    callable: Option<Py<PyAny>>,
    raised: RefCell<Option<PyErr>>,
}

impl PyObserver {
    pub(crate) fn new(callable: Option<Py<PyAny>>) -> Self {
        Self {
            callable,
            raised: RefCell::new(None),
        }
    }

    /// What the callable or a signal raised, if that is what stopped the work; else `error`.
    pub(crate) fn reason(self, error: hypercbt_engine::Error) -> PyErr {
        match self.raised.into_inner() {
            Some(raised) => raised,
            None => crate::error::engine_error(error),
        }
    }
}

impl Observer for PyObserver {
    fn progress(&mut self, progress: Progress) -> ControlFlow<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            let arguments = (
                progress.phase.as_str(),
                progress.done_bytes,
                progress.total_bytes,
            );
            self.callable
                .as_ref()
                .map_or(Ok(()), |callable| callable.call1(py, arguments).map(drop))
        });
        match told {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.raised.borrow_mut().get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }
}
