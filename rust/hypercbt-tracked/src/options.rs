//! What a caller chooses.

use hypercbt_rct::Options as TrackerOptions;
use hypercbt_vhdx::OpenOptions;

/// Where random bytes come from: each call returns 16 new ones. An argument, so that every run can be repeated.
pub type Random = Box<dyn FnMut() -> [u8; 16] + Send>;

/// How a tracked disk is opened.
#[derive(Debug, Clone)]
pub struct TrackedOptions {
    /// The precisions and the memory of the tracker.
    pub tracker: TrackerOptions,
    /// Where parents of the disk may be looked for, if it has any.
    pub disk: OpenOptions,
    /// The payload block of a checkpoint's file: 2 MiB, as Windows makes them, where not said otherwise.
    pub checkpoint_block_bytes: u32,
}

impl Default for TrackedOptions {
    fn default() -> Self {
        Self {
            tracker: TrackerOptions::default(),
            disk: OpenOptions::default(),
            checkpoint_block_bytes: 2 << 20,
        }
    }
}
