//! For tests: files that lose power, and the states that they may be found in.
//!
//! [`SimFiles`] is a file system in memory that records what is done to it. From its [`History`] come the
//! [`State`]s that a disk may be in if power goes after any of the operations; a test starts a new machine on
//! each ([`SimFiles::from_state`]), opens what it tests, and looks whether every promise was kept.
//! [`campaign`] chooses states, worst first, never the same one twice.
//!
//! ```
//! use std::path::Path;
//! use hypercbt_file::{DiskFile, FileOffset, FileSystem};
//! use hypercbt_powercut::{SimFiles, campaign};
//!
//! let files = SimFiles::new();
//! let file = files.create_new(Path::new("/f")).unwrap();
//! file.write_all_at(b"kept", FileOffset(0)).unwrap();
//! file.sync().unwrap();
//! files.sync_folder(Path::new("/")).unwrap();
//! let promised = files.ops();
//! file.write_all_at(b"lost", FileOffset(0)).unwrap();
//!
//! let report = campaign(&files.history(), 1, 100, |at, state| match state.read(Path::new("/f")) {
//!     Some(found) if found == b"kept" || found == b"lost" => Ok(()),
//!     _ if at < promised => Ok(()),
//!     found => Err(format!("{found:?}")),
//! });
//! assert!(report.failure.is_none(), "{report}");
//! ```
//!
//! # Which states are legal, and why
//!
//! Asked for is what POSIX and `hypercbt-file` promise and not one thing more, whatever a certain file system
//! does better. Between the last successful sync and the cut, of each file:
//!
//! - **Any subset of the writes, each in any subset of its sectors** of 512 bytes. A cache is written back
//!   in any order, and by several disks at once. A sector is whole or old: disks promise that since they have
//!   a checksum on each. Two writes into one sector count one by one, for a file system over a network sends
//!   them as they came.
//! - **The length is old or any later one**, also one between, at a sector border, where a write made the file
//!   longer: the length stands in another place than the bytes, and is written at another time. What
//!   the length takes in and no surviving write has filled reads as zeros.
//! - **A shorter length and the zeros behind it are independent too**: where a file was made shorter and
//!   then longer, what was cut off may be back.
//! - **Names** (created, linked, renamed, removed, folders too): any subset of the changes, each kept or not
//!   kept by itself; only a `sync_folder` of the folder that has the name makes it durable. A sync of the file does
//!   not: POSIX says "all data for the open file descriptor", and a name is data of the folder. A sync of
//!   a folder does not make the folder's own name durable, and what lies in a folder that is lost is lost. A
//!   rename happens whole or not at all; between two folders it is durable when both were synced.
//! - **A sync that failed** promises nothing, and takes the promise of later ones away: the system may have
//!   marked the pages clean (as Linux does), so a later sync of this file reports success without them.
//!   What was not durable when a sync failed may be lost for ever; only what is written again can be synced.
//! - **A write that failed** may have written any of its sectors.
//!
//! A cut *during* an operation needs no case of its own: what it may leave is among the states before or after.
//! Not modelled: sectors that rot, disks that lie about a sync, a write of less than a sector that is torn
//! inside it, the old contents of the disk showing through where a file was made longer.

#![forbid(unsafe_code)]
#![expect(
    clippy::indexing_slicing,
    reason = "only tests use this crate: an index that is wrong shall stop them"
)]

mod campaign;
mod content;
mod cut;
mod fault;
mod files;
mod handle;
mod history;
mod mutants;
mod name;
mod plan;
mod random;
mod state;
mod volume;

pub use campaign::{Asked, Failure, Report, campaign, campaign_with_recoveries};
pub use content::SECTOR_BYTES;
pub use fault::{Call, Fault};
pub use files::SimFiles;
pub use history::History;
pub use mutants::steps_in;
pub use state::State;
