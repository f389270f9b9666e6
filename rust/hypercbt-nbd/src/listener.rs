//! Where connections come from: a Unix socket that is ours alone, or a loopback port.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use crate::{Address, Error, Result, Stop, stream::Stream};

#[cfg(unix)]
mod unix;

/// A socket that is listened on. A Unix socket's file goes when this is dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    #[cfg(unix)]
    Unix(unix::SocketFile),
    Tcp(TcpListener, SocketAddr),
}

impl Listener {
    /// Begins to listen.
    pub(crate) fn bind(address: &Address) -> Result<Self> {
        match address {
            #[cfg(unix)]
            Address::Unix(path) => unix::SocketFile::bind(path).map(Self::Unix),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Error::NoUnixSockets),
            Address::Tcp(port) => bind_tcp(*port),
        }
    }

    /// Where clients find it: with the port that was given where any would do.
    pub(crate) fn address(&self) -> Address {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => Address::Unix(socket.path().to_owned()),
            Self::Tcp(_, address) => Address::Tcp(*address),
        }
    }

    /// The next connection, or `None` if the server is to stop.
    #[cfg(unix)]
    pub(crate) fn accept(&self, stop: &Stop) -> io::Result<Option<Stream>> {
        loop {
            if stop.is_asked() {
                return Ok(None);
            }
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(stop)?,
                Err(error) if unix::is_passing(&error) => unix::wait_a_moment(stop)?,
                accepted => return accepted.map(Some),
            }
        }
    }

    /// The next connection, or `None` if the server is to stop.
    #[cfg(not(unix))]
    pub(crate) fn accept(&self, stop: &Stop) -> io::Result<Option<Stream>> {
        use std::{thread, time::Duration};
        loop {
            if stop.is_asked() {
                return Ok(None);
            }
            match self.accept_now() {
                // Std has nothing to wait for two things at once here; nobody notices so little.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(20));
                }
                accepted => return accepted.map(Some),
            }
        }
    }

    fn accept_now(&self) -> io::Result<Stream> {
        match self {
            #[cfg(unix)]
            Self::Unix(socket) => socket.listener().accept().map(|(new, _)| Stream::Unix(new)),
            Self::Tcp(listener, _) => listener.accept().map(|(new, _)| Stream::Tcp(new)),
        }
    }

    /// Waits for a connection or for the stop.
    #[cfg(unix)]
    fn wait(&self, stop: &Stop) -> io::Result<()> {
        match self {
            Self::Unix(socket) => unix::wait(socket.listener(), stop),
            Self::Tcp(listener, _) => unix::wait(listener, stop),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<Listener> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(Error::NotLoopback { address });
    }
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse {
            address: Address::Tcp(address),
        },
        _ => Error::Bind {
            address: Address::Tcp(address),
            source,
        },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Listener::Tcp(listener, bound))
}
