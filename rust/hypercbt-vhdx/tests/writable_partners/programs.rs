//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether a program is here; says so where it is not.
pub(crate) fn is_here(program: &str) -> bool {
    let here = Command::new(program).arg("--version").output().is_ok();
    if !here {
        println!("skipped: {program} is not installed");
    }
    here
}

/// Runs a program, which must succeed. Returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output();
    succeeded(&output.unwrap(), program)
}

fn succeeded(output: &Output, program: &str) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {printed}{errors}");
    printed
}

/// qemu finds nothing wrong with the file.
pub(crate) fn check_by_qemu(path: &Path) {
    let printed = run("qemu-img", &["check", "-f", "vhdx"], path);
    assert!(printed.contains("No errors were found"), "{printed}");
}

/// The content of a disk as qemu reads it.
pub(crate) fn read_by_qemu(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("raw");
    let output = Command::new("qemu-img")
        .args(["convert", "-f", "vhdx", "-O", "raw"])
        .args([path, &raw])
        .output();
    succeeded(&output.unwrap(), "qemu-img convert");
    std::fs::read(raw).unwrap()
}

/// qemu does something to the disk, command by command.
pub(crate) fn qemu_io(path: &Path, commands: &[&str]) {
    let mut qemu = Command::new("qemu-io");
    qemu.args(["-f", "vhdx"]);
    for command in commands {
        qemu.args(["-c", command]);
    }
    let printed = succeeded(&qemu.arg(path).output().unwrap(), "qemu-io");
    assert!(!printed.contains("failed"), "{printed}");
}

/// The content of a disk as a Python program reads it, which writes it to standard output. None, and a word about it,
/// where `module` is not installed.
pub(crate) fn read_by_python(module: &str, program: &str, files: &[&Path]) -> Option<Vec<u8>> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let python = |code: &str| {
        let mut python = Command::new("python3");
        python.current_dir(&root).args(["-c", code]);
        python
    };
    let imported = python(&format!("import {module}")).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        println!("skipped: the Python module {module} is not installed");
        return None;
    }
    let output = python(program).args(files).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{module}: {errors}");
    Some(output.stdout)
}
