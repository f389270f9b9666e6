//! Any bytes as an NBD client: no panic, no unbounded allocation, and it comes to an end.
//!
//! The first byte says where they begin: with the handshake, or with the first request after one.

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

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let greeting: &[u8] = match first % 3 {
        0 => b"",
        1 => OLD_GREETING,
        _ => GREETING,
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
