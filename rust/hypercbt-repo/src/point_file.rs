//! One file of a machine's configuration, as a restore point holds it.

use serde::{Deserialize, Serialize};

use crate::{
    NodeId,
    limits::{GREATEST, is_file_name},
    object,
};

/// A file beside the disks. Its bytes are cut into chunks and hang in a tree as those of a disk do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointFile {
    /// Its name, without a folder.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The root of its tree; `None` if it is empty or every byte is zero.
    #[serde(deserialize_with = "object::nullable")]
    pub root: Option<NodeId>,
}

impl PointFile {
    /// Whether a file can have this name: a plain one of 1 to 255 bytes, which every system takes for the name of a
    /// file in a folder.
    pub fn is_name(name: &str) -> bool {
        is_file_name(name)
    }

    pub(crate) fn is_possible(&self) -> bool {
        let is_empty_with_content = self.size == 0 && self.root.is_some();
        Self::is_name(&self.name) && self.size <= GREATEST && !is_empty_with_content
    }
}
