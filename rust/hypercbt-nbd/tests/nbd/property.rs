//! Whatever clients do to a disk over the wire, a plain vector does as well.

use proptest::prelude::*;

use crate::{
    client::{Client, Piece, TRIM, ZEROES},
    memory::{MemoryDisk, PIECE},
    support::serve,
};

const DISK: usize = 40 * PIECE + 77;

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Zero(usize, usize),
    Trim(usize, usize),
    Read(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let place = (0..DISK, 1..30 * PIECE).prop_map(|(at, len)| (at, len.min(DISK - at)));
    prop_oneof![
        (place.clone(), 1..255u8).prop_map(|((at, len), byte)| Step::Write(at, vec![byte; len])),
        place.clone().prop_map(|(at, len)| Step::Zero(at, len)),
        place.clone().prop_map(|(at, len)| Step::Trim(at, len)),
        place.prop_map(|(at, len)| Step::Read(at, len)),
    ]
}

fn read(client: &mut Client, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xEE; len];
    let mut covered = 0;
    for piece in client.read(0, at as u64, len as u32).unwrap() {
        let (start, data) = match piece {
            Piece::Data(start, data) => (start as usize - at, data),
            Piece::Hole(start, len) => (start as usize - at, vec![0; len as usize]),
        };
        bytes[start..start + data.len()].copy_from_slice(&data);
        covered += data.len();
    }
    assert_eq!(covered, len, "every byte once");
    bytes
}

/// The bytes that block status calls holes must be zeros, and it covers what was asked for.
fn check_status(client: &mut Client, at: usize, len: usize, model: &[u8]) {
    let mut position = at;
    for (len, state) in client.status(0, at as u64, len as u32).unwrap() {
        let part = &model[position..position + len as usize];
        assert!(state == 0 || part.iter().all(|byte| *byte == 0));
        position += len as usize;
    }
    assert_eq!(position, at + len);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_served_disk_is_a_vector_of_bytes(steps in proptest::collection::vec(step(), 1..20)) {
        let disk = MemoryDisk::new(vec![0; DISK]);
        let mut model = vec![0; DISK];
        serve(&disk, |address| {
            let mut clients = [Client::structured(address), Client::structured(address)];
            for (number, step) in steps.iter().enumerate() {
                let client = &mut clients[number % 2];
                match step {
                    Step::Write(at, bytes) => {
                        assert_eq!(client.write(0, *at as u64, bytes), 0);
                        model[*at..at + bytes.len()].copy_from_slice(bytes);
                    }
                    Step::Zero(at, len) => {
                        assert_eq!(client.ask(0, ZEROES, *at as u64, *len as u32), 0);
                        model[*at..at + len].fill(0);
                    }
                    Step::Trim(at, len) => assert_eq!(client.ask(0, TRIM, *at as u64, *len as u32), 0),
                    Step::Read(at, len) => {
                        assert!(read(client, *at, *len) == model[*at..at + len]);
                        check_status(client, *at, *len, &model);
                    }
                }
            }
        });
        prop_assert!(*disk.bytes() == model);
    }
}
