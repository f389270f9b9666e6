//! The steps that can be left out, as the source has them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The names of all `left_out("…")` in the Rust files of a folder and below: what a list of mutants must equal.
///
/// # Errors
/// What reading a folder or a file says.
pub fn steps_in(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut steps = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            steps.extend(steps_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path)?;
            let code = source
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let code = code.collect::<Vec<_>>().join("\n");
            let calls = code.split("left_out(").skip(1);
            let names =
                calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
            steps.extend(names.map(str::to_owned));
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_below_a_folder_and_not_in_comments() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let source = "// left_out(\"no\")\nif left_out(\"a.b\") || step::left_out(\n    \"c\") {}";
        fs::write(folder.path().join("in/x.rs"), source).unwrap();
        let steps = steps_in(folder.path()).unwrap();
        assert_eq!(steps.into_iter().collect::<Vec<_>>(), ["a.b", "c"]);
    }
}
