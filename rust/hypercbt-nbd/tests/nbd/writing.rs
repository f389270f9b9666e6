//! Whatever changes a disk.

use std::io;

use crate::{
    client::{Client, DF, FLUSH, FUA, NO_HOLE, REQ_ONE, TRIM, WRITE, ZEROES, request},
    memory::{Call, Fault, MemoryDisk, extent},
    support::serve,
};

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

#[test]
fn what_is_written_is_there_for_every_connection() {
    let disk = MemoryDisk::new(vec![0; 8192]);
    let stats = serve(&disk, |address| {
        let (mut one, mut two) = (Client::simple(address), Client::simple(address));
        assert_eq!(one.write(0, 4090, b"hello, world"), 0);
        two.request(0, 0, 1, 4090, 12);
        assert_eq!(two.simple_reply(), (1, 0));
        assert_eq!(two.bytes(12), b"hello, world");
    });
    assert_eq!(
        (stats.written_bytes, stats.connections, stats.requests),
        (12, 2, 2)
    );
    assert_eq!(disk.calls()[0], Call::Write(extent(4090, 12)));
}

#[test]
fn a_write_is_durable_before_its_answer_only_where_that_was_asked_for() {
    let disk = MemoryDisk::new(vec![0; 8192]);
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.write(0, 0, b"x"), 0);
        assert_eq!(disk.calls(), [Call::Write(extent(0, 1))]);
        assert_eq!(client.write(FUA, 1, b"y"), 0);
        assert_eq!(disk.calls(), [Call::Write(extent(1, 1)), Call::Flush]);
        assert_eq!(client.ask(0, FLUSH, 0, 0), 0);
        assert_eq!(disk.calls(), [Call::Flush]);
    });
}

#[test]
fn zeros_and_trims_reach_the_disk_as_such() {
    let disk = MemoryDisk::new(vec![1; 8192]);
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.ask(0, ZEROES, 0, 4096), 0);
        assert_eq!(client.ask(NO_HOLE, ZEROES, 10, 20), 0);
        assert_eq!(client.ask(FUA, ZEROES, 1, 2), 0);
        assert_eq!(client.ask(0, TRIM, 4096, 4096), 0);
        assert_eq!(client.ask(FUA, TRIM, 0, 1), 0);
        let expected = [
            Call::Zero(extent(0, 4096), true),
            Call::Zero(extent(10, 20), false),
            Call::Zero(extent(1, 2), true),
            Call::Flush,
            Call::Unmap(extent(4096, 4096)),
            Call::Unmap(extent(0, 1)),
            Call::Flush,
        ];
        assert_eq!(disk.calls(), expected);
        assert_eq!(disk.bytes()[..4096], [0; 4096]);
    });
}

#[test]
fn zeros_may_be_longer_than_any_payload() {
    let disk = MemoryDisk::new(vec![1; 40 << 20]);
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.ask(0, ZEROES, 0, 40 << 20), 0);
        assert!(disk.bytes().iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_read_only_disk_is_not_changed_by_any_command() {
    let mut disk = MemoryDisk::new(vec![1; 4096]);
    disk.read_only = true;
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.write(0, 0, b"no"), EPERM);
        assert_eq!(client.ask(0, TRIM, 0, 1), EPERM);
        assert_eq!(client.ask(0, ZEROES, 0, 1), EPERM);
        assert_eq!(client.ask(0, FLUSH, 0, 0), 0);
        assert_eq!(
            client.write(FUA, 0, b"no"),
            EINVAL,
            "a flag that was not offered"
        );
    });
    assert_eq!(disk.calls(), [Call::Flush]);
}

#[test]
fn what_would_be_written_past_the_end_finds_no_space() {
    let disk = MemoryDisk::new(vec![1; 4096]);
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.write(0, 4095, b"ab"), ENOSPC);
        assert_eq!(client.write(0, u64::MAX, b"ab"), ENOSPC);
        assert_eq!(client.ask(0, ZEROES, 4096, 1), ENOSPC);
        assert_eq!(client.ask(0, TRIM, 4096, 1), EINVAL);
        assert_eq!(
            client.write(0, 4094, b"ab"),
            0,
            "what was refused is not taken for a request"
        );
    });
    assert_eq!(disk.calls()[0], Call::Write(extent(4094, 2)));
}

#[test]
fn writes_that_are_not_whole_blocks_are_refused() {
    let mut disk = MemoryDisk::new(vec![1; 4096]);
    disk.block = 512;
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.write(0, 0, b"short"), EINVAL);
        assert_eq!(client.write(0, 1, &[0; 512]), EINVAL);
        assert_eq!(client.ask(0, ZEROES, 512, 511), EINVAL);
        assert_eq!(client.ask(0, TRIM, 511, 512), EINVAL);
        assert_eq!(client.write(0, 512, &[7; 1024]), 0);
    });
    assert_eq!(disk.calls()[0], Call::Write(extent(512, 1024)));
}

#[test]
fn requests_that_make_no_sense_are_refused_one_by_one() {
    let disk = MemoryDisk::new(vec![1; 4096]);
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        assert_eq!(client.write(0, 0, b""), EINVAL);
        assert_eq!(client.ask(0, TRIM, 0, 0), EINVAL);
        assert_eq!(client.ask(0, ZEROES, 0, 0), EINVAL);
        assert_eq!(client.ask(0, FLUSH, 1, 0), EINVAL);
        assert_eq!(client.ask(0, FLUSH, 0, 1), EINVAL);
        for command in [5, 8, 0xffff] {
            assert_eq!(client.ask(0, command, 0, 1), EINVAL, "command {command}");
        }
        assert_eq!(client.write(NO_HOLE, 0, b"x"), EINVAL);
        assert_eq!(client.write(DF, 0, b"x"), EINVAL);
        assert_eq!(client.ask(REQ_ONE, TRIM, 0, 1), EINVAL);
        assert_eq!(
            client.ask(16, ZEROES, 0, 1),
            EINVAL,
            "fast zero was not offered"
        );
    });
    assert_eq!(disk.calls(), [Call::Flush]);
}

#[test]
fn what_the_disk_says_is_what_the_client_hears() {
    for (kind, errno) in [
        (io::ErrorKind::StorageFull, ENOSPC),
        (io::ErrorKind::Other, 5),
    ] {
        let mut disk = MemoryDisk::new(vec![1; 4096]);
        disk.fault = Some(Fault {
            extent: extent(0, 1),
            error: match kind {
                io::ErrorKind::StorageFull => || io::ErrorKind::StorageFull.into(),
                _ => || io::ErrorKind::Other.into(),
            },
        });
        let stats = serve(&disk, |address| {
            let mut client = Client::simple(address);
            assert_eq!(client.write(0, 0, b"x"), errno);
            assert_eq!(client.write(0, 1, b"x"), 0);
        });
        assert_eq!((stats.failed_requests, stats.damaged_requests), (1, 0));
        assert_eq!(
            (stats.failures[0].error.kind(), stats.written_bytes),
            (kind, 1)
        );
    }
}

#[test]
fn writes_that_come_together_are_all_done() {
    let disk = MemoryDisk::new(vec![0; 64 << 20]);
    serve(&disk, |address| {
        let mut client = Client::simple(address);
        // More than may be in memory at once.
        for number in 0..4u8 {
            let at = u64::from(number) * (16 << 20);
            client.send(&request(0, WRITE, number.into(), at, 16 << 20));
            client.send(&vec![number + 1; 16 << 20]);
        }
        let mut answered: Vec<_> = (0..4).map(|_| client.simple_reply()).collect();
        answered.sort_unstable();
        assert_eq!(answered, [(0, 0), (1, 0), (2, 0), (3, 0)]);
    });
    let bytes = disk.bytes();
    for (number, part) in bytes.chunks(16 << 20).enumerate() {
        assert!(part.iter().all(|byte| usize::from(*byte) == number + 1));
    }
}
