//! `NbdServer`: a disk that is served while Python does something else.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use hypercbt_engine::{Error as Engine, PointDiskReader};
use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_nbd::{Address, AddressError, Content, Error, Export, Server, Stats, Stop};
use hypercbt_repo::Error as Repo;
use pyo3::{exceptions::PyValueError, import_exception, prelude::*};

use crate::{documents, error::chain};

import_exception!(hypercbt.errors, AddressInUseError);
import_exception!(hypercbt.errors, ServeError);

/// Serves a disk on threads of its own, until it is stopped.
#[pyclass(frozen, module = "hypercbt._native")]
pub(crate) struct NbdServer {
    address: Address,
    stop: Stop,
    ended: Arc<Ended>,
    thread: Mutex<Option<JoinHandle<hypercbt_nbd::Result<Stats>>>>,
}

/// Whether the server has ended, for whatever reason.
#[derive(Default)]
struct Ended {
    flag: Mutex<bool>,
    set: Condvar,
}

impl NbdServer {
    /// Begins to listen at an address as people write it, and to serve `export` there.
    pub(crate) fn start(py: Python<'_>, address: &str, export: Arc<dyn Export>) -> PyResult<Self> {
        let address: Address = address
            .parse()
            .map_err(|error: AddressError| PyValueError::new_err(chain(&error)))?;
        py.detach(|| Self::start_at(&address, export))
            .map_err(serve_error)
    }

    fn start_at(address: &Address, export: Arc<dyn Export>) -> Result<Self, Error> {
        let failed = |source| Error::Bind {
            address: address.clone(),
            source,
        };
        let stop = Stop::new().map_err(failed)?;
        let server = Server::bind(address)?;
        let (bound, ended) = (server.address(), Arc::new(Ended::default()));
        let (asked, done) = (stop.clone(), Arc::clone(&ended));
        let serve = move || {
            let outcome = server.serve(&*export, &asked);
            drop(server); // the socket goes before anybody hears that it is over
            done.tell();
            outcome
        };
        let thread = thread::Builder::new()
            .name("nbd".into())
            .spawn(serve)
            .map_err(failed)?;
        Ok(Self {
            address: bound,
            stop,
            ended,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl Ended {
    fn tell(&self) {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.set.notify_all();
    }

    fn wait(&self, timeout: Duration) -> bool {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.set.wait_timeout_while(flag, timeout, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[pymethods]
impl NbdServer {
    #[getter]
    fn address(&self) -> String {
        self.address.to_string()
    }

    #[getter]
    fn uri(&self) -> String {
        self.address.uri()
    }

    /// Waits until it has ended by itself, but no longer than this. Whether it has.
    fn wait(&self, py: Python<'_>, timeout_millis: u64) -> bool {
        py.detach(|| self.ended.wait(Duration::from_millis(timeout_millis)))
    }

    /// Ends it, and returns what it did; nothing if that was returned before.
    fn stop(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.stop.stop();
        let served = py.detach(|| {
            let thread = self
                .thread
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            thread.map(|thread| thread.join().expect("a server does not panic"))
        });
        let stats = served.transpose().map_err(serve_error)?;
        Ok(stats.map(|stats| documents::served(&stats)))
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn serve_error(error: Error) -> PyErr {
    let message = chain(&error);
    match error {
        Error::InUse { .. } | Error::NotASocket { .. } => AddressInUseError::new_err(message),
        Error::NotLoopback { .. } | Error::NoUnixSockets => PyValueError::new_err(message),
        _ => ServeError::new_err(message),
    }
}

/// A disk of a restore point, as a server sees it.
pub(crate) struct PointExport(pub(crate) Arc<PointDiskReader>);

impl Export for PointExport {
    fn size(&self) -> ByteLen {
        ByteLen(self.0.size())
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(at.0, buf).map_err(io_error)
    }

    fn write_at(&self, _: DiskOffset, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn zero(&self, _: Extent, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn unmap(&self, _: Extent) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
        let data = self.0.data(extent).map_err(io_error)?;
        Ok(Content::partition(extent, &data))
    }
}

/// The error as clients can be told it; damage is named as such.
fn io_error(error: Engine) -> io::Error {
    let kind = match &error {
        Engine::Repository(
            Repo::Damaged { .. } | Repo::ChunkLost { .. } | Repo::NodeLost { .. },
        ) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
