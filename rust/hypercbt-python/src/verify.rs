//! `Repository.verify`: the arguments of a verification, and its result.

use hypercbt_engine::{SystemClock, VerifyRequest, VerifyScope, verify};
use hypercbt_repo::Timestamp;
use pyo3::prelude::*;

use crate::{
    documents,
    progress::PyObserver,
    random,
    repository::{Repository, misuse, threads},
};

pub(crate) fn scope(
    repository: &Repository,
    since: Option<&str>,
    sample_percent: Option<f64>,
) -> PyResult<VerifyScope> {
    match (since, sample_percent) {
        (None, None) => Ok(VerifyScope::All),
        (Some(since), None) => Ok(VerifyScope::Since(repository.find(since)?)),
        (None, Some(percent)) => Ok(VerifyScope::Sample {
            percent,
            seed: random::seed()?,
        }),
        (Some(_), Some(_)) => Err(misuse("verify takes a point or a sample, not both")),
    }
}

pub(crate) fn run(
    py: Python<'_>,
    repository: &hypercbt_repo::Repository,
    scope: VerifyScope,
    created: Timestamp,
    workers: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let clock = SystemClock::start();
    let request = VerifyRequest {
        scope,
        id: random::run_id()?,
        created,
        workers: threads(workers),
        clock: &clock,
    };
    let mut observer = PyObserver::new(progress);
    match py.detach(|| verify(repository, &request, &mut observer)) {
        Ok(report) => Ok(documents::verify(&request.scope, &report)),
        Err(error) => Err(observer.reason(error)),
    }
}
