//! Unix sockets: their files, and waiting for more than one thing.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket},
};

use crate::{Address, Error, Result, Stop};

/// Connections that may wait to be accepted; one more is told to come again.
const BACKLOG: i32 = 64;

/// A Unix socket that is listened on, and its file, which only its owner may open.
#[derive(Debug)]
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file: what stands there later may be somebody else's.
    identity: (u64, u64),
}

impl SocketFile {
    /// Makes the file. One that a server left behind when it was killed is replaced; one that
    /// somebody listens on, and any other file, is not.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => Error::InUse {
                address: Address::Unix(path.to_owned()),
            },
            _ => Error::Bind {
                address: Address::Unix(path.to_owned()),
                source,
            },
        };
        remove_stale(path)?;
        let listener = bind_owner_only(path).map_err(failed)?;
        let listener = UnixListener::from(listener);
        let found = fs::symlink_metadata(path).map_err(failed)?;
        let socket = Self {
            listener,
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
        };
        socket.listener.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // If it stays, the next server finds that nobody listens, and replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Makes place for a socket, if what stands there is one that nobody listens on any more.
fn remove_stale(path: &Path) -> Result<()> {
    let address = || Address::Unix(path.to_owned());
    let failed = |source| Error::Bind {
        address: address(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(Error::InUse { address: address() }),
        // Whoever listened there is gone.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A socket that nobody can connect to before its file has its mode: listening comes after it.
fn bind_owner_only(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .and_then(|()| Ok(listen(&socket, BACKLOG)?))
        .inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok(socket)
}

/// Waits until there is a connection, or somebody asks to stop.
pub(super) fn wait(listener: &impl AsFd, stop: &Stop) -> io::Result<()> {
    let mut both = [
        PollFd::new(listener, PollFlags::IN),
        PollFd::new(stop.bell(), PollFlags::IN),
    ];
    not_interrupted(poll(&mut both, None))
}

/// Whether a failed accept says nothing of the next one: the client went, or the system is short of something.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
    ]
    .into_iter()
    .any(|passing| errno == Some(passing))
}

/// Waits for the system to have more, or for somebody who asks to stop.
pub(super) fn wait_a_moment(stop: &Stop) -> io::Result<()> {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let mut bell = [PollFd::new(stop.bell(), PollFlags::IN)];
    not_interrupted(poll(&mut bell, Some(&moment)))
}

fn not_interrupted(polled: rustix::io::Result<usize>) -> io::Result<()> {
    match polled {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
