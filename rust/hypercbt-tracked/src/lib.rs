//! A virtual disk that is written, with the tracker that remembers what changed, and its checkpoints.
//!
//! ```text
//!   guest ── write, zero, unmap ──▶ TrackedDisk ── write_begins … write_ends ──▶ Tracker   web01.vhdx.rct
//!                                        │                                                  web01.vhdx.mrt
//!                                        ▼
//!                               the leaf: web01.vhdx, or, while the disk is frozen, the newest of its layers,
//!                                         web01_<GUID>.avhdx, each a child of the file before, which does not change
//! ```
//!
//! Two things can go wrong between a disk and its tracker, and both must not: the tracker may take a power cut for
//! an edit behind its back (then everything is compared for nothing), or an edit for a power cut (then a change
//! is missed). What tells them apart is the *stamp* of the file that the guest writes to, its `FileWriteGuid` and
//! `DataWriteGuid`. The tracker holds durably which stamp the file has, and which one it will have next, **before**
//! the header that carries it is written; any other stamp is somebody else's. [`stamps`](self) has the protocol.
//!
//! A checkpoint changes which file is the leaf. At every moment of it the folder alone tells the state: the highest
//! layer that is there is the leaf, and one that was begun to be merged is merged to its end.

#![forbid(unsafe_code)]

mod checkpoint;
mod disk;
mod error;
mod guest;
mod leaf;
mod names;
mod options;
mod recovery_layer;
mod resize;
mod revert;
mod seal;
mod stamps;
mod start;
mod state;
mod tracking;

pub use checkpoint::{Checkpoint, Frozen};
pub use disk::TrackedDisk;
pub use error::{Error, Result, Step};
pub use names::MAX_CHECKPOINTS;
pub use options::{Random, TrackedOptions};
pub use tracking::{Lost, Tracking};
