//! qemu checks, reads and writes what we make and change; and we what it makes, also after it was killed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use hypercbt_extent::ByteLen;
use hypercbt_vhdx::{
    Error, FileOffset, LocalFile, LogState, NewKind, OpenOptions, ReadAt, Reason, VirtualDisk,
};
use tempfile::TempDir;

use crate::programs::{check_by_qemu, is_here, qemu_io, read_by_qemu, run};
use crate::{
    GIB, MIB, assert_same, begin, content, create, extent, guid, pattern, read_only, write,
};

fn is_qemu_here() -> bool {
    is_here("qemu-img") && is_here("qemu-io")
}

#[test]
fn qemu_reads_what_we_wrote_and_finds_nothing_wrong() {
    if !is_qemu_here() {
        return;
    }
    for kind in [NewKind::Fixed, NewKind::Dynamic] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.vhdx");
        create(&path, kind, 9 * MIB + 512, 2 << 20, 512);
        let disk = begin(&path, 1);
        write(&disk, 0, 512, 1);
        write(&disk, 3 * MIB, 2 * MIB, 2);
        write(&disk, 9 * MIB, 512, 3);
        disk.flush().unwrap();
        disk.zero(extent(4 * MIB, 512)).unwrap();
        disk.unmap(extent(0, 2 * MIB)).unwrap();
        write(&disk, 6 * MIB, 4096, 4);
        disk.close(guid(0xB1)).unwrap();
        check_by_qemu(&path);
        assert_same(&read_by_qemu(&path), &content(&path), "after writing");
    }
}

#[test]
fn qemu_and_we_take_turns_in_writing_one_file() {
    if !is_qemu_here() {
        return;
    }
    for kind in [NewKind::Fixed, NewKind::Dynamic] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.vhdx");
        create(&path, kind, 16 * MIB, 1 << 20, 512);
        let mut wanted = vec![0; 16 << 20];
        for session in 1..4_u8 {
            let disk = begin(&path, session);
            for at in [u64::from(session) * MIB, 9 * MIB + u64::from(session) * 512] {
                write(&disk, at, 3 * 512, u64::from(session));
                let bytes = pattern(at, 3 * 512, u64::from(session));
                let at = usize::try_from(at).unwrap();
                wanted[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            let mut found = vec![0; 16 << 20];
            disk.read_at(hypercbt_extent::DiskOffset(0), &mut found)
                .unwrap();
            assert_same(&found, &wanted, "we after qemu");
            disk.close(guid(0xB0 + session)).unwrap();

            let at = (11 + u64::from(session)) * MIB + 4096;
            qemu_io(&path, &[&format!("write -P {session} {at} 64k"), "flush"]);
            let at = usize::try_from(at).unwrap();
            wanted[at..at + (64 << 10)].fill(session);
            check_by_qemu(&path);
            assert_same(&read_by_qemu(&path), &wanted, "qemu after us");
        }
        assert_same(&content(&path), &wanted, "in the end");
    }
}

#[test]
fn qemu_follows_a_disk_that_we_made_larger_and_smaller() {
    if !is_qemu_here() {
        return;
    }
    let folder = TempDir::new().unwrap();
    for (name, kind, size) in [
        ("fixed.vhdx", NewKind::Fixed, 21 * MIB),
        ("dynamic.vhdx", NewKind::Dynamic, 21 * MIB),
        // The table moves.
        ("moved.vhdx", NewKind::Dynamic, 200 * GIB),
        ("smaller.vhdx", NewKind::Dynamic, 7 * MIB),
    ] {
        let path = folder.path().join(name);
        create(&path, kind, 9 * MIB + 512, 1 << 20, 512);
        let disk = begin(&path, 1);
        write(&disk, 5 * MIB, MIB, 1);
        disk.resize(ByteLen(size)).unwrap();
        write(&disk, size - 4096, 4096, 2);
        disk.close(guid(0xB1)).unwrap();
        check_by_qemu(&path);
        let info = run("qemu-img", &["info", "-f", "vhdx", "--output=json"], &path);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], size, "{name}");
        qemu_io(&path, &[&format!("write -P 9 {} 4k", size - 8192), "flush"]);
        check_by_qemu(&path);
        if size < GIB {
            assert_same(&read_by_qemu(&path), &content(&path), name);
        }
        let mut end = [0; 8192];
        read_only(&path)
            .read_at(hypercbt_extent::DiskOffset(size - 8192), &mut end)
            .unwrap();
        assert_eq!(end[..4096], [9; 4096], "{name}");
        assert_same(&end[4096..], &pattern(size - 4096, 4096, 2), name);
    }
}

/// More blocks than qemu brings into a file before it is killed.
const BLOCKS: u64 = 8000;

/// Lets qemu write into fresh blocks, and kills it as soon as its log is in use, which is a matter of luck.
fn killed_qemu(path: &Path) {
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "vhdx"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut commands = qemu.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for number in 0..BLOCKS {
            let at = (number * 37 % BLOCKS) * MIB + number % 7 * 4096;
            // It fails once qemu is dead.
            if writeln!(commands, "write -P {} {at} 8k", number % 250 + 1).is_err() {
                break;
            }
        }
    });
    let file = LocalFile::open(path).unwrap();
    while !is_log_in_use(&file) && qemu.try_wait().unwrap().is_none() {}
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    writer.join().unwrap();
}

/// Whether the header of the greater number names a log.
fn is_log_in_use(file: &LocalFile) -> bool {
    let headers = [64 << 10, 128 << 10].map(|at| {
        let mut header = [0; 64];
        file.read_exact_at(&mut header, FileOffset(at)).unwrap();
        let number = u64::from_le_bytes(header[8..16].try_into().unwrap());
        (number, header[48..].iter().any(|byte| *byte != 0))
    });
    headers.into_iter().max().unwrap().1
}

/// What the blocks hold that are in the file.
fn allocated_bytes(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let disk = read_only(path);
    let mut found = Vec::new();
    for extent in &disk.allocated() {
        let mut at = extent.start();
        while at < extent.end() {
            let mut block = vec![0xA5; 1 << 20];
            disk.read_at(at, &mut block).unwrap();
            found.push((at.0, block));
            at = hypercbt_extent::DiskOffset(at.0 + MIB);
        }
    }
    // Where one program leaves zeros in the file, the other may leave nothing.
    found.retain(|(_, block)| block.iter().any(|byte| *byte != 0));
    found
}

#[test]
fn what_a_killed_qemu_leaves_is_opened_for_writing_and_holds_what_qemu_itself_recovers() {
    const ATTEMPTS: usize = 24;
    if !is_qemu_here() {
        return;
    }
    let mut dirty = 0;
    for attempt in 0..ATTEMPTS {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.vhdx");
        if attempt % 2 == 0 {
            create(&path, NewKind::Dynamic, BLOCKS * MIB, 1 << 20, 512);
        } else {
            let made = format!("block_size=1M,size={BLOCKS}M");
            run(
                "qemu-img",
                &["create", "-q", "-f", "vhdx", "-o", &made],
                &path,
            );
        }
        killed_qemu(&path);
        match VirtualDisk::open(&path, &OpenOptions::default()) {
            Ok(disk) if disk.layers()[0].log != LogState::Clean => {}
            // It names the log before it writes the first entry; MS-VHDX 2.3.3 calls that corrupt, and so do we.
            Ok(_)
            | Err(Error::Corrupt {
                reason: Reason::NoLogSequence,
                ..
            }) => continue,
            Err(error) => panic!("{error}"),
        }
        dirty += 1;
        let copy = folder.path().join("copy.vhdx");
        std::fs::copy(&path, &copy).unwrap();
        run(
            "qemu-img",
            &["check", "-q", "-r", "all", "-f", "vhdx"],
            &copy,
        );
        let wanted = allocated_bytes(&copy);
        assert!(!wanted.is_empty());
        let before = allocated_bytes(&path);
        assert!(before == wanted, "read by us and repaired by qemu");
        let disk = begin(&path, 1);
        write(&disk, (BLOCKS - 1) * MIB, MIB, 5);
        disk.close(guid(0xB1)).unwrap();
        check_by_qemu(&path);
        let mut found = allocated_bytes(&path);
        let last = found.pop().unwrap();
        assert!(last == ((BLOCKS - 1) * MIB, pattern((BLOCKS - 1) * MIB, MIB, 5)));
        let wanted = wanted.into_iter();
        assert!(found.into_iter().eq(wanted.filter(|(at, _)| *at != last.0)));
        if dirty == 2 {
            return;
        }
    }
    println!("{dirty} of {ATTEMPTS} kills left something in the log; 2 were looked for");
}
