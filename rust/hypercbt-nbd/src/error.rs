//! Why a disk could not be served.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::Address;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a disk could not be served. What single clients do wrong is no error: see [`crate::Stats`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address can be reached from other machines.
    #[error("{address} is not a loopback address, and only this machine is served")]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Somebody serves at this address.
    #[error("{address} is in use")]
    InUse {
        /// The address that was asked for.
        address: Address,
    },
    /// Something else than a socket stands where the socket should go.
    #[error("{} is there already, and is no socket", path.display())]
    NotASocket {
        /// What stands there.
        path: PathBuf,
    },
    /// The system has no sockets of this kind.
    #[error("there are no Unix sockets here; say tcp:127.0.0.1:PORT")]
    NoUnixSockets,
    /// The server could not begin to listen.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: Address,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server can no longer listen.
    #[error("can no longer accept connections")]
    Accept(#[source] io::Error),
    /// What was written could not be made durable at the end.
    #[error("cannot flush the disk")]
    Flush(#[source] io::Error),
}
