//! The index: which packs hold a chunk or a tree node, and where in them.
//!
//! It is a set of immutable *segments*, each a sorted file of fixed entries in checksummed pages
//! (`docs/repository-format.md` §5). A run adds small segments; whoever commits merges eight of one
//! level into one of the next, so that there are few of them at any size.
//!
//! ```text
//! header · pack table | page | page | ... | fences · filter table · filters · trailer
//!                       93 sorted entries   first 8 bytes of each page's first id
//! ```
//!
//! In memory stand only fences, filters and pack table: about 1.25 bytes an entry and 40 a pack, or
//! 5 to 6 MB for a TiB of unique chunks of 256 KiB. A look-up asks the filter, then the fences, and
//! reads one page for each id that is there. Everything is read as if an enemy had written it: a
//! damaged filter means "ask the pages", every other damage is an error that names the segment,
//! and none is ever taken for "absent".

mod cache;
mod entries;
mod filter;
mod layout;
mod lookup;

mod merge;
mod open;
mod page;
mod places;
mod search;
mod segment;
#[cfg(test)]
mod testing;
mod writer;

use std::io;

pub use cache::PageCache;
pub use entries::{Entries, SegmentEntry};
pub use lookup::Index;
pub use merge::{Merged, merge_if_due};
pub use places::{IndexedPlace, Places};
pub use segment::Segment;
pub use writer::{Written, write};

use crate::{Damage, Error, SegmentName};

/// The folder of the segments.
pub(crate) const FOLDER: &str = "index";

/// The name of a segment's object (format §1).
#[must_use]
pub fn object_name(segment: SegmentName) -> String {
    format!("{FOLDER}/{segment}")
}

/// What a failed read of an object means. Its length was checked before, so an early end is damage.
fn read_failed(object: &str, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return Error::damaged(object, Damage::Length);
    }
    Error::storage("read", object)(source)
}
