//! What tells whether somebody wrote to a disk file while it was read.

use hypercbt_extent::ByteLen;

use crate::Guid;

/// The state of all files of a disk at one moment. Two equal stamps: nobody wrote in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub(crate) files: Vec<FileStamp>,
}

/// The state of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub(crate) bytes: ByteLen,
    pub(crate) modified: Option<i128>,
    /// Both headers of a VHDX file, where they are valid.
    pub(crate) headers: [Option<HeaderStamp>; 2],
    /// The first and the last 512 bytes of a VHD file: its footer and the copy of it.
    pub(crate) footers: Option<Box<[[u8; 512]; 2]>>,
}

/// What changes in a header when the file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderStamp {
    pub(crate) sequence_number: u64,
    pub(crate) file_write_guid: Guid,
    pub(crate) data_write_guid: Guid,
    pub(crate) log_guid: Guid,
}
