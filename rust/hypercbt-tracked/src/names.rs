//! The files of one disk: its base, and one layer for each checkpoint.
//!
//! ```text
//! web01.vhdx                                            depth 0, the base
//! web01_4F1C…-….avhdx                                   depth 1, over the base
//! web01_91E0…-….avhdx                                   depth 2, over depth 1
//! ```
//!
//! A layer is named as Hyper-V names one, but its GUID is no accident: it follows from the base's name and the
//! depth. So each is found by its name, without a list of the folder and before any file is read, and other
//! `.avhdx` files in the folder are nobody's here.

use std::path::{Path, PathBuf};

use hypercbt_vhdx::Guid;

use crate::{Error, Result};

/// The most checkpoints that a disk has at once.
pub const MAX_CHECKPOINTS: usize = 8;

/// What the file of a layer ends in.
const LAYER: &str = "avhdx";

/// Keeps these GUIDs apart from anything else that is made by BLAKE3 of a name.
const CONTEXT: &str = "hypercbt tracked disk, layer";

/// The names that the files of a disk have, or would have.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    base: PathBuf,
    layers: Vec<PathBuf>,
}

impl Names {
    /// The names of the disk with this base file.
    ///
    /// # Errors
    /// [`Error::NotABase`] for a layer itself: a disk is opened by its base, or its tracker would not be found.
    pub(crate) fn of(base: &Path) -> Result<Self> {
        let is_layer = base
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(LAYER));
        let (Some(stem), Some(name), false) = (base.file_stem(), base.file_name(), is_layer) else {
            return Err(Error::NotABase {
                file: base.to_owned(),
            });
        };
        let layers = (1..=MAX_CHECKPOINTS as u64).map(|depth| {
            let guid = guid(&name.to_string_lossy(), depth);
            let mut layer = stem.to_owned();
            layer.push(format!("_{}.{LAYER}", guid.to_string().to_uppercase()));
            base.with_file_name(layer)
        });
        Ok(Self {
            base: base.to_owned(),
            layers: layers.collect(),
        })
    }

    /// The file of the disk without checkpoints.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// The file with so many files below it; none where there can be no such checkpoint.
    pub(crate) fn at(&self, depth: usize) -> Option<&Path> {
        match depth.checked_sub(1) {
            None => Some(&self.base),
            Some(layer) => self.layers.get(layer).map(PathBuf::as_path),
        }
    }

    /// The layers that there may be, each with its depth, lowest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (usize, &Path)> {
        (1..).zip(self.layers.iter().map(PathBuf::as_path))
    }

    /// Whether a file of this name would be taken for one of the disk's.
    pub(crate) fn include(&self, path: &Path) -> bool {
        let is = |own: &Path| match (own.file_name(), path.file_name()) {
            (Some(own), Some(name)) => own.eq_ignore_ascii_case(name),
            _ => false,
        };
        is(&self.base) || self.layers.iter().any(|layer| is(layer))
    }
}

/// The GUID of a layer. Two spellings of one name, where upper and lower case are the same, have the same.
fn guid(name: &str, depth: u64) -> Guid {
    let name: String = name.chars().flat_map(char::to_lowercase).collect();
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(name.as_bytes());
    hasher.update(&depth.to_le_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    Guid(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn layers_lie_beside_their_base_and_are_named_as_windows_names_them() {
        let names = Names::of(Path::new("/vms/web01.vhdx")).unwrap();
        let layer = names.at(1).unwrap().to_str().unwrap();
        let guid = layer.strip_prefix("/vms/web01_").unwrap();
        let guid = guid.strip_suffix(".avhdx").unwrap();
        assert!(guid.parse::<Guid>().is_ok());
        assert_eq!(guid, guid.to_uppercase());
    }

    #[test]
    fn every_depth_of_every_disk_has_a_name_of_its_own_which_never_changes() {
        let all = |base: &str| -> Vec<PathBuf> {
            let names = Names::of(Path::new(base)).unwrap();
            (0..=MAX_CHECKPOINTS)
                .map(|depth| names.at(depth).unwrap().to_owned())
                .collect()
        };
        let both = [all("/web01.vhdx"), all("/web02.vhdx")].concat();
        let both: BTreeSet<PathBuf> = both.into_iter().collect();
        assert_eq!(both.len(), 2 * (MAX_CHECKPOINTS + 1));
        assert_eq!(all("/web01.vhdx"), all("/web01.vhdx"));
        let names = Names::of(Path::new("/web01.vhdx")).unwrap();
        assert_eq!(names.at(MAX_CHECKPOINTS + 1), None);
    }

    #[test]
    fn two_spellings_of_a_base_have_layers_of_the_same_guid() {
        let layer = |base: &str| {
            let names = Names::of(Path::new(base)).unwrap();
            names.at(3).unwrap().to_str().unwrap().to_lowercase()
        };
        assert_eq!(layer(r"Web01.VHDX"), layer("web01.vhdx"));
    }

    #[test]
    fn the_disks_own_names_are_known_in_either_case_and_in_any_folder() {
        let names = Names::of(Path::new("/vms/web01.vhdx")).unwrap();
        let layer = names.at(2).unwrap().to_str().unwrap().to_lowercase();
        for own in [layer.as_str(), "/other/WEB01.vhdx"] {
            assert!(names.include(Path::new(own)), "{own}");
        }
        assert!(!names.include(Path::new("/vms/web01_auto.avhdx")));
    }

    #[test]
    fn a_layer_is_no_base() {
        for name in ["/vms/web01.avhdx", "web01.AVHDX", "/"] {
            let refused = Names::of(Path::new(name));
            assert!(matches!(refused, Err(Error::NotABase { .. })), "{name}");
        }
    }
}
