//! For the tests that kill a backup: a storage that ends the process at a numbered call.
//!
//! Only a build with the feature `fault-injection` has it; what is released has not. With
//! `HYPERCBT_TEST_ABORT_AT_CALL=N` such a build ends at storage call `N`, counted from 0, with half of what was
//! being written written.

use std::sync::Arc;

use hypercbt_repo::{LocalStorage, Storage};

#[cfg(not(feature = "fault-injection"))]
pub(crate) fn wrap(storage: LocalStorage) -> Arc<dyn Storage> {
    Arc::new(storage)
}

#[cfg(feature = "fault-injection")]
pub(crate) fn wrap(storage: LocalStorage) -> Arc<dyn Storage> {
    use hypercbt_repo::{Fault, FaultyStorage};

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
