//! Files that are read and written in place, and names that come and go.
//!
//! Everything that must survive a power cut goes through the two traits here, so that a test can put a file
//! system in their place that loses power. Nothing here knows a format.
//!
//! ```text
//! ReadAt                      reads at any position, by many threads
//!   └ DiskFile                the same, written in place, and made durable by `sync`
//! FileSystem                  names: create, open, link, rename, remove; made durable by `sync_folder`
//! LocalFile, LocalFiles       those of this machine
//! PatientFile                 one of this machine whose reads are tried again
//! VolatileFiles               the same, but what was not synced goes with a killed process, or when power is cut
//! ```
//!
//! What a caller may rely on after a power cut, and not one thing more: bytes and length of a file are durable
//! when [`DiskFile::sync`] returned after they were written; a name is durable when [`FileSystem::sync_folder`]
//! returned after it was made; a sector of 512 bytes is written whole or not at all; a rename has happened or not.

#![forbid(unsafe_code)]

mod file_system;
mod holes;
mod local;
mod patient;
mod read;
mod room;
pub mod step;
mod volatile;

pub use file_system::{DiskFile, Entry, FileSystem, folder_of};
pub use local::{LocalFile, LocalFiles};
pub use patient::PatientFile;
pub use read::{FileOffset, ReadAt};
pub use volatile::VolatileFiles;
