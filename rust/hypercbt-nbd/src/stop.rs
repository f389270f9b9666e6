//! How a server is told to stop, from any thread.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

#[cfg(unix)]
use std::{net::Shutdown, os::unix::net::UnixStream};

/// Asks one server, or several, to stop. Clones ask the same ones.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: AtomicBool,
    /// Becomes readable, and stays so, when the other end is shut down: something to poll beside a socket.
    #[cfg(unix)]
    bell: UnixStream,
    #[cfg(unix)]
    rope: UnixStream,
}

impl Stop {
    /// A stop that nobody has asked for yet.
    pub fn new() -> io::Result<Self> {
        #[cfg(unix)]
        let (bell, rope) = UnixStream::pair()?;
        Ok(Self(Arc::new(Inner {
            asked: AtomicBool::new(false),
            #[cfg(unix)]
            bell,
            #[cfg(unix)]
            rope,
        })))
    }

    /// Asks for it. Returns at once; [`crate::Server::serve`] returns when it is done.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        #[cfg(unix)]
        // Cannot fail: the two are connected as long as they live, and shutting down twice is the same.
        drop(self.0.rope.shutdown(Shutdown::Both));
    }

    /// Whether somebody asked.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// What becomes readable when somebody asks.
    #[cfg(unix)]
    pub(crate) fn bell(&self) -> &UnixStream {
        &self.0.bell
    }
}
