//! Power goes while a child is merged: what was flushed is there, over the parent or in the parent alone, and the merge
//! can be begun again.

use hypercbt_extent::ByteLen;
use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::NewKind;

use crate::support::{
    MIB, Story, begin, content, create, create_child, exists, extent, guid, merge, open, options,
    read_all, require, restarted, same, write,
};

const BASE: &str = "/base.vhdx";
const LEAF: &str = "/leaf.avhdx";

pub(crate) fn fixed() -> Story {
    let files = base(NewKind::Fixed);
    create_child(&files, LEAF, BASE, 1 << 20, 0);
    story("a child is merged into a fixed disk", &files, BASE, None)
}

pub(crate) fn dynamic() -> Story {
    let files = base(NewKind::Dynamic);
    create_child(&files, LEAF, BASE, 1 << 20, 0);
    story("a child is merged into a dynamic disk", &files, BASE, None)
}

pub(crate) fn chain() -> Story {
    let files = base(NewKind::Dynamic);
    create_child(&files, "/middle.avhdx", BASE, 2 << 20, 0);
    create_child(&files, LEAF, "/middle.avhdx", 1 << 20, 1);
    let name = "a child is merged into a child";
    story(name, &files, "/middle.avhdx", None)
}

pub(crate) fn larger() -> Story {
    let files = base(NewKind::Dynamic);
    create_child(&files, LEAF, BASE, 1 << 20, 0);
    let name = "a larger child is merged";
    story(name, &files, BASE, Some(6 * MIB))
}

/// A disk of 4 MiB with its first half written.
fn base(kind: NewKind) -> SimFiles {
    let files = SimFiles::new();
    create(&files, BASE, kind, options(4 * MIB, 1 << 20));
    let base = begin(&files, BASE, 1);
    write(&base, 0, 2 * MIB, 1);
    base.close(guid(0xB1)).unwrap();
    files
}

fn story(name: &'static str, files: &SimFiles, parent: &'static str, size: Option<u64>) -> Story {
    let leaf = begin(files, LEAF, 2);
    if let Some(size) = size {
        leaf.resize(ByteLen(size)).unwrap();
        write(&leaf, size - 512, 512, 6);
    }
    write(&leaf, MIB + 4096, 1024, 2);
    write(&leaf, 3 * MIB - 512, 1024, 3);
    leaf.zero(extent(0, MIB)).unwrap();
    leaf.zero(extent(MIB + 8192, 512)).unwrap();
    let wanted = read_all(&leaf);
    leaf.close(guid(0xB2)).unwrap();

    let files = restarted(files);
    let leaf = begin(&files, LEAF, 3);
    let merged = merge(&files, leaf, parent, 4).unwrap();
    let promised = files.ops();
    // What is written once the merge is done must not be hidden again by a child that comes back.
    write(&merged, MIB, 512, 9);
    merged.flush().unwrap();
    let written = files.ops();
    let mut changed = wanted.clone();
    changed[1 << 20..(1 << 20) + 512].fill(9);

    let check = move |at: usize, files: &SimFiles| {
        let is_there = exists(files, LEAF);
        require(!is_there || at < promised, || "the child is back".into())?;
        let path = if is_there { LEAF } else { parent };
        let found = open(files, path).map_err(|error| format!("{path}: {error}"))?;
        let found = content(&found);
        let as_before = same(&found, &wanted);
        if at >= written {
            same(&found, &changed)?;
        } else if at <= promised || as_before.is_ok() {
            as_before?;
        } else {
            same(&found, &changed)?;
        }
        // It is taken up again, or what is left is opened for writing.
        let disk = if is_there {
            let merged = merge(files, begin(files, LEAF, 10), parent, 11);
            merged.map_err(|error| error.to_string())?
        } else {
            begin(files, parent, 12)
        };
        same(&read_all(&disk), &found)?;
        disk.close(guid(0xB9)).map_err(|error| error.to_string())?;
        let disk = open(files, parent).map_err(|error| error.to_string())?;
        same(&content(&disk), &found)?;
        require(!exists(files, LEAF), || "the child stays".into())
    };
    Story {
        name,
        history: files.history(),
        check: Box::new(check),
    }
}
