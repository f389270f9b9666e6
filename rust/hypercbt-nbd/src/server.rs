//! A server: connections, each on its own threads, until it is told to stop.

use std::{
    net::Shutdown,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use crate::{
    Address, Error, Export, Options, Result, Stats, Stop,
    handshake::negotiate,
    listener::Listener,
    session::{Ended, transmit},
    stats::Counters,
    stream::{Incoming, Stream},
};

/// A server that listens. Its socket is gone when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    options: Options,
}

impl Server {
    /// Begins to listen; clients are served when [`Server::serve`] is called, and wait until then.
    ///
    /// # Errors
    /// [`Error::InUse`] if somebody serves there, [`Error::NotASocket`] if a file stands there,
    /// [`Error::NotLoopback`] if other machines could connect.
    pub fn bind(address: &Address) -> Result<Self> {
        Self::with_options(address, Options::default())
    }

    /// Like [`Server::bind`], with other limits.
    pub fn with_options(address: &Address, options: Options) -> Result<Self> {
        let listener = Listener::bind(address)?;
        Ok(Self { listener, options })
    }

    /// Where clients find it. A port that was 0 is the one that the system gave.
    pub fn address(&self) -> Address {
        self.listener.address()
    }

    /// Serves `export` until `stop` is asked for: then what is being done is answered, and the disk flushed.
    ///
    /// Clients that do not take their answers are cut off after [`Options::grace`]; a call of the disk
    /// that runs is waited for.
    pub fn serve(&self, export: &dyn Export, stop: &Stop) -> Result<Stats> {
        let counters = Counters::default();
        let open = Connections::default();
        let connection = Connection {
            export,
            stop,
            options: &self.options,
            counters: &counters,
            open: &open,
        };
        let accepted = thread::scope(|scope| {
            let accepted = self.accept_all(scope, &connection);
            open.hang_up(self.options.grace);
            accepted
        });
        accepted?;
        if !export.is_read_only() {
            export.flush().map_err(Error::Flush)?;
        }
        Ok(counters.finish())
    }

    fn accept_all<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        connection: &'env Connection<'env>,
    ) -> Result<()> {
        while let Some(stream) = self
            .listener
            .accept(connection.stop)
            .map_err(Error::Accept)?
        {
            let stream = Arc::new(stream);
            if !connection.open.add(&stream, self.options.connections.get()) {
                connection.counters.refused();
                continue; // dropped, and so closed
            }
            let ours = Arc::clone(&stream);
            let serve = move || connection.serve(&ours);
            if thread::Builder::new().spawn_scoped(scope, serve).is_err() {
                connection.open.remove(&stream);
                connection.counters.refused();
            }
        }
        Ok(())
    }
}

/// What every connection of a server has in common.
struct Connection<'a> {
    export: &'a dyn Export,
    stop: &'a Stop,
    options: &'a Options,
    counters: &'a Counters,
    open: &'a Connections,
}

impl Connection<'_> {
    fn serve(&self, stream: &Arc<Stream>) {
        // Whatever happens: nobody shall wait for this connection any more.
        let _gone = OnDrop(|| self.open.remove(stream));
        self.counters.connected();
        if let Err(ended) = self.talk(stream) {
            ended.count(self.counters);
        }
        stream.shutdown(Shutdown::Both);
    }

    fn talk(&self, stream: &Stream) -> std::result::Result<(), Ended> {
        stream.prepare()?;
        let deadline = Instant::now() + self.options.handshake;
        let mut reader = Incoming::until(deadline, stream, self.stop)?;
        let Some(agreed) = negotiate(&mut reader, stream, self.export)? else {
            return Ok(());
        };
        let reader = reader.without_deadline()?;
        let (export, counters) = (self.export, self.counters);
        transmit(reader, stream, export, agreed, self.options, counters)
    }
}

/// Calls a function at the end of a scope, however it ends.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Connections {
    streams: Mutex<Vec<Arc<Stream>>>,
    fewer: Condvar,
}

impl Connections {
    /// Takes one more in, unless there are as many as there may be.
    fn add(&self, stream: &Arc<Stream>, most: usize) -> bool {
        let mut streams = self.streams();
        let room = streams.len() < most;
        if room {
            streams.push(Arc::clone(stream));
        }
        room
    }

    fn remove(&self, stream: &Arc<Stream>) {
        self.streams().retain(|open| !Arc::ptr_eq(open, stream));
        self.fewer.notify_all();
    }

    /// Takes no more requests, waits for the answers to go out, and then no longer.
    fn hang_up(&self, grace: Duration) {
        let streams = self.streams();
        for stream in streams.iter() {
            stream.shutdown(Shutdown::Read);
        }
        let (streams, _) = self
            .fewer
            .wait_timeout_while(streams, grace, |streams| !streams.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        for stream in streams.iter() {
            stream.shutdown(Shutdown::Both);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
