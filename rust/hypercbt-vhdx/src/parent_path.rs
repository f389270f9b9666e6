//! How a child names the file of its parent: the keys and values that Windows writes (MS-VHDX 2.6.2.6.3).
//!
//! A reader believes the linkage alone; the paths help it to find the file. Both are written: the relative one
//! holds when both files move together, the absolute one when the child moves alone.

use std::path::{Component, Path};

use crate::Guid;
use crate::locator::{self, ABSOLUTE_PATH, LINKAGE, LINKAGE2, RELATIVE_PATH, braced};

/// The parent locator of the file `child`; `None` if no reader could find `parent` by it.
pub(crate) fn locator(child: &Path, parent: &Path, linkage: Guid) -> Option<Vec<u8>> {
    let (child, parent) = (absolute(child)?, absolute(parent)?);
    let mut pairs = vec![
        (LINKAGE.to_owned(), braced(linkage)),
        (ABSOLUTE_PATH.to_owned(), verbatim(parent.to_str()?)),
    ];
    if let Some(relative) = relative(child.parent()?, &parent) {
        pairs.push((RELATIVE_PATH.to_owned(), relative));
    }
    // Its room is taken at once: a merge changes it, and need not move the item for it.
    pairs.push((LINKAGE2.to_owned(), braced(Guid::ZERO)));
    let item = locator::encode(&pairs)?;
    let decoded = locator::decode(&item).ok()?;
    let name = parent.file_name()?.to_str()?;
    decoded.file_names().contains(&name).then_some(item)
}

/// The path from the root, without `.` and `..`. Links are not looked at: the path need not exist.
fn absolute(path: &Path) -> Option<std::path::PathBuf> {
    let mut plain = std::path::PathBuf::new();
    for part in std::path::absolute(path).ok()?.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    Some(plain)
}

/// The way from `folder` to `file`, both absolute, as Windows writes it: `.\parent.vhdx`, `..\other\parent.vhdx`.
/// There is none between two volumes.
fn relative(folder: &Path, file: &Path) -> Option<String> {
    let from: Vec<Component<'_>> = folder.components().collect();
    let to: Vec<Component<'_>> = file.components().collect();
    if from.first() != to.first() {
        return None;
    }
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.len() - common;
    let mut parts = if up == 0 { vec!["."] } else { vec![".."; up] };
    for part in to.iter().skip(common) {
        parts.push(part.as_os_str().to_str()?);
    }
    Some(parts.join("\\"))
}

/// With the prefix that MS-VHDX asks for, if it is a path of a Windows volume.
fn verbatim(path: &str) -> String {
    let mut start = path.chars();
    let letter = start
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic());
    if letter && start.next() == Some(':') {
        format!("\\\\?\\{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Guid = Guid([7; 16]);

    #[test]
    fn a_path_of_a_windows_volume_gets_the_prefix_of_the_specification() {
        assert_eq!(verbatim(r"C:\disks\base.vhdx"), r"\\?\C:\disks\base.vhdx");
        for path in [
            r"\\?\C:\base.vhdx",
            r"\\server\share\base.vhdx",
            "/srv/base.vhdx",
        ] {
            assert_eq!(verbatim(path), path);
        }
    }

    #[cfg(unix)]
    mod on_unix {
        use super::*;

        fn values(child: &str, parent: &str) -> Option<Vec<(String, String)>> {
            let item = locator(Path::new(child), Path::new(parent), LINK)?;
            locator::pairs(&item).ok()
        }

        fn relative(child: &str, parent: &str) -> String {
            let values = values(child, parent).unwrap();
            let found = values.into_iter().find(|(key, _)| key == RELATIVE_PATH);
            found.unwrap().1
        }

        #[test]
        fn the_keys_stand_in_the_order_of_windows_and_the_second_linkage_is_zero() {
            let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            let expected = [
                pair("parent_linkage", "{07070707-0707-0707-0707-070707070707}"),
                pair("absolute_win32_path", "/vm/base.vhdx"),
                pair("relative_path", r".\base.vhdx"),
                pair("parent_linkage2", "{00000000-0000-0000-0000-000000000000}"),
            ];
            assert_eq!(values("/vm/leaf.avhdx", "/vm/base.vhdx").unwrap(), expected);
        }

        #[test]
        fn the_relative_path_leads_from_the_childs_folder() {
            assert_eq!(relative("/a/b/c.avhdx", "/a/x/y/p.vhdx"), r"..\x\y\p.vhdx");
            assert_eq!(relative("/a/c.avhdx", "/a/b/p.vhdx"), r".\b\p.vhdx");
            assert_eq!(relative("/a/b/c.avhdx", "/a/b/../p.vhdx"), r"..\p.vhdx");
        }

        #[test]
        fn a_parent_that_no_reader_would_find_is_not_named() {
            for parent in ["/vm/a:b.vhdx", r"/vm/a\b.vhdx", "/"] {
                assert_eq!(values("/vm/leaf.avhdx", parent), None, "{parent}");
            }
        }
    }
}
