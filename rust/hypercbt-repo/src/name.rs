//! The names of objects (format §1). Those of index segments are the index's own.

use crate::{PackName, RunId};

pub(crate) const CONFIG: &str = "config";
pub(crate) const PACKS: &str = "pack";
pub(crate) const POINTS: &str = "point";
pub(crate) const LEASES: &str = "lease";
pub(crate) const CLOSED: &str = "closed";
pub(crate) const BASELINES: &str = "baseline";
pub(crate) const DAMAGE: &str = "damage";
pub(crate) const SUSPECTS: &str = "suspect";
pub(crate) const VOIDS: &str = "void";
/// What stands here is being written, and never read.
pub(crate) const UNFINISHED: &str = "tmp";

pub(crate) fn pack(name: PackName) -> String {
    let [first, ..] = name.0;
    format!("{PACKS}/{first:02x}/{name}")
}

pub(crate) fn lease(run: RunId) -> String {
    format!("{LEASES}/{run}")
}

pub(crate) fn closed(run: RunId) -> String {
    format!("{CLOSED}/{run}")
}

pub(crate) fn point(point: RunId) -> String {
    format!("{POINTS}/{point}")
}

pub(crate) fn baseline(point: RunId) -> String {
    format!("{BASELINES}/{point}")
}

pub(crate) fn damage(id: RunId) -> String {
    format!("{DAMAGE}/{id}")
}

pub(crate) fn suspect(id: RunId) -> String {
    format!("{SUSPECTS}/{id}")
}

pub(crate) fn void(id: RunId) -> String {
    format!("{VOIDS}/{id}")
}

/// The id that the last part of a name is. Names that are not ours have none, and are passed over.
pub(crate) fn id<T: std::str::FromStr>(name: &str) -> Option<T> {
    name.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_lies_in_the_folder_of_its_first_two_digits() {
        let pack_name = PackName([0xab; 32]);
        let name = pack(pack_name);
        assert_eq!(name, format!("pack/ab/{}", "ab".repeat(32)));
        assert_eq!(id(&name), Some(pack_name));
    }

    #[test]
    fn a_name_that_is_not_ours_has_no_id() {
        assert_eq!(id::<RunId>("point/.hidden"), None);
        assert_eq!(id::<RunId>(&pack(PackName([1; 32]))), None);
    }
}
