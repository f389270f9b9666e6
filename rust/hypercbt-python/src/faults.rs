//! For the tests that kill a backup: a storage that ends the process at a numbered call.
//!
//! Set `HYPERCBT_TEST_ABORT_AT_CALL=N` to end at storage call `N`, counted from 0, with half of what was being
//! written written. Nobody sets it by accident, and without it nothing is wrapped.

use std::sync::Arc;

use hypercbt_repo::{Fault, FaultyStorage, LocalStorage, Storage};

pub(crate) fn wrap(storage: LocalStorage) -> Arc<dyn Storage> {
    let call = std::env::var("HYPERCBT_TEST_ABORT_AT_CALL")
        .ok()
        .and_then(|call| call.parse().ok());
    match call {
        Some(call) => Arc::new(FaultyStorage::failing(
            storage,
            call,
            Fault::Abort { torn: true },
        )),
        None => Arc::new(storage),
    }
}
