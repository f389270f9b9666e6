//! Sparse disk files as fuzz inputs.
//!
//! A VHDX file has at least a MiB, and what matters of it are a few hundred bytes at fixed and at free places. So an
//! input is not a file but a list of writes into files of zeros:
//!
//! ```text
//! count u8 (0 to 3: one more file than that), then for each file its length u64
//! then writes up to the end: file u8, offset u48, length u8, bytes
//! ```
//!
//! Everything that is missing at the end is zero, so every input means something.

use std::io::Read;

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_vhdx::{FileIndex, Place, VirtualDisk};

use crate::common;
use crate::common::sparse::SparseFile;

const MAX_FILES: usize = 4;

/// The most segments that are looked at of one disk: an input must not take seconds.
const MAX_SEGMENTS: usize = 20_000;

/// The files of an input, leaf first.
pub fn decode(input: &[u8]) -> Vec<SparseFile> {
    let mut input = input;
    let count = usize::from(number(&mut input, 1) as u8) % MAX_FILES + 1;
    let mut files = vec![SparseFile::default(); count];
    let lengths: Vec<u64> = files.iter().map(|_| number(&mut input, 8)).collect();
    while !input.is_empty() {
        let file = usize::from(number(&mut input, 1) as u8) % count;
        let at = number(&mut input, 6);
        let len = input
            .len()
            .min(number(&mut input, 1) as usize + 1)
            .min(input.len());
        let (bytes, rest) = input.split_at(len);
        files[file].write(at, bytes);
        input = rest;
    }
    for (file, len) in files.iter_mut().zip(lengths) {
        file.set_len(len);
    }
    files
}

/// The input that decodes to these files.
pub fn encode(files: &[SparseFile]) -> Vec<u8> {
    use hypercbt_vhdx::ReadAt;
    let mut input = vec![(files.len() - 1) as u8];
    for file in files {
        input.extend(file.bytes().to_le_bytes());
    }
    for (number, file) in files.iter().enumerate() {
        for extent in &file.data_extents().unwrap_or_default() {
            let bytes = file.read(extent.start().0, extent.len().0 as usize);
            for (start, end) in written(&bytes) {
                for (piece, bytes) in bytes[start..end].chunks(256).enumerate() {
                    let at = extent.start().0 + (start + piece * 256) as u64;
                    input.push(number as u8);
                    input.extend(&at.to_le_bytes()[..6]);
                    input.push((bytes.len() - 1) as u8);
                    input.extend(bytes);
                }
            }
        }
    }
    input
}

/// The parts of `bytes` that are not zero; fewer than 12 zeros in between are cheaper written than left out.
fn written(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for (place, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        match parts.last_mut() {
            Some((_, end)) if place < *end + 12 => *end = place + 1,
            _ => parts.push((place, place + 1)),
        }
    }
    parts
}

/// A little-endian number of `len` bytes; what is missing is zero.
fn number(input: &mut &[u8], len: usize) -> u64 {
    let mut bytes = [0; 8];
    let _ = input.read(&mut bytes[..len]);
    u64::from_le_bytes(bytes)
}

/// Makes all checksums right, so that a changed file gets past them; keeps the log short enough for many runs.
pub fn fix_checksums(file: &mut SparseFile) {
    let len = file.bytes();
    let mut log = (0, 0, 0);
    for at in [64 << 10, 128 << 10] {
        let mut header = file.read(at, 4096);
        let log_len = field(&header, 68, 4).min(4 << 20);
        header[68..72].copy_from_slice(&(log_len as u32).to_le_bytes());
        seal(&mut header);
        write_inside(file, at, &header, len);
        log = log.max((field(&header, 8, 8), field(&header, 72, 8), log_len));
    }
    for at in [192 << 10, 256 << 10] {
        let mut table = file.read(at, 64 << 10);
        seal(&mut table);
        write_inside(file, at, &table[..16], len);
    }
    let (_, log_at, log_len) = log;
    if log_at.checked_add(log_len).is_some_and(|end| end <= len) {
        fix_log(file, log_at, log_len);
    }
}

/// Entries overlap only in hostile logs; the budget keeps those short.
fn fix_log(file: &mut SparseFile, log_at: u64, log_len: u64) {
    let mut budget: u64 = 4 << 20;
    for start in (0..log_len).step_by(4096) {
        let head = file.read(log_at + start, 64);
        let len = field(&head, 8, 4);
        if head[..4] != *b"loge" || len > log_len || len > budget || len < 4096 {
            continue;
        }
        budget -= len;
        let mut entry = file.read(log_at + start, (len.min(log_len - start)) as usize);
        entry.extend(file.read(log_at, (len as usize) - entry.len()));
        seal(&mut entry);
        file.write(log_at + start + 4, &entry[4..8]);
    }
}

/// Puts the CRC-32C at byte 4.
fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let crc = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn write_inside(file: &mut SparseFile, at: u64, bytes: &[u8], len: u64) {
    if at + bytes.len() as u64 <= len {
        file.write(at, bytes);
    }
}

fn field(bytes: &[u8], at: usize, len: usize) -> u64 {
    number(&mut &bytes[at..at + len], len)
}

/// Opens the files and looks at the disk as a backup would.
///
/// # Panics
/// Where the answers contradict each other: that is what is looked for.
pub fn exercise(files: Vec<SparseFile>) {
    let lengths: Vec<u64> = files.iter().map(SparseFile::bytes).collect();
    let Ok(disk) = common::open(files) else {
        return;
    };
    let size = disk.size().0;
    assert!(size > 0);
    assert_eq!(
        disk.stamp().expect("in memory"),
        disk.stamp().expect("in memory")
    );
    let mut interesting = vec![0, size / 2, size.saturating_sub(4096)];
    let all = Extent::new(DiskOffset(0), disk.size()).expect("not empty");
    let mut next = 0;
    for segment in disk.segments(all).expect("inside").take(MAX_SEGMENTS) {
        assert_eq!(segment.extent.start().0, next, "segments are a partition");
        next = segment.extent.end().0;
        if let Place::Data { file, at } = segment.place {
            let layer = &disk.layers()[file.0 as usize];
            assert!(
                layer.format.as_str() != "vhdx" || at.0 >= 1 << 20,
                "headers are no data"
            );
            let end =
                at.0.checked_add(segment.extent.len().0)
                    .expect("no overflow");
            let grown = matches!(layer.log, hypercbt_vhdx::LogState::Replayed { .. });
            assert!(
                grown || end <= lengths[file.0 as usize],
                "data are in the file"
            );
            if interesting.len() < 32 {
                interesting.push(segment.extent.start().0.saturating_sub(700));
                interesting.push(segment.extent.end().0.saturating_sub(700));
            }
        }
    }
    for at in interesting {
        read_twice(&disk, at, (size - at).min(5000));
    }
    let past = Extent::new(DiskOffset(size - 1), ByteLen(2)).expect("not empty");
    assert!(disk.segments(past).is_err());
    assert!(
        disk.read_file(FileIndex(99), hypercbt_vhdx::FileOffset(0), &mut [])
            .is_err()
    );
}

/// Reads in one piece, in two, and by segments: all the same.
fn read_twice(disk: &VirtualDisk, at: u64, len: u64) {
    let Some(extent) = Extent::new(DiskOffset(at), ByteLen(len)) else {
        return;
    };
    let whole = common::read(disk, at, len as usize);
    let cut = len as usize / 3;
    let mut pieces = common::read(disk, at, cut);
    pieces.extend(common::read(disk, at + cut as u64, len as usize - cut));
    assert!(whole == pieces, "a read in two pieces differs");
    let mut by_segment = Vec::new();
    for segment in disk.resolve(extent).expect("inside") {
        let mut buf = vec![0; segment.extent.len().0 as usize];
        if let Place::Data { file, at } = segment.place {
            disk.read_file(file, at, &mut buf).expect("in memory");
        }
        by_segment.extend(buf);
    }
    assert!(whole == by_segment, "a read by segments differs");
}
