//! What power cuts leave is repaired by another program, too, and then holds what we find in it.

use std::path::Path;
use std::process::Command;

use hypercbt_powercut::{SimFiles, campaign};
use hypercbt_vhdx::{FileOffset, LocalFile, ReadAt};

use crate::scripts;
use crate::support::{PATH, gather, read_watched};

/// How many states are put through it: each takes some 50 ms.
const STATES: u64 = 12;

fn qemu_img(arguments: &[&str], folder: &Path) -> Result<(), String> {
    let done = Command::new("qemu-img")
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(format!("qemu-img {arguments:?}: {text}"))
}

#[test]
fn qemu_repairs_what_a_cut_leaves_and_reads_what_we_read() {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        println!("skipped: qemu-img is not installed");
        return;
    }
    for tell in [scripts::dynamic, scripts::long_log] {
        let story = tell();
        let report = campaign(&story.history, 7, STATES, |_, state| {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let folder = folder.path();
            state.save(folder).map_err(|error| error.to_string())?;
            let name = PATH.trim_start_matches('/');
            qemu_img(&["check", "-q", "-r", "all", "-f", "vhdx", name], folder)?;
            qemu_img(&["convert", "-f", "vhdx", "-O", "raw", name, "raw"], folder)?;
            let raw = LocalFile::open(&folder.join("raw")).map_err(|error| error.to_string())?;
            let theirs = gather(&story.watched, |at, buf| {
                raw.read_exact_at(buf, FileOffset(at.0)).unwrap();
                Ok(())
            });
            let ours = read_watched(&SimFiles::from_state(state), &story.watched);
            let (theirs, ours) = (theirs.unwrap(), ours.map_err(|error| error.to_string())?);
            if theirs == ours {
                Ok(())
            } else {
                Err("qemu reads something else".into())
            }
        });
        println!("{}: qemu-img, {report}", story.name);
        assert!(report.failure.is_none(), "{report}");
    }
}
