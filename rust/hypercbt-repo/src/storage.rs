//! Where a repository's objects lie: a small trait that a folder and an object store can both keep.
//!
//! Objects are immutable and named by relative paths with `/`. Two promises carry the whole repository:
//! an object that is visible under its name is whole, and [`Storage::create_exclusive`] lets exactly one
//! of several racing callers win. Both calls that make an object return only when it is durable.

use std::io;

/// The objects of one repository.
pub trait Storage: Send + Sync {
    /// Begins an object whose name is known only at its end. `owner` starts the temporary name.
    fn begin(&self, owner: &str) -> io::Result<Box<dyn Upload>>;

    /// Makes `name` with these bytes, durably, if and only if it does not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if somebody was first.
    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buf` from `offset` of the object.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] without the object, [`io::ErrorKind::UnexpectedEof`] past its end.
    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The length of an object.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] without the object.
    fn len(&self, name: &str) -> io::Result<u64>;

    /// All objects whose names start with `folder` and a `/`, with their lengths, in order of name.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;

    /// Makes durable what is seen in the folder of this name: that objects are there which others have made, who
    /// may have been stopped before they were durable, and that deleted ones are gone. The default is for
    /// storages where what is seen is durable.
    fn settle(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    /// Removes an object. That it is not there is no error. It may come back until [`Storage::settle`] was called.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Removes what unfinished uploads of `owner` left behind.
    fn remove_unfinished(&self, owner: &str) -> io::Result<()>;
}

/// An object that is being written. Dropped without `finish`, it leaves nothing behind.
pub trait Upload: Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the object visible under `name`, durably. If the name exists already, the object that
    /// is there stays and this one is dropped: names are made from the content.
    fn finish(self: Box<Self>, name: &str) -> io::Result<()>;
}
