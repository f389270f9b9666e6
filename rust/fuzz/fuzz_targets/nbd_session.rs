//! Any bytes as an NBD client: no panic, no unbounded allocation, and it comes to an end.
//!
//! The first byte says where they begin, with the handshake or with the first request after one, and
//! whether they are made into requests.

#![no_main]

use std::{
    io::{self, Cursor, Read},
    num::NonZeroUsize,
};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_nbd::{Content, Export, Options, serve_stream};
use libfuzzer_sys::fuzz_target;

const DISK_BYTES: u64 = 1 << 20;

/// What a client says that wants structured replies and block status.
const GREETING: &[u8] = b"\0\0\0\x03\
    IHAVEOPT\0\0\0\x08\0\0\0\0\
    IHAVEOPT\0\0\0\x0a\0\0\0\x1b\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation\
    IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0";

/// What a client says that knows nothing but the disk.
const OLD_GREETING: &[u8] = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0";

/// Checks what the server promises its disk, and has no bytes.
struct Checked {
    read_only: bool,
}

fn check(extent: Extent) {
    assert!(extent.end().0 <= DISK_BYTES, "outside of the disk");
}

fn whole_blocks(extent: Extent) {
    check(extent);
    assert!(extent.start().0.is_multiple_of(512) && extent.len().0.is_multiple_of(512));
}

fn extent(at: DiskOffset, bytes: &[u8]) -> Extent {
    Extent::new(at, ByteLen(bytes.len() as u64)).expect("nothing is asked for nothing")
}

impl Checked {
    fn writes(&self, extent: Extent) {
        whole_blocks(extent);
        assert!(!self.read_only);
    }
}

impl Export for Checked {
    fn size(&self) -> ByteLen {
        ByteLen(DISK_BYTES)
    }
    fn is_read_only(&self) -> bool {
        self.read_only
    }
    fn block_bytes(&self) -> ByteLen {
        ByteLen(512)
    }
    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        check(extent(at, buf));
        buf.fill(7);
        Ok(())
    }
    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()> {
        self.writes(extent(at, bytes));
        Ok(())
    }
    fn zero(&self, extent: Extent, _: bool) -> io::Result<()> {
        self.writes(extent);
        Ok(())
    }
    fn unmap(&self, extent: Extent) -> io::Result<()> {
        self.writes(extent);
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
        check(extent);
        Ok(vec![(extent, Content::Zero)])
    }
}

/// Requests that are nearly right: ten bytes each, and more for what is to be written.
fn requests(mut rest: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<10>() {
        let [flags, more_flags, command, cookie, a, b, c, d, e, f] = *header;
        stream.extend(0x2560_9513_u32.to_be_bytes());
        stream.extend([more_flags & 0x80, flags & 0x1f, 0, command % 9]);
        stream.extend([0, 0, 0, 0, 0, 0, 0, cookie]);
        stream.extend([0, 0, 0, 0, 0, a & 0x1f, b, c]);
        stream.extend([0, d & 0x1f, e, f]);
        rest = after;
        if command % 9 == 1 {
            let len = rest
                .len()
                .min(usize::from(d & 0x1f) << 16 | usize::from(e) << 8 | usize::from(f));
            let (payload, after) = rest.split_at(len);
            stream.extend(payload);
            rest = after;
        }
    }
    stream.extend(rest);
    stream
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let (greeting, rest): (&[u8], _) = match first % 4 {
        0 => (b"", rest.to_vec()),
        1 => (OLD_GREETING, requests(rest)),
        2 => (GREETING, requests(rest)),
        _ => (GREETING, rest.to_vec()),
    };
    let disk = Checked {
        read_only: first & 0x80 != 0,
    };
    let options = Options {
        workers: NonZeroUsize::MIN,
        ..Options::default()
    };
    let reader = Cursor::new(greeting).chain(Cursor::new(rest));
    let stats = serve_stream(reader, io::sink(), &disk, &options);
    assert_eq!(
        stats.failed_requests, 0,
        "this disk does whatever it may be asked"
    );
});
