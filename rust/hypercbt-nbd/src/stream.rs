//! One connection, whatever kind of socket it came by.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

#[cfg(unix)]
use std::os::unix::net::UnixStream;

use crate::Stop;

/// How often a reader that waits looks whether it should still wait.
const TICK: Duration = Duration::from_millis(250);

/// A connected socket. All its methods may be called from several threads.
#[derive(Debug)]
pub(crate) enum Stream {
    #[cfg(unix)]
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Calls the same method of whatever socket it is.
macro_rules! either {
    ($stream:expr, $socket:pat => $call:expr) => {
        match $stream {
            #[cfg(unix)]
            Stream::Unix($socket) => $call,
            Stream::Tcp($socket) => $call,
        }
    };
}

impl Stream {
    /// Makes a socket that was accepted ready for use.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        either!(self, socket => socket.set_nonblocking(false))?;
        match self {
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
            // An answer is written whole; waiting for more would only delay it.
            Self::Tcp(socket) => socket.set_nodelay(true),
        }
    }

    /// Ends one direction or both. What is blocked there wakes up.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // A peer that has gone before us is as well.
        drop(either!(self, socket => socket.shutdown(how)));
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, socket => socket.set_read_timeout(timeout))
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => (&mut &*socket).read(buf))
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => (&mut &*socket).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from a connection until its end, a deadline, or a stop, which looks like the end.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    stream: &'a Stream,
    stop: &'a Stop,
    deadline: Option<Instant>,
}

impl<'a> Incoming<'a> {
    /// Reads that fail with `TimedOut` after the deadline, however slowly bytes come until then.
    pub(crate) fn until(deadline: Instant, stream: &'a Stream, stop: &'a Stop) -> io::Result<Self> {
        stream.set_read_timeout(Some(TICK))?;
        Ok(Self {
            stream,
            stop,
            deadline: Some(deadline),
        })
    }

    /// From now on reads wait as long as it takes.
    pub(crate) fn without_deadline(self) -> io::Result<Self> {
        // Elsewhere shutting the socket down does not wake who reads from it.
        let tick = (!cfg!(unix)).then_some(TICK);
        self.stream.set_read_timeout(tick)?;
        Ok(Self {
            deadline: None,
            ..self
        })
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.read(buf) {
                Err(error) if is_tick(&error) && self.stop.is_asked() => return Ok(0),
                Err(error) if is_tick(&error) => {}
                read => return read,
            }
        }
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
