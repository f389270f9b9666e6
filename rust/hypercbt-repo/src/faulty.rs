//! A storage that fails, takes the process down with it, or lets somebody else go first at a chosen call: for tests.
//!
//! Every call to the storage and to its uploads has a number, from 0. A test runs once without a fault, reads
//! how many calls there were, and then runs once for each of them; or for one after the other until there are no more.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Storage, Upload};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This call fails, later ones do not.
    Fail(io::ErrorKind),
    /// This call and all later ones fail: the storage has gone, or the process is as good as dead.
    FailFrom(io::ErrorKind),
    /// The process ends here, at once, without any cleaning up.
    Abort {
        /// Whether half of the bytes of a writing call still reach the storage.
        torn: bool,
    },
}

/// One call, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `begin`, `append`, `finish`, `create`, `read`, `len`, `list`, `settle`, `delete` or `remove_unfinished`.
    pub action: &'static str,
    /// The object, the folder, or the owner of the upload.
    pub name: String,
}

/// A storage around another one.
#[derive(Debug, Clone)]
pub struct FaultyStorage<S> {
    inner: S,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    fault: Option<(usize, Fault)>,
    other: Option<(usize, Box<dyn FnOnce() + Send>)>,
    calls: Vec<Call>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, calls, .. } = self;
        f.debug_struct("State")
            .field("fault", fault)
            .field("calls", calls)
            .finish_non_exhaustive()
    }
}

impl<S: Storage> FaultyStorage<S> {
    /// Only writes the calls down.
    pub fn recording(inner: S) -> Self {
        Self {
            inner,
            state: Arc::default(),
        }
    }

    /// Lets `fault` happen at call number `at`.
    pub fn failing(inner: S, at: usize, fault: Fault) -> Self {
        let storage = Self::recording(inner);
        storage.state().fault = Some((at, fault));
        storage
    }

    /// Does all that `other` does, which uses the same storage by another way, just before call number `at`. All
    /// calls wait meanwhile. It came if there were more than `at` [calls](Self::calls).
    pub fn interrupted(inner: S, at: usize, other: impl FnOnce() + Send + 'static) -> Self {
        let storage = Self::recording(inner);
        storage.state().other = Some((at, Box::new(other)));
        storage
    }

    /// All calls so far, failed ones included.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes a call and says whether it goes through. `tear` writes half of what the call would have written.
fn call(
    state: &Mutex<State>,
    action: &'static str,
    name: &str,
    tear: impl FnOnce(),
) -> io::Result<()> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let number = state.calls.len();
    state.calls.push(Call {
        action,
        name: name.to_owned(),
    });
    if let Some((_, other)) = state.other.take_if(|(at, _)| number == *at) {
        other();
    }
    match state.fault {
        Some((at, Fault::Fail(kind))) if number == at => Err(kind.into()),
        Some((at, Fault::FailFrom(kind))) if number >= at => Err(kind.into()),
        Some((at, Fault::Abort { torn })) if number == at => {
            if torn {
                tear();
            }
            std::process::abort()
        }
        _ => Ok(()),
    }
}

fn half(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len() / 2).unwrap_or_default()
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn begin(&self, owner: &str) -> io::Result<Box<dyn Upload>> {
        call(&self.state, "begin", owner, || {})?;
        let inner = self.inner.begin(owner)?;
        Ok(Box::new(FaultyUpload {
            inner,
            owner: owner.to_owned(),
            state: Arc::clone(&self.state),
        }))
    }

    fn create_exclusive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        call(&self.state, "create", name, || {
            if let Ok(mut upload) = self.inner.begin("torn") {
                let _ = upload.append(half(bytes)); // the process ends in a moment
                std::mem::forget(upload);
            }
        })?;
        self.inner.create_exclusive(name, bytes)
    }

    fn read_exact_at(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        call(&self.state, "read", name, || {})?;
        self.inner.read_exact_at(name, buf, offset)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        call(&self.state, "len", name, || {})?;
        self.inner.len(name)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        call(&self.state, "list", folder, || {})?;
        self.inner.list(folder)
    }

    fn settle(&self, name: &str) -> io::Result<()> {
        call(&self.state, "settle", name, || {})?;
        self.inner.settle(name)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        call(&self.state, "delete", name, || {})?;
        self.inner.delete(name)
    }

    fn remove_unfinished(&self, owner: &str) -> io::Result<()> {
        call(&self.state, "remove_unfinished", owner, || {})?;
        self.inner.remove_unfinished(owner)
    }
}

struct FaultyUpload {
    inner: Box<dyn Upload>,
    owner: String,
    state: Arc<Mutex<State>>,
}

impl Upload for FaultyUpload {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let inner = &mut self.inner;
        call(&self.state, "append", &self.owner, || {
            let _ = inner.append(half(bytes)); // the process ends in a moment
        })?;
        self.inner.append(bytes)
    }

    fn finish(self: Box<Self>, name: &str) -> io::Result<()> {
        call(&self.state, "finish", name, || {})?;
        self.inner.finish(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    fn calls(storage: &dyn Storage) -> Vec<bool> {
        let upload = storage.begin("run");
        let mut results = vec![upload.is_ok()];
        if let Ok(mut upload) = upload {
            results.push(upload.append(b"bytes").is_ok());
            results.push(upload.finish("index/a").is_ok());
        }
        results.push(storage.create_exclusive("point/a", b"").is_ok());
        results.push(storage.len("point/a").is_ok());
        results
    }

    #[test]
    fn every_call_is_written_down_in_order() {
        let storage = FaultyStorage::recording(MemoryStorage::new());
        calls(&storage);
        let calls: Vec<_> = storage
            .calls()
            .into_iter()
            .map(|call| format!("{} {}", call.action, call.name))
            .collect();
        assert_eq!(
            calls,
            [
                "begin run",
                "append run",
                "finish index/a",
                "create point/a",
                "len point/a"
            ]
        );
    }

    #[test]
    fn one_call_fails_or_all_from_there_on() {
        let denied = io::ErrorKind::PermissionDenied;
        let one = FaultyStorage::failing(MemoryStorage::new(), 2, Fault::Fail(denied));
        assert_eq!(calls(&one), [true, true, false, true, true]);
        let rest = FaultyStorage::failing(MemoryStorage::new(), 2, Fault::FailFrom(denied));
        assert_eq!(calls(&rest), [true, true, false, false, false]);
    }
}
