//! Which bytes of which file are which bytes of a virtual disk.
//!
//! [`VirtualDisk`] is the one interface over VHDX and legacy VHD (fixed, dynamic and whole differencing chains) and
//! raw files.
//! `open` reads and checks all metadata; after that, resolving an extent is pure arithmetic, and the caller does
//! the I/O in whatever order is best:
//!
//! ```text
//! open: identifier → headers → log (replayed into an overlay) → regions → metadata → BAT → sector bitmaps
//!       and the same for each parent
//! resolve: extent → [ Data { file, at } | Zero ]…
//! ```
//!
//! Every byte of a disk file is untrusted: it is checked before it is believed, limits come before allocations,
//! and what breaks a rule is a typed [`Error`], never a panic. A source file is never written.

#![forbid(unsafe_code)]

mod bat;
mod block_runs;
mod chain;
mod create;
mod disk;
mod encode;
mod error;
mod format;
mod geometry;
mod guid;
mod header;
mod layer;
mod layout;
mod locator;
mod log;
mod metadata;
mod options;
mod parent_path;
mod raw;
mod region;
mod sector_bitmap;
mod segments;
mod source;
mod space;
mod stamp;
mod storage;
mod target;
mod units;
mod vhd;
mod vhdx;
mod write;
mod write_raw;

pub use create::VhdxWriter;
pub use disk::{Format, Kind, Layer, LogState, OpenOptions, VirtualDisk};
pub use error::{Error, Mismatch, NotADisk, Part, Reason, Result, Unresizable, Unsupported};
pub use guid::{Guid, InvalidGuid};
pub use hypercbt_file::{FileOffset, LocalFile, ReadAt};
pub use options::VhdxOptions;
pub use segments::{FileIndex, Place, Segment, Segments};
pub use stamp::Stamp;
pub use target::WriteDisk;
pub use units::BlockIndex;
pub use vhd::{VhdKind, VhdOptions, VhdWriter};
pub use write::{
    Guids, Merged, NewKind, NewVhdx, Opening, WritableVhdx, create_vhdx, merge, merge_into,
};
pub use write_raw::RawWriter;
