//! Several requests and several connections at once.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_nbd::{Address, Content, Error, Export, Options, Server};

use crate::{
    client::{Client, DISC, READ, WRITE, request},
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

/// A disk that counts how many writes it does at once, and does none before somebody says so.
struct Counting {
    disk: MemoryDisk,
    came: Sender<()>,
    go: Mutex<Receiver<()>>,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Export for Counting {
    fn size(&self) -> ByteLen {
        self.disk.size()
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(at, buf)
    }
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        self.came.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        self.inside.fetch_sub(1, Ordering::SeqCst);
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

/// Sends writes of a length, and returns how many of them were at the disk at once.
fn writes_at_once(options: Options, count: usize, len: usize, expected: usize) -> usize {
    let ((came, comes), (go, wait)) = (channel(), channel());
    let counting = Counting {
        disk: MemoryDisk::new(vec![0; len]),
        came,
        go: Mutex::new(wait),
        inside: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    };
    // With the test goes what the disk waits for.
    serve_at(&any_port(), options, &counting, move |address, _| {
        let mut client = Client::simple(address);
        thread::scope(|scope| {
            // What is not read by the server is not sent either.
            let mut sender = client.another_hand();
            scope.spawn(move || {
                for cookie in 0..count as u64 {
                    let mut write = request(0, WRITE, cookie, 0, len as u32).to_vec();
                    write.resize(28 + len, 7);
                    sender.send(&write);
                }
            });
            for _ in 0..expected {
                comes.recv().unwrap();
            }
            // One more would come by itself, and soon; the longer the wait, the surer the test.
            let more = comes.recv_timeout(Duration::from_millis(300));
            assert!(more.is_err(), "more than {expected} at once");
            for _ in 0..count {
                go.send(()).unwrap();
                assert_eq!(client.simple_reply().1, 0);
            }
        });
    });
    counting.most.into_inner()
}

#[test]
fn no_more_requests_are_worked_on_at_once_than_there_are_workers() {
    let options = Options {
        workers: NonZeroUsize::new(3).unwrap(),
        ..Options::default()
    };
    assert_eq!(writes_at_once(options, 9, 512, 3), 3);
}

#[test]
fn no_more_bytes_are_in_memory_at_once_than_there_may_be() {
    assert_eq!(writes_at_once(Options::default(), 5, 15 << 20, 2), 2);
}

#[test]
fn a_slow_request_holds_up_no_other_of_its_connection() {
    let (go, wait) = channel();
    let slow = SlowDisk {
        disk: MemoryDisk::new(vec![1; 4096]),
        go: Mutex::new(wait),
    };
    serve(&slow, move |address| {
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
