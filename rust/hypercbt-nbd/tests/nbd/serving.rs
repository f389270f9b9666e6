//! Several requests and several connections at once.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Mutex,
        mpsc::{Receiver, channel},
    },
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_nbd::{Address, Content, Error, Export, Options, Server};

use crate::{
    client::{Client, DISC, READ},
    memory::MemoryDisk,
    support::{any_port, serve, serve_at},
};

/// A disk whose first byte cannot be read before somebody says so.
pub(crate) struct SlowDisk {
    pub(crate) disk: MemoryDisk,
    pub(crate) go: Mutex<Receiver<()>>,
}

impl Export for SlowDisk {
    fn size(&self) -> ByteLen {
        self.disk.size()
    }
    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }
    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        if at.0 == 0 {
            self.go.lock().unwrap().recv().unwrap();
        }
        self.disk.read_at(at, buf)
    }
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(at, bytes)
    }
    fn zero(&self, extent: Extent, may_unmap: bool) -> io::Result<()> {
        self.disk.zero(extent, may_unmap)
    }
    fn unmap(&self, extent: Extent) -> io::Result<()> {
        self.disk.unmap(extent)
    }
    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
        self.disk.segments(extent)
    }
}

#[test]
fn a_slow_request_holds_up_no_other_of_its_connection() {
    let (go, wait) = channel();
    let slow = SlowDisk {
        disk: MemoryDisk::new(vec![1; 4096]),
        go: Mutex::new(wait),
    };
    serve(&slow, |address| {
        let mut client = Client::simple(address);
        client.request(0, READ, 1, 0, 2);
        client.request(0, READ, 2, 100, 2);
        assert_eq!(client.simple_reply(), (2, 0));
        client.bytes(2);
        go.send(()).unwrap();
        assert_eq!(client.simple_reply(), (1, 0));
    });
}

#[test]
fn requests_before_the_goodbye_are_answered() {
    serve(&MemoryDisk::new(vec![1; 4096]), |address| {
        let mut client = Client::simple(address);
        client.request(0, READ, 1, 0, 2);
        client.request(0, DISC, 2, 0, 0);
        assert_eq!(client.simple_reply(), (1, 0));
        client.bytes(2);
        assert!(client.is_ended());
    });
}

#[test]
fn one_connection_too_many_is_closed_at_once() {
    let options = Options {
        connections: NonZeroUsize::new(2).unwrap(),
        ..Options::default()
    };
    let stats = serve_at(
        &any_port(),
        options,
        &MemoryDisk::new(vec![1; 1]),
        |address, _| {
            let (mut one, _two) = (Client::simple(address), Client::simple(address));
            assert!(Client::connect(address).is_ended());
            assert_eq!(one.ask(0, 3, 0, 0), 0);
            one.request(0, DISC, 0, 0, 0);
            assert!(one.is_ended());
        },
    );
    assert_eq!((stats.connections, stats.refused), (2, 1));
}

#[test]
fn only_this_machine_can_be_served() {
    for text in [
        "tcp:0.0.0.0:0",
        "tcp:[::]:0",
        "tcp:192.0.2.1:10809",
        "tcp:[::ffff:192.0.2.1]:1",
    ] {
        let address: Address = text.parse().unwrap();
        let refused = Server::bind(&address);
        assert!(matches!(refused, Err(Error::NotLoopback { .. })), "{text}");
    }
}

#[test]
fn a_port_that_is_in_use_is_refused() {
    let first = Server::bind(&any_port()).unwrap();
    let second = Server::bind(&first.address());
    assert!(matches!(second, Err(Error::InUse { .. })));
}
