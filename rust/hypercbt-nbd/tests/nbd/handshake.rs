//! What both sides agree on before the first request.

use crate::{
    client::{ACK, Client, INVALID, READ, UNKNOWN, UNSUP, context, go},
    memory::MemoryDisk,
    support::serve,
};

/// The reply to INFO and GO that tells of the disk, and the one that tells of block sizes.
fn export_info(size: u64, flags: u16) -> (u32, Vec<u8>) {
    (
        3,
        [
            &0u16.to_be_bytes()[..],
            &size.to_be_bytes(),
            &flags.to_be_bytes(),
        ]
        .concat(),
    )
}

fn block_info(smallest: u32) -> (u32, Vec<u8>) {
    let sizes = [
        smallest.to_be_bytes(),
        4096u32.to_be_bytes(),
        (32u32 << 20).to_be_bytes(),
    ];
    (3, [&3u16.to_be_bytes()[..], &sizes.concat()].concat())
}

const ACKED: (u32, Vec<u8>) = (ACK, vec![]);
const WRITABLE: u16 = 0b1_0110_1101;
const READ_ONLY: u16 = 0b1_0000_0111;
const NO_FRAGMENTS: u16 = 0b1000_0000;

#[test]
fn a_client_is_told_size_flags_and_block_sizes() {
    let mut disk = MemoryDisk::new(vec![0; 8192]);
    disk.block = 512;
    serve(&disk, |address| {
        let mut client = Client::greet(address);
        let told = client.option(7, &go(""));
        assert_eq!(told, [export_info(8192, WRITABLE), block_info(512), ACKED]);
    });
}

#[test]
fn block_sizes_are_told_only_to_those_who_ask() {
    serve(&MemoryDisk::new(vec![0; 5]), |address| {
        let mut client = Client::greet(address);
        let told = client.option(6, b"\0\0\0\0\0\0");
        assert_eq!(told, [export_info(5, WRITABLE), ACKED]);
    });
}

#[test]
fn a_read_only_disk_offers_nothing_that_writes() {
    let mut disk = MemoryDisk::new(vec![0; 4096]);
    disk.read_only = true;
    serve(&disk, |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(6, &go(""))[0], export_info(4096, READ_ONLY));
    });
}

#[test]
fn reads_in_one_chunk_are_offered_with_structured_replies_only() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(8, b""), [ACKED]);
        assert_eq!(
            client.option(6, &go(""))[0],
            export_info(4096, WRITABLE | NO_FRAGMENTS)
        );
    });
}

#[test]
fn the_oldest_way_to_begin_works_with_padding_and_without() {
    serve(&MemoryDisk::new(vec![9; 4096]), |address| {
        for (client_flags, padding) in [(0u32, 124), (1, 124), (2, 0), (3, 0)] {
            let mut client = Client::connect(address);
            client.bytes(18);
            client.send(&client_flags.to_be_bytes());
            client.send_option(1, b"");
            let told = client.bytes(10 + padding);
            assert_eq!(told[..8], 4096u64.to_be_bytes());
            assert_eq!(told[8..10], WRITABLE.to_be_bytes());
            assert!(told[10..].iter().all(|byte| *byte == 0));
            client.request(0, READ, 1, 0, 4);
            assert_eq!(client.simple_reply(), (1, 0));
            assert_eq!(client.bytes(4), [9; 4]);
        }
    });
}

#[test]
fn there_is_one_disk_and_its_name_is_empty() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(3, b""), [(2, vec![0; 4]), ACKED]);
        for option in [6, 7] {
            assert_eq!(client.option(option, &go("other")), [(UNKNOWN, vec![])]);
        }
        assert_eq!(client.option(8, b""), [ACKED]);
        let other = context("other", &["base:allocation"]);
        assert_eq!(client.option(10, &other), [(UNKNOWN, vec![])]);
        assert_eq!(client.option(7, &go("")).last(), Some(&ACKED));
    });
}

#[test]
fn after_an_option_that_we_do_not_know_the_next_one_is_heard() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        for option in [0, 4, 5, 11, 12, u32::MAX] {
            assert_eq!(client.option(option, b"whatever"), [(UNSUP, vec![])]);
        }
        assert_eq!(client.option(7, &go("")).last(), Some(&ACKED));
    });
}

#[test]
fn an_option_with_the_wrong_data_is_refused() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(8, b""), [ACKED]);
        for (option, data) in [(3, "x"), (8, "x"), (6, "x"), (7, ""), (9, "x"), (10, "")] {
            let refused = client.option(option, data.as_bytes());
            assert_eq!(refused, [(INVALID, vec![])], "{option}");
        }
    });
}

#[test]
fn contexts_are_listed_by_name_and_by_namespace() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(8, b""), [ACKED]);
        let listed = (4, b"\0\0\0\0base:allocation".to_vec());
        for queries in [&[][..], &["base:"], &["base:allocation"], &["x:y", "base:"]] {
            let found = client.option(9, &context("", queries));
            assert_eq!(found, [listed.clone(), ACKED], "{queries:?}");
        }
        assert_eq!(client.option(9, &context("", &["qemu:"])), [ACKED]);
    });
}

#[test]
fn a_context_is_set_by_its_whole_name_and_by_nothing_less() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(8, b""), [ACKED]);
        for queries in [&[][..], &["base:"], &["base:allocatio"], &["qemu:x"]] {
            let set = client.option(10, &context("", queries));
            assert_eq!(set, [ACKED], "{queries:?}");
        }
        let set = client.option(10, &context("", &["qemu:x", "base:allocation"]));
        assert_eq!(set, [(4, b"\0\0\0\x01base:allocation".to_vec()), ACKED]);
    });
}

#[test]
fn contexts_need_structured_replies() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        for option in [9, 10] {
            let refused = client.option(option, &context("", &["base:allocation"]));
            assert_eq!(refused, [(INVALID, vec![])]);
        }
    });
}

#[test]
fn setting_contexts_forgets_those_that_were_set_before() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        for second in [context("", &["qemu:x"]), b"x".to_vec()] {
            let mut client = Client::greet(address);
            assert_eq!(client.option(8, b""), [ACKED]);
            client.option(10, &context("", &["base:allocation"]));
            client.option(10, &second);
            client.option(7, &go(""));
            assert_eq!(client.status(0, 0, 4096).unwrap_err().0, 22);
        }
    });
}

#[test]
fn a_client_that_aborts_is_answered_and_let_go() {
    let stats = serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut client = Client::greet(address);
        assert_eq!(client.option(2, b""), [ACKED]);
        assert!(client.is_ended());
    });
    assert_eq!((stats.connections, stats.violations), (1, 0));
}
