//! Reads and block status.

use std::io;

use hypercbt_nbd::Command;

use crate::{
    client::{Client, DF, FUA, Piece, READ, REQ_ONE, STATUS},
    memory::{Fault, MemoryDisk, PIECE, extent},
    support::serve,
};

const MIB: usize = 1 << 20;

#[test]
fn a_simple_reply_holds_every_byte() {
    serve(&MemoryDisk::from_map("a.b"), |address| {
        let mut client = Client::simple(address);
        client.request(0, READ, 3, 4000, 8000);
        assert_eq!(client.simple_reply(), (3, 0));
        let expected = [vec![b'a'; 96], vec![0; 4096], vec![b'b'; 3808]].concat();
        assert_eq!(client.bytes(8000), expected);
    });
}

#[test]
fn a_simple_reply_may_be_as_long_as_any_request() {
    let bytes: Vec<u8> = (0..32 * MIB).map(|at| (at / 997) as u8).collect();
    let disk = MemoryDisk::new(bytes);
    let stats = serve(&disk, |address| {
        let mut client = Client::simple(address);
        client.request(0, READ, 3, 0, 32 << 20);
        assert_eq!(client.simple_reply(), (3, 0));
        assert!(client.bytes(32 * MIB) == *disk.bytes());
    });
    assert_eq!(stats.read_bytes, 32 << 20);
}

#[test]
fn a_long_structured_reply_tells_holes_from_data() {
    let map = "a".repeat(8) + &".".repeat(8) + "b";
    let stats = serve(&MemoryDisk::from_map(&map), |address| {
        let mut client = Client::structured(address);
        let pieces = client.read(0, 100, 17 * 4096 - 100).unwrap();
        let data: Vec<_> = pieces
            .iter()
            .filter(|p| matches!(p, Piece::Data(..)))
            .collect();
        let holes: Vec<_> = pieces
            .iter()
            .filter(|p| matches!(p, Piece::Hole(..)))
            .collect();
        assert_eq!(data[0], &Piece::Data(100, vec![b'a'; PIECE - 100]));
        assert_eq!(
            data.last().unwrap(),
            &&Piece::Data(65536, vec![b'b'; PIECE])
        );
        assert_eq!((data.len(), holes.len()), (9, 8));
        assert_eq!(holes[0], &Piece::Hole(32768, 4096));
    });
    assert_eq!(stats.read_bytes, 9 * 4096 - 100);
}

#[test]
fn a_short_structured_reply_is_one_chunk() {
    serve(&MemoryDisk::from_map("a."), |address| {
        let mut client = Client::structured(address);
        let expected = [vec![b'a'; PIECE], vec![0; PIECE]].concat();
        assert_eq!(client.read(0, 0, 8192), Ok(vec![Piece::Data(0, expected)]));
    });
}

#[test]
fn a_long_reply_comes_in_pieces_of_a_mebibyte() {
    serve(&MemoryDisk::new(vec![5; 3 * MIB]), |address| {
        let mut client = Client::structured(address);
        let pieces = client.read(0, 10, (5 * MIB / 2) as u32).unwrap();
        let mut places = Vec::new();
        for piece in pieces {
            let Piece::Data(at, bytes) = piece else {
                panic!("a hole")
            };
            places.push((at as usize, at as usize + bytes.len()));
        }
        assert!(
            places.iter().all(|(from, to)| to - from <= MIB),
            "{places:?}"
        );
        assert!(
            places.windows(2).all(|two| two[0].1 == two[1].0),
            "{places:?}"
        );
        assert_eq!(
            (places[0].0, places.last().unwrap().1),
            (10, 5 * MIB / 2 + 10)
        );
    });
}

#[test]
fn a_read_that_must_not_be_fragmented_is_one_chunk_holes_and_all() {
    let map = "a".repeat(100) + &".".repeat(100) + &"b".repeat(57);
    let disk = MemoryDisk::from_map(&map);
    serve(&disk, |address| {
        let mut client = Client::structured(address);
        let whole = disk.bytes()[..MIB].to_vec();
        assert_eq!(
            client.read(DF, 0, MIB as u32),
            Ok(vec![Piece::Data(0, whole)])
        );
        let (errno, _) = client.read(DF, 0, MIB as u32 + 1).unwrap_err();
        assert_eq!(errno, 75, "EOVERFLOW");
    });
}

#[test]
fn what_is_past_the_end_is_refused_and_the_next_request_is_heard() {
    serve(&MemoryDisk::new(vec![1; 4096]), |address| {
        let mut client = Client::structured(address);
        for (at, len) in [
            (4096, 1),
            (4095, 2),
            (0, 4097),
            (u64::MAX, 1),
            (u64::MAX, u32::MAX),
            (0, 0),
        ] {
            assert_eq!(client.read(0, at, len).unwrap_err().0, 22, "{at}+{len}");
            assert_eq!(client.status(0, at, len).unwrap_err().0, 22, "{at}+{len}");
        }
        assert_eq!(
            client.read(0, 4095, 1),
            Ok(vec![Piece::Data(4095, vec![1])])
        );
    });
}

#[test]
fn a_read_longer_than_any_is_refused() {
    serve(&MemoryDisk::new(vec![1; 33 * MIB]), |address| {
        let mut structured = Client::structured(address);
        assert_eq!(structured.read(0, 0, (32 << 20) + 1).unwrap_err().0, 22);
        let mut simple = Client::simple(address);
        assert_eq!(simple.ask(0, READ, 0, (32 << 20) + 1), 22);
    });
}

#[test]
fn flags_that_a_command_does_not_have_are_refused() {
    serve(&MemoryDisk::new(vec![1; 4096]), |address| {
        let mut client = Client::structured(address);
        for flags in [2, REQ_ONE, 16, 0x8000] {
            assert_eq!(client.read(flags, 0, 1).unwrap_err().0, 22, "{flags}");
        }
        for flags in [2, DF, 16, 0x8000] {
            assert_eq!(client.status(flags, 0, 1).unwrap_err().0, 22, "{flags}");
        }
        assert!(
            client.read(FUA, 0, 1).is_ok(),
            "FUA may stand at any command"
        );
        let mut simple = Client::simple(address);
        assert_eq!(
            simple.ask(DF, READ, 0, 1),
            22,
            "not without structured replies"
        );
    });
}

#[test]
fn damage_fails_the_reads_that_meet_it_and_no_other() {
    let mut disk = MemoryDisk::new(vec![1; 8 * PIECE]);
    disk.fault = Some(Fault {
        extent: extent(2 * PIECE, PIECE),
        error: || io::Error::new(io::ErrorKind::InvalidData, "chunk 0abc is lost"),
    });
    let stats = serve(&disk, |address| {
        let mut client = Client::structured(address);
        assert!(client.read(0, 0, 2 * PIECE as u32).is_ok());
        let (errno, message) = client.read(0, PIECE as u64, 2 * PIECE as u32).unwrap_err();
        assert_eq!((errno, message.as_str()), (5, "chunk 0abc is lost"));
        assert!(client.read(0, 3 * PIECE as u64, 5 * PIECE as u32).is_ok());
        let mut simple = Client::simple(address);
        assert_eq!(simple.ask(0, READ, 2 * PIECE as u64, 1), 5);
    });
    assert_eq!((stats.failed_requests, stats.damaged_requests), (2, 2));
    let first = &stats.failures[0];
    assert_eq!(
        (first.command, first.extent),
        (Command::Read, Some(extent(PIECE, 2 * PIECE)))
    );
}

#[test]
fn where_the_disk_cannot_tell_there_is_data() {
    let mut damaged = MemoryDisk::from_map("a...");
    damaged.fault = Some(Fault {
        extent: extent(3 * PIECE, 1),
        error: || io::ErrorKind::InvalidData.into(),
    });
    let mut wrong = MemoryDisk::from_map(&".".repeat(40));
    wrong.tells_half = true;
    for disk in [damaged, wrong] {
        let len = disk.bytes().len() as u32;
        let stats = serve(&disk, |address| {
            let mut client = Client::structured(address);
            assert_eq!(client.status(0, 0, len), Ok(vec![(len, 0)]));
            if disk.tells_half {
                let pieces = client.read(0, 0, len).unwrap();
                assert_eq!(pieces, [Piece::Data(0, vec![0; len as usize])]);
            }
        });
        assert_eq!(stats.failed_requests, 0);
    }
}

#[test]
fn block_status_covers_what_was_asked_for_in_runs() {
    serve(&MemoryDisk::from_map("aa..b...."), |address| {
        let mut client = Client::structured(address);
        let states = client.status(0, 0, 9 * 4096).unwrap();
        assert_eq!(states, [(8192, 0), (8192, 3), (4096, 0), (16384, 3)]);
        let states = client.status(0, 4096 + 1, 8192).unwrap();
        assert_eq!(states, [(4095, 0), (4097, 3)]);
    });
}

#[test]
fn one_state_is_told_to_those_who_want_one() {
    serve(&MemoryDisk::from_map("aa..b"), |address| {
        let mut client = Client::structured(address);
        assert_eq!(client.status(REQ_ONE, 0, 5 * 4096), Ok(vec![(8192, 0)]));
        assert_eq!(client.status(REQ_ONE, 10000, 4096), Ok(vec![(4096, 3)]));
    });
}

#[test]
fn block_status_needs_its_context() {
    serve(&MemoryDisk::new(vec![0; 4096]), |address| {
        let mut simple = Client::simple(address);
        assert_eq!(simple.ask(0, STATUS, 0, 4096), 22);
    });
}
