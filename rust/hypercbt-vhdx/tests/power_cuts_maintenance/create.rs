//! Power goes while a disk is made: it is there, whole, or not; and no half of it can be taken for a disk.

use std::path::Path;

use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::{Format, Kind, NewKind, VirtualDisk};

use crate::support::{MIB, Story, create, exists, open, options, require, restarted};

const PATH: &str = "/disk.vhdx";

pub(crate) fn fixed() -> Story {
    story("a fixed disk is made", NewKind::Fixed, |disk| {
        let layer = &disk.layers()[0];
        layer.kind == Kind::Fixed && layer.present_blocks == 4 && disk.size().0 == 4 * MIB
    })
}

pub(crate) fn dynamic() -> Story {
    story("a dynamic disk is made", NewKind::Dynamic, |disk| {
        disk.layers()[0].kind == Kind::Dynamic && disk.size().0 == 4 * MIB
    })
}

pub(crate) fn child() -> Story {
    let parent = "/base.vhdx".into();
    let kind = NewKind::Differencing { parent };
    story("a differencing disk is made", kind, |disk| {
        disk.layers().len() == 2 && disk.size().0 == 6 * MIB
    })
}

fn story(name: &'static str, kind: NewKind, is_whole: fn(&VirtualDisk) -> bool) -> Story {
    let files = SimFiles::new();
    create(
        &files,
        "/base.vhdx",
        NewKind::Dynamic,
        options(6 * MIB, 1 << 20),
    );
    let files = restarted(&files);
    create(&files, PATH, kind, options(4 * MIB, 1 << 20));
    let promised = files.ops();
    let check = move |at: usize, files: &SimFiles| {
        let here = exists(files, PATH);
        require(here || at < promised, || "it is not there".into())?;
        for path in files.now().paths() {
            if path == Path::new("/base.vhdx") {
                continue;
            }
            match open(files, &path) {
                // Zeros of some length; nobody looks for a raw disk under a temporary name.
                Ok(disk) if disk.format() == Format::Raw && path != Path::new(PATH) => {}
                Ok(disk) => require(is_whole(&disk), || format!("{} is half", path.display()))?,
                // What has no name yet is refused, not read as a disk.
                Err(error) => require(path != Path::new(PATH), || error.to_string())?,
            }
        }
        Ok(())
    };
    Story {
        name,
        history: files.history(),
        check: Box::new(check),
    }
}
