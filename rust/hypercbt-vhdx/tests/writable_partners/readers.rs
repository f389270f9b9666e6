//! libvhdi, dissect.hypervisor and a slow reader that follows the specification read what we made and changed.

use std::path::Path;

use hypercbt_extent::ByteLen;
use hypercbt_vhdx::NewKind;
use tempfile::TempDir;

use crate::programs::{is_here, read_by_python, run};
use crate::{MIB, assert_same, begin, content, create, create_child, extent, guid, merge, write};

const LIBVHDI: &str = "
import sys, pyvhdi
files = [pyvhdi.open(name) for name in sys.argv[1:]]
for child, parent in zip(files, files[1:]):
    child.set_parent(parent)
sys.stdout.buffer.write(files[0].read_buffer(files[0].get_media_size()))
";

/// It reads wrong past a block's border, so it is asked for whole blocks.
const DISSECT: &str = "
import sys
from pathlib import Path
from dissect.hypervisor.disk.vhdx import VHDX
disk = VHDX(Path(sys.argv[1]))
done = 0
while done < disk.size:
    piece = disk.read(min(2 << 20, disk.size - done))
    sys.stdout.buffer.write(piece)
    done += len(piece)
";

const SLOW: &str = "
import sys
from pathlib import Path
from tests.vhdx.slow_reader import SlowDisk
disk = SlowDisk(Path(sys.argv[1]))
sys.stdout.buffer.write(disk.read(0, disk.size))
";

fn check_all(files: &[&Path], wanted: &[u8]) {
    let readers = [
        ("pyvhdi", LIBVHDI),
        ("dissect.hypervisor.disk.vhdx", DISSECT),
        ("tests.vhdx.slow_reader", SLOW),
    ];
    for (module, program) in readers {
        if let Some(found) = read_by_python(module, program, files) {
            assert_same(&found, wanted, module);
        }
    }
}

/// A base with a child, both written; of the child nothing is zero where the base is not.
fn chain(folder: &Path) -> [std::path::PathBuf; 2] {
    let [base, child] = ["base.vhdx", "child.avhdx"].map(|name| folder.join(name));
    create(&base, NewKind::Dynamic, 8 * MIB, 2 << 20, 512);
    let disk = begin(&base, 1);
    write(&disk, 0, 2 * MIB, 1);
    write(&disk, 5 * MIB, MIB, 1);
    disk.close(guid(0xB1)).unwrap();
    create_child(&child, &base, 1);
    let disk = begin(&child, 2);
    write(&disk, 512, 1024, 2);
    write(&disk, 2 * MIB - 4096, 8192, 3);
    write(&disk, 4 * MIB, 2 * MIB, 4); // a whole block
    write(&disk, 7 * MIB, 512, 5);
    disk.close(guid(0xB2)).unwrap();
    [base, child]
}

#[test]
fn three_readers_agree_on_fixed_and_dynamic_disks() {
    for kind in [NewKind::Fixed, NewKind::Dynamic] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.vhdx");
        create(&path, kind, 3 * MIB, 1 << 20, 512);
        let disk = begin(&path, 1);
        write(&disk, MIB / 2, MIB, 1);
        disk.zero(extent(MIB, MIB / 4)).unwrap();
        disk.resize(ByteLen(6 * MIB)).unwrap();
        write(&disk, 5 * MIB, 512, 2);
        disk.close(guid(0xB1)).unwrap();
        check_all(&[&path], &content(&path));
    }
}

#[test]
fn three_readers_agree_on_a_child_and_on_what_it_was_merged_into() {
    let folder = TempDir::new().unwrap();
    let [base, child] = chain(folder.path());
    let wanted = content(&child);
    check_all(&[&child, &base], &wanted);
    merge(&child, &base);
    assert!(!child.exists());
    check_all(&[&base], &wanted);
}

#[test]
fn a_reader_by_the_specification_agrees_on_children_with_zeros_of_other_sizes_and_three_levels() {
    let folder = TempDir::new().unwrap();
    let [_, child] = chain(folder.path());
    let leaf = folder.path().join("leaf.avhdx");
    create_child(&leaf, &child, 2);
    let disk = begin(&leaf, 3);
    disk.zero(extent(0, 2 * MIB)).unwrap();
    disk.zero(extent(2 * MIB + 512, 512)).unwrap();
    disk.unmap(extent(4 * MIB, 2 * MIB)).unwrap();
    disk.resize(ByteLen(11 * MIB)).unwrap();
    write(&disk, 10 * MIB, 512, 6);
    disk.close(guid(0xB3)).unwrap();
    let module = "tests.vhdx.slow_reader";
    if let Some(found) = read_by_python(module, SLOW, &[&leaf]) {
        assert_same(&found, &content(&leaf), module);
    }
    // And one whose log is still open.
    let disk = begin(&leaf, 4);
    write(&disk, 9 * MIB, 4096, 7);
    disk.flush().unwrap();
    drop(disk);
    if let Some(found) = read_by_python(module, SLOW, &[&leaf]) {
        assert_same(&found, &content(&leaf), module);
    }
}

#[test]
fn vhdiinfo_finds_the_facts_of_what_we_made() {
    if !is_here("vhdiinfo") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let fixed = folder.path().join("fixed.vhdx");
    create(&fixed, NewKind::Fixed, 8 * MIB, 2 << 20, 512);
    let [base, child] = chain(folder.path());
    for (path, kind, size) in [
        (&fixed, "Fixed", 8 * MIB),
        (&base, "Dynamic", 8 * MIB),
        (&child, "Differential", 8 * MIB),
    ] {
        let printed = run("vhdiinfo", &[], path);
        assert!(printed.contains(&format!("({size} bytes)")), "{printed}");
        assert!(printed.contains(kind), "{printed}");
    }
    // How it knows the parent.
    let base_id = crate::read_only(&base).layers()[0].data_write_guid.unwrap();
    let printed = run("vhdiinfo", &[], &child);
    assert!(printed.contains(&base_id.to_string()), "{printed}");
    assert!(printed.contains("base.vhdx"), "{printed}");
}
