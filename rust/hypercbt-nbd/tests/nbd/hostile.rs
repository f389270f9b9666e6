//! Clients that break the rules: each loses its connection, and nobody else notices.

use std::{io::Cursor, time::Duration};

use hypercbt_nbd::{Options, Violation, serve_stream};
use proptest::prelude::*;

use crate::{
    client::{Client, READ, WRITE, go, request},
    memory::MemoryDisk,
    support::{any_port, serve, serve_at},
};

/// Has a client do something for which it loses its connection, while another one goes on.
fn loses_its_connection(
    offend: impl FnOnce(&mut Client),
    connect: fn(&hypercbt_nbd::Address) -> Client,
) -> Violation {
    let stats = serve(&MemoryDisk::new(vec![1; 4096]), |address| {
        let mut other = Client::simple(address);
        let mut client = connect(address);
        offend(&mut client);
        assert!(client.is_ended());
        assert_eq!(other.ask(0, 3, 0, 0), 0);
    });
    assert_eq!((stats.violations, stats.connections), (1, 2));
    stats.first_violations[0]
}

#[test]
fn flags_that_were_not_offered_end_the_handshake() {
    for flags in [4u32, 7, 1 << 16, u32::MAX] {
        let violation = loses_its_connection(
            |client| {
                client.bytes(18);
                client.send(&flags.to_be_bytes());
            },
            Client::connect,
        );
        assert_eq!(violation, Violation::ClientFlags { flags });
    }
}

#[test]
fn an_option_without_its_magic_number_ends_the_handshake() {
    let violation = loses_its_connection(|client| client.send(b"IHAVENOTotherwise"), Client::greet);
    let magic = u64::from_be_bytes(*b"IHAVENOT");
    assert_eq!(violation, Violation::OptionMagic { magic });
}

#[test]
fn an_option_that_says_it_is_huge_ends_the_handshake_before_it_comes() {
    for len in [(64 << 10) + 1, u32::MAX] {
        let header = [
            b"IHAVEOPT".as_slice(),
            &3u32.to_be_bytes(),
            &len.to_be_bytes(),
        ]
        .concat();
        let violation = loses_its_connection(|client| client.send(&header), Client::greet);
        assert_eq!(violation, Violation::OptionTooLong { len });
    }
}

#[test]
fn options_without_end_end_the_handshake() {
    let endless = |client: &mut Client| {
        for _ in 0..256 {
            client.option(3, b"");
        }
    };
    assert_eq!(
        loses_its_connection(endless, Client::greet),
        Violation::TooManyOptions
    );
}

#[test]
fn only_the_oldest_option_is_for_clients_that_know_no_other() {
    let violation = loses_its_connection(
        |client| {
            client.bytes(18);
            client.send(&0u32.to_be_bytes());
            client.send_option(7, &go(""));
        },
        Client::connect,
    );
    assert_eq!(violation, Violation::NotFixed { option: 7 });
}

#[test]
fn an_unknown_name_by_the_oldest_option_ends_the_handshake() {
    let violation = loses_its_connection(|client| client.send_option(1, b"other"), Client::greet);
    assert_eq!(violation, Violation::UnknownExport);
}

#[test]
fn a_request_without_its_magic_number_ends_the_connection() {
    let violation = loses_its_connection(|client| client.send(&[7; 28]), Client::structured);
    assert_eq!(violation, Violation::RequestMagic { magic: 0x0707_0707 });
}

#[test]
fn a_write_longer_than_any_ends_the_connection_before_it_comes() {
    for len in [(32 << 20) + 1, u32::MAX] {
        let huge = request(0, WRITE, 1, 0, len);
        let violation = loses_its_connection(|client| client.send(&huge), Client::simple);
        assert_eq!(violation, Violation::WriteTooLong { len });
    }
}

#[test]
fn a_client_that_says_nothing_is_not_waited_for_forever() {
    let options = Options {
        handshake: Duration::ZERO,
        ..Options::default()
    };
    let stats = serve_at(
        &any_port(),
        options,
        &MemoryDisk::new(vec![1; 1]),
        |address, _| {
            let mut client = Client::connect(address);
            client.bytes(18);
            assert!(client.is_ended());
        },
    );
    assert_eq!(stats.first_violations, [Violation::TooSlow]);
}

#[test]
fn a_client_that_goes_in_the_middle_of_anything_is_no_violation() {
    let disk = MemoryDisk::new(vec![1; 4096]);
    let stats = serve(&disk, |address| {
        for cut in [1, 27, 28, 30] {
            let mut client = Client::simple(address);
            let write = [&request(0, WRITE, 1, 0, 8)[..], b"halfdone"].concat();
            client.send(&write[..cut]);
            client.finish();
            assert!(client.is_ended());
        }
        let mut client = Client::greet(address);
        client.send(b"IHAVE");
        client.finish();
        assert!(client.is_ended());
    });
    assert_eq!(
        (stats.connections, stats.violations, stats.requests),
        (5, 0, 0)
    );
    assert_eq!(disk.bytes()[..8], [1; 8], "half a write is none");
}

/// A greeting that leads to requests, with whatever is agreed on by the way.
fn to_requests(structured: bool) -> Vec<u8> {
    let mut bytes = 3u32.to_be_bytes().to_vec();
    let mut option = |option: u32, data: &[u8]| {
        bytes.extend(b"IHAVEOPT");
        bytes.extend(option.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
    };
    if structured {
        option(8, b"");
        option(10, &crate::client::context("", &["base:allocation"]));
    }
    option(7, &go(""));
    bytes
}

/// Serves a disk of three pieces to a client whose bytes are known from the start.
fn feed(bytes: Vec<u8>) -> Vec<u8> {
    let disk = MemoryDisk::from_map("a.b");
    let mut answers = Vec::new();
    serve_stream(Cursor::new(bytes), &mut answers, &disk, &Options::default());
    answers
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_in_the_handshake_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        feed(bytes.clone());
        feed([&3u32.to_be_bytes()[..], b"IHAVEOPT", &bytes].concat());
    }

    #[test]
    fn any_bytes_as_requests_come_to_an_end(
        structured in any::<bool>(),
        headers in proptest::collection::vec((any::<u16>(), 0..9u16, 0..20_000u64, 0..20_000u32), 0..20),
        tail in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = to_requests(structured);
        for (flags, command, at, len) in headers {
            bytes.extend(request(flags & 0x801f, command, at, at, len));
        }
        bytes.extend(tail);
        feed(bytes);
    }
}

#[test]
fn answers_stop_where_requests_do() {
    let mut bytes = to_requests(false);
    bytes.extend(request(0, READ, 5, 0, 4));
    let answers = feed(bytes);
    assert!(answers.ends_with(b"\0\0\0\x05aaaa"));
}
