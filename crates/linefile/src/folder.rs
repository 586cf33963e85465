//! A folder of small files, each replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::replace;

/// Files of one ending; others in the folder are left over from a write that a crash cut off, and count for nothing.
#[derive(Debug, Default)]
pub struct Folder {
    path: PathBuf,
    ending: &'static str,
}

impl Folder {
    /// That of a path. It is made by the first write.
    pub fn new(path: PathBuf, ending: &'static str) -> Self {
        Self { path, ending }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file of this name is, or would be.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{}", self.ending))
    }

    /// All files and what they hold, by their names.
    pub fn read(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|ending| ending == self.ending));
        paths.sort_unstable();
        let read = |path| fs::read(&path).map(|content| (path, content));
        paths.into_iter().map(read).collect()
    }

    /// Puts a file of this content in the place of another, durably, or takes it away.
    pub fn write(&self, name: &str, content: Option<&[u8]>) -> io::Result<()> {
        let file = self.file(name);
        match content {
            Some(content) => {
                fs::create_dir_all(&self.path)?;
                replace(&file, &[content]).map(drop)
            }
            None => {
                fs::remove_file(file)?;
                fs::File::open(&self.path)?.sync_all()
            }
        }
    }
}
