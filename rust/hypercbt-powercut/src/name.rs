//! Paths in one form, so that a name is compared byte by byte.

use std::borrow::Borrow;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::content::hash;

/// An absolute path with `/` between its parts; a relative one begins at the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    text: Arc<OsStr>,
    /// Kept, for taking a path apart takes long.
    folder: Option<Arc<OsStr>>,
    hash: u128,
}

impl Name {
    pub(crate) fn new(path: &Path) -> Self {
        Self::from(normal(path))
    }

    /// Of the path, the same in every process.
    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    /// The folder that has this name in it; none for the root.
    pub(crate) fn folder(&self) -> Option<&OsStr> {
        self.folder.as_deref()
    }

    /// Whether it begins with this, which ends with a `/`.
    pub(crate) fn is_below(&self, folder: &OsStr) -> bool {
        let text = self.text.as_encoded_bytes();
        text.starts_with(folder.as_encoded_bytes())
    }

    /// The last part.
    pub(crate) fn last(&self) -> OsString {
        let path = Path::new(&*self.text);
        path.file_name().unwrap_or_default().to_owned()
    }

    pub(crate) fn to_path(&self) -> PathBuf {
        PathBuf::from(&*self.text)
    }
}

impl From<OsString> for Name {
    fn from(text: OsString) -> Self {
        let hash = hash(text.as_encoded_bytes());
        let folder = Path::new(&text)
            .parent()
            .map(|folder| folder.as_os_str().into());
        Self {
            text: text.into(),
            folder,
            hash,
        }
    }
}

impl Borrow<OsStr> for Name {
    fn borrow(&self) -> &OsStr {
        &self.text
    }
}

/// The path without `.` and `..`, from the root.
pub(crate) fn normal(path: &Path) -> OsString {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => drop(parts.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    let mut text = OsString::new();
    for part in &parts {
        text.push("/");
        text.push(part);
    }
    if parts.is_empty() {
        text.push("/");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_name() {
        for path in ["/a/b", "a/b", "./a/./b", "/a/x/../b", "/a/b/"] {
            assert_eq!(Name::new(Path::new(path)).to_path(), Path::new("/a/b"));
        }
        assert_eq!(normal(Path::new("")), "/");
        let name = Name::new(Path::new("/a/b"));
        assert_eq!(name.folder().unwrap(), "/a");
        let top = Name::new(Path::new("b"));
        assert_eq!(top.folder().unwrap(), "/");
    }
}
