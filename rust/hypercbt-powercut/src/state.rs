//! What is on the disk when the machine starts again.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::{Content, index, mix};
use crate::name::{Name, normal};
use crate::volume::{FileId, Names, Node};

/// Files and folders, all of them durable. A copy is cheap.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) names: Arc<Names>,
    /// By file; what has no name is left out or empty.
    pub(crate) contents: Vec<Arc<Content>>,
}

impl State {
    /// The same for the same names and bytes, however they came about.
    pub fn digest(&self) -> u128 {
        let mut names_of = vec![0; self.contents.len()];
        let mut digest = 0_u128;
        for (name, node) in &*self.names {
            match node {
                Node::Folder => digest = digest.wrapping_add(mix(3, name.hash())),
                // Two names of one file are something else than two files.
                Node::File(file) => {
                    let names: &mut u128 = &mut names_of[file.0];
                    *names = names.wrapping_add(mix(5, name.hash()));
                }
            }
        }
        for (names, content) in names_of.into_iter().zip(&self.contents) {
            if names != 0 {
                digest = digest.wrapping_add(mix(names, content.digest()));
            }
        }
        digest
    }

    /// The bytes of a file; none if there is none.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.content(path).map(|content| content.to_vec())
    }

    /// All files, in order. Folders are left out.
    pub fn paths(&self) -> Vec<PathBuf> {
        let files = self.names.iter().filter(|(_, node)| **node != Node::Folder);
        files.map(|(name, _)| name.to_path()).collect()
    }

    /// Removes a name, if it is there.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        let name = normal(path.as_ref());
        Arc::make_mut(&mut self.names).remove::<OsStr>(&name);
    }

    /// Makes a file, and its folders, or replaces it: other names of what stood there keep that.
    pub fn put(&mut self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let file = FileId(self.contents.len());
        self.contents
            .push(Arc::new(Content::from_bytes(bytes.as_ref())));
        let name = Name::new(path.as_ref());
        let names = Arc::make_mut(&mut self.names);
        for folder in name.to_path().ancestors().skip(1) {
            names.entry(Name::new(folder)).or_insert(Node::Folder);
        }
        names.insert(name, Node::File(file));
    }

    /// Writes all files below a folder of this machine, for a program that shall look at them.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        for (name, node) in &*self.names {
            let path = name.to_path();
            let path = folder.join(path.strip_prefix("/").unwrap_or(&path));
            match node {
                Node::Folder => fs::create_dir_all(path)?,
                Node::File(file) => save(&self.contents[file.0], &path)?,
            }
        }
        Ok(())
    }

    pub(crate) fn content(&self, path: &Path) -> Option<&Arc<Content>> {
        match self.names.get::<OsStr>(&normal(path))? {
            Node::File(file) => self.contents.get(file.0),
            Node::Folder => None,
        }
    }
}

fn save(content: &Content, path: &Path) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.set_len(content.len())?;
    for page in content.pages() {
        let mut bytes = vec![0; index(page.end - page.start)];
        content.read(page.start, &mut bytes);
        file.seek(SeekFrom::Start(page.start))?;
        file.write_all(&bytes)?;
    }
    Ok(())
}
