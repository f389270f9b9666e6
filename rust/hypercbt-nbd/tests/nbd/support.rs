//! A server for the length of a test.

use std::thread;

use hypercbt_nbd::{Address, Export, Options, Server, Stats, Stop};

/// Any free port.
pub(crate) fn any_port() -> Address {
    "tcp:127.0.0.1:0".parse().unwrap()
}

/// Serves `export` while `test` runs, and returns what the server did.
pub(crate) fn serve(export: &dyn Export, test: impl FnOnce(&Address)) -> Stats {
    serve_at(&any_port(), Options::default(), export, |address, _| {
        test(address);
    })
}

/// The same at a place and with limits of the test's choice; the test may stop the server itself.
pub(crate) fn serve_at(
    address: &Address,
    options: Options,
    export: &dyn Export,
    test: impl FnOnce(&Address, &Stop),
) -> Stats {
    let server = Server::with_options(address, options).unwrap();
    let stop = Stop::new().unwrap();
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(export, &stop));
        let at_the_end = StopOnDrop(&stop);
        test(&server.address(), &stop);
        drop(at_the_end);
        serving.join().unwrap().unwrap()
    })
}

/// A test that fails must not leave a server that its scope waits for.
struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
