//! The files of one disk.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What the file of a checkpoint ends in.
const CHECKPOINT: &str = "avhdx";

/// The file that the guest writes to while `base` is frozen.
///
/// # Errors
/// [`Error::NotABase`] for such a file itself: a disk is opened by its base, or its tracker would not be found.
pub(crate) fn checkpoint_of(base: &Path) -> Result<PathBuf> {
    let is_checkpoint = base
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(CHECKPOINT));
    if is_checkpoint || base.file_stem().is_none() {
        return Err(Error::NotABase {
            file: base.to_owned(),
        });
    }
    Ok(base.with_extension(CHECKPOINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_lies_beside_its_base() {
        let found = checkpoint_of(Path::new("/vms/web01.vhdx")).unwrap();
        assert_eq!(found, Path::new("/vms/web01.avhdx"));
    }

    #[test]
    fn a_checkpoint_is_no_base() {
        for name in ["/vms/web01.avhdx", "web01.AVHDX", "/"] {
            let refused = checkpoint_of(Path::new(name));
            assert!(matches!(refused, Err(Error::NotABase { .. })), "{name}");
        }
    }
}
