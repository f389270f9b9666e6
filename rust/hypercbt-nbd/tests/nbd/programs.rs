//! Programs that are not ours: libnbd's tools, qemu's, and fio. Skipped, saying so, where they are missing.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use hypercbt_nbd::{Address, Options};

use crate::{memory::MemoryDisk, support::serve_at};

/// Whether a program is there; a test that needs it is over otherwise.
fn is_missing(program: &str) -> bool {
    let missing = Command::new(program).arg("--version").output().is_err();
    if missing {
        eprintln!("skipped: {program} is not installed");
    }
    missing
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Serves a disk over a Unix socket, and hands over its URI and a folder.
fn served(disk: &MemoryDisk, test: impl FnOnce(&str, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let socket = Address::Unix(folder.path().join("disk.sock"));
    serve_at(&socket, Options::default(), disk, |address, _| {
        test(&address.uri(), folder.path());
    });
}

/// Eight MiB with data at both ends and in the middle.
fn sparse() -> MemoryDisk {
    let disk = MemoryDisk::new(vec![0; 8 << 20]);
    {
        let mut bytes = disk.bytes();
        for (at, len, byte) in [(0, 5000, 1), (4 << 20, 70_000, 2), ((8 << 20) - 1, 1, 3)] {
            bytes[at..at + len].fill(byte);
        }
    }
    disk
}

#[test]
fn nbdinfo_knows_the_disk_and_its_holes() {
    if is_missing("nbdinfo") {
        return;
    }
    let mut disk = sparse();
    disk.read_only = true;
    served(&disk, |uri, _| {
        let info = text(&run("nbdinfo", &["--json", uri]));
        for fact in [
            "\"export-size\": 8388608",
            "\"is_read_only\": true",
            "\"can_multi_conn\": true",
            "\"base:allocation\"",
            "\"block_size_minimum\": 1",
            "\"structured\": true",
        ] {
            assert!(info.contains(fact), "{fact} is missing in {info}");
        }
        let map = text(&run("nbdinfo", &["--map", uri]));
        let rows: Vec<Vec<&str>> = map
            .lines()
            .map(|row| row.split_whitespace().collect())
            .collect();
        let expected = [
            ["0", "8192", "0", "data"],
            ["8192", "4186112", "3", "hole,zero"],
            ["4194304", "73728", "0", "data"],
            ["4268032", "4116480", "3", "hole,zero"],
            ["8384512", "4096", "0", "data"],
        ];
        assert_eq!(rows, expected);
        run("nbdinfo", &["--list", uri]);
    });
}

#[test]
fn nbdcopy_copies_every_byte_both_ways() {
    if is_missing("nbdcopy") {
        return;
    }
    let disk = sparse();
    served(&disk, |uri, folder| {
        let copy = folder.join("copy.raw");
        run("nbdcopy", &[uri, copy.to_str().unwrap()]);
        let mut bytes = fs::read(&copy).unwrap();
        assert!(bytes == *disk.bytes());
        bytes[1 << 20..2 << 20].fill(0x5A);
        bytes[..5000].fill(0);
        fs::write(&copy, &bytes).unwrap();
        run("nbdcopy", &["--flush", copy.to_str().unwrap(), uri]);
        assert!(bytes == *disk.bytes());
    });
}

#[test]
fn qemu_reads_writes_and_converts() {
    if is_missing("qemu-io") || is_missing("qemu-img") {
        return;
    }
    let mut disk = sparse();
    disk.block = 512;
    served(&disk, |uri, folder| {
        let script = [
            "read -P 1 0 4k",
            "write -P 0xab 1M 64k",
            "write -f -P 0xcd 2M 512",
            "write -z -u 0 8k",
            "write -z 4M 64k",
            "discard 4M 1M",
            "flush",
            "read -P 0xab 1M 64k",
            "read -P 0 0 8k",
        ];
        let mut arguments = vec!["-f", "raw", uri];
        for line in script {
            arguments.extend(["-c", line]);
        }
        let said = text(&run("qemu-io", &arguments));
        assert!(!said.contains("failed"), "{said}");
        let info = text(&run("qemu-img", &["info", uri]));
        assert!(info.contains("8 MiB (8388608 bytes)"), "{info}");
        let map = text(&run("qemu-img", &["map", "--output=json", uri]));
        assert!(map.contains("\"data\": false"), "{map}");
        let copy = folder.join("copy.raw");
        run(
            "qemu-img",
            &["convert", "-O", "raw", uri, copy.to_str().unwrap()],
        );
        assert!(fs::read(&copy).unwrap() == *disk.bytes());
        run(
            "qemu-img",
            &["compare", "-F", "raw", uri, copy.to_str().unwrap()],
        );
    });
    let bytes = disk.bytes();
    assert_eq!((bytes[1 << 20], bytes[2 << 20], bytes[0]), (0xab, 0xcd, 0));
}

#[test]
fn fio_reads_back_what_it_wrote() {
    if is_missing("fio") {
        return;
    }
    let engines = text(&Command::new("fio").arg("--enghelp").output().unwrap());
    if !engines.lines().any(|line| line.trim() == "nbd") {
        eprintln!("skipped: fio has no nbd engine");
        return;
    }
    let mut disk = MemoryDisk::new(vec![0; 8 << 20]);
    disk.block = 512;
    served(&disk, |uri, folder| {
        // It leaves files of its state where it stands.
        let output = Command::new("fio")
            .args([
                "--name=verify",
                "--ioengine=nbd",
                "--rw=randwrite",
                "--bs=4k",
            ])
            .args([
                "--iodepth=16",
                "--size=4M",
                "--verify=crc32c",
                "--do_verify=1",
            ])
            .args([
                "--fsync=64",
                "--verify_state_save=0",
                &format!("--uri={uri}"),
            ])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    });
    assert!(disk.bytes().iter().any(|byte| *byte != 0));
}
