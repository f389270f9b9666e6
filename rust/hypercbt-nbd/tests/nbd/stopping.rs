//! How a server ends.

use std::{
    sync::{Mutex, mpsc::channel},
    thread,
    time::Duration,
};

use hypercbt_nbd::Options;

use crate::{
    client::{Client, READ},
    memory::{Call, MemoryDisk},
    serving::SlowDisk,
    support::{any_port, serve_at},
};

#[test]
fn a_server_that_nobody_talks_to_stops() {
    let disk = MemoryDisk::new(vec![1; 1]);
    serve_at(&any_port(), Options::default(), &disk, |_, stop| {
        stop.stop();
    });
}

#[test]
fn a_stop_takes_leave_of_clients_wherever_they_are() {
    let disk = MemoryDisk::new(vec![1; 1]);
    let mut clients = Vec::new();
    // They all take their leave at once; nobody has to be cut off.
    let patient = Options {
        grace: Duration::from_secs(3600),
        ..Options::default()
    };
    serve_at(&any_port(), patient, &disk, |address, _| {
        clients.push(Client::connect(address));
        clients.push(Client::greet(address));
        clients.push(Client::structured(address));
        clients[0].bytes(18);
    });
    assert!(clients.iter_mut().all(Client::is_ended));
}

#[test]
fn what_is_being_done_at_a_stop_is_answered() {
    let (go, wait) = channel();
    let slow = SlowDisk {
        disk: MemoryDisk::new(vec![1; 4096]),
        go: Mutex::new(wait),
    };
    let patient = Options {
        grace: Duration::from_secs(60),
        ..Options::default()
    };
    let mut client = None;
    let stats = thread::scope(|scope| {
        serve_at(&any_port(), patient, &slow, |address, stop| {
            let client = client.insert(Client::simple(address));
            client.request(0, READ, 1, 0, 2);
            // The other one's answer shows that the first has been taken up.
            client.request(0, READ, 2, 100, 2);
            assert_eq!(client.simple_reply(), (2, 0));
            client.bytes(2);
            stop.stop();
            scope.spawn(move || go.send(()).unwrap());
        })
    });
    let mut client = client.unwrap();
    assert_eq!(client.simple_reply(), (1, 0));
    assert_eq!(client.bytes(2), [1; 2]);
    assert!(client.is_ended());
    assert_eq!(stats.requests, 2);
}

#[test]
fn a_client_that_takes_no_answers_does_not_hold_up_the_stop() {
    let disk = MemoryDisk::new(vec![1; 32 << 20]);
    let impatient = Options {
        grace: Duration::ZERO,
        ..Options::default()
    };
    serve_at(&any_port(), impatient, &disk, |address, _| {
        let mut client = Client::simple(address);
        for cookie in 0..8 {
            client.request(0, READ, cookie, 0, 32 << 20);
        }
        assert_eq!(client.simple_reply().1, 0, "it is being answered");
        std::mem::forget(client); // stays open, and is not read from
    });
}

#[test]
fn a_disk_is_flushed_at_the_end_unless_it_cannot_have_changed() {
    for read_only in [false, true] {
        let mut disk = MemoryDisk::new(vec![1; 1]);
        disk.read_only = read_only;
        serve_at(&any_port(), Options::default(), &disk, |_, _| {});
        let expected: &[Call] = if read_only { &[] } else { &[Call::Flush] };
        assert_eq!(disk.calls(), expected);
    }
}
