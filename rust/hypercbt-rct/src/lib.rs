//! A resilient change tracker: which places of a virtual disk changed since when, also after a power cut.
//!
//! Three maps of one truth, each coarser and longer-lived than the one before:
//!
//! ```text
//!              precision   written                                      serves
//! memory       4 KiB       on every write                               while the process lives
//! <disk>.rct   64 KiB      now and then, and on close                   after a clean stop or a hand-over
//! <disk>.mrt   2 MiB       before the first write to a region begins    after a crash or a power cut
//! ```
//!
//! **The one law: no change is ever missed.** Too much may be reported, never too little; where that cannot be
//! promised, the answer is [`Error::TrackingLost`] and not an empty set. `docs/change-tracking.md` has the
//! argument, and both files to the byte.
//!
//! The tracker does not write the disk. Who does calls [`Tracker::write_begins`] before each write,
//! [`Tracker::write_ends`] after it, and [`Tracker::expect`] before the disk's file gets a new [`Stamp`]; and flushes
//! the disk's file after [`Tracker::seal`] has returned, before anybody relies on the id.

#![forbid(unsafe_code)]

mod clock;
mod commit;
mod error;
mod format;
mod header;
mod id;
mod identity;
mod in_flight;
mod layout;
mod map;
mod marked;
mod mrt;
mod open;
mod options;
mod place;
mod recovery;
mod runs;
mod seal;
mod sectors;
mod snapshot;
mod stamps;
mod state;
mod stats;
mod tracker;
mod write_back;

pub use error::{Error, Lost, Result, TrackerCall, TrackerFile};
pub use id::{InvalidRctId, RctId};
pub use identity::{DiskIdentity, Stamp};
pub use in_flight::Ticket;
pub use options::Options;
pub use stats::{Recovered, Stats};
pub use tracker::Tracker;
