//! Power goes while a disk is resized: it has the old size or the new one, and holds what it held.

use hypercbt_extent::{ByteLen, DiskOffset};
use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::{Kind, NewKind, VirtualDisk};

use crate::support::{
    GIB, MIB, Story, begin, create, create_child, extent, guid, open, options, require, restarted,
    write,
};

const DISK: &str = "/disk.vhdx";

pub(crate) fn fixed() -> Story {
    // 700 blocks more: their entries are in two sectors of the table.
    let files = base(NewKind::Fixed, 3 * MIB + 512);
    story("a fixed disk grows", &files, 703 * MIB + 1024)
}

pub(crate) fn dynamic() -> Story {
    let files = base(NewKind::Dynamic, 3 * MIB + 512);
    story("a dynamic disk grows", &files, 7 * MIB)
}

pub(crate) fn child() -> Story {
    let files = base(NewKind::Dynamic, 3 * MIB + 512);
    let files = {
        let disk = files.now().read(std::path::Path::new(DISK)).unwrap();
        let mut state = files.now();
        state.remove(DISK);
        state.put("/base.vhdx", disk);
        SimFiles::from_state(&state)
    };
    create_child(&files, DISK, "/base.vhdx", 1 << 20, 0);
    let disk = begin(&files, DISK, 2);
    write(&disk, 3 * MIB, 512, 5);
    disk.close(guid(0xB2)).unwrap();
    story("a differencing disk grows", &files, 9 * GIB)
}

pub(crate) fn longer_table() -> Story {
    let files = base(NewKind::Dynamic, 3 * MIB + 512);
    let name = "a disk grows and its table moves";
    story(name, &files, 200 * GIB)
}

pub(crate) fn smaller() -> Story {
    let files = base(NewKind::Dynamic, 200 * GIB);
    story("a disk becomes smaller", &files, 4 * MIB)
}

/// A disk of `size` bytes with something in its first and its fourth block.
fn base(kind: NewKind, size: u64) -> SimFiles {
    let files = SimFiles::new();
    create(&files, DISK, kind, options(size, 1 << 20));
    let disk = begin(&files, DISK, 1);
    write(&disk, 4096, 1024, 1);
    write(&disk, 3 * MIB, 512, 5);
    disk.close(guid(0xB1)).unwrap();
    files
}

/// The size that a disk gets once it was looked at.
const AGAIN: u64 = 201 * GIB;

/// Where the story looks: what it wrote, and around every end.
const LOOKS: [u64; 6] = [0, 4096, 3 * MIB, 7 * MIB - 512, 8 * GIB, 200 * GIB - 512];

fn look(disk: &VirtualDisk) -> Vec<[u8; 512]> {
    let size = disk.size().0;
    let inside = LOOKS.into_iter().filter(|at| at + 512 <= size);
    let read = |at| {
        let mut sector = [0xA5; 512];
        disk.read_at(DiskOffset(at), &mut sector).unwrap();
        sector
    };
    inside.map(read).collect()
}

fn wanted(size: u64, grown_by_write: bool) -> Vec<[u8; 512]> {
    let inside = LOOKS.into_iter().filter(|at| at + 512 <= size);
    let byte = |at: u64| match at {
        0 if grown_by_write => 8,
        4096 => 1,
        at if at == 3 * MIB => 5,
        _ => 0,
    };
    inside.map(|at| [byte(at); 512]).collect()
}

fn story(name: &'static str, files: &SimFiles, size: u64) -> Story {
    let files = restarted(files);
    let disk = begin(&files, DISK, 3);
    let old = disk.size().0;
    disk.resize(ByteLen(size)).unwrap();
    let promised = files.ops();
    write(&disk, 0, 512, 8);
    let end = disk.size().0 - 512;
    disk.zero(extent(end, 512)).unwrap();
    disk.flush().unwrap();
    let written = files.ops();

    let check = move |at: usize, files: &SimFiles| {
        let disk = open(files, DISK).map_err(|error| error.to_string())?;
        let found = disk.size().0;
        let is_again = found == AGAIN; // this check was here before, and lost its power
        let legal = found == size || (found == old && at < promised) || is_again;
        require(legal, || format!("{found} bytes"))?;
        let layer = &disk.layers()[0];
        let blocks = found.div_ceil(MIB);
        require(
            layer.kind != Kind::Fixed || layer.present_blocks == blocks,
            || format!("{} of {blocks} blocks", layer.present_blocks),
        )?;
        let is_as = |with_write| look(&disk) == wanted(found, with_write);
        require(is_as(true) || (is_as(false) && at < written), || {
            format!(
                "other data: {:?}",
                look(&disk)
                    .iter()
                    .map(|sector| sector[0])
                    .collect::<Vec<_>>()
            )
        })?;
        // It is made larger than ever, and what is new is zero.
        let again = begin(files, DISK, 10);
        if layer.kind != Kind::Fixed {
            again
                .resize(ByteLen(AGAIN))
                .map_err(|error| error.to_string())?;
        }
        again.close(guid(0xB9)).map_err(|error| error.to_string())?;
        let disk = open(files, DISK).map_err(|error| error.to_string())?;
        let size = disk.size().0;
        let is_as = |with_write| look(&disk) == wanted(size, with_write);
        require(is_as(true) || is_as(false), || "other data later".into())
    };
    Story {
        name,
        history: files.history(),
        check: Box::new(check),
    }
}
