//! A demo's own folder.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder that is removed at the end, unless the user named it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// A new temporary folder, or `keep`, which must be new or empty: what is in it might be
    /// somebody's.
    pub(super) fn new(keep: Option<&Path>) -> Result<Self> {
        let Some(path) = keep else { return Self::temporary() };
        std::fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))?;
        let mut entries = std::fs::read_dir(path).map_err(|e| Error::io("read", path, e))?;
        if entries.next().is_some() {
            return Err(Error::usage(format!(
                "--keep {}: the folder is not empty; name a new one",
                path.display()
            )));
        }
        Ok(Self { path: path.to_owned(), keep: true })
    }

    fn temporary() -> Result<Self> {
        let id = std::process::id();
        for number in 0..1000 {
            let path = std::env::temp_dir().join(format!("millpond-demo-{id}-{number}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, keep: false }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", &path, e)),
            }
        }
        Err(Error::usage(format!("{} is full of old folders", std::env::temp_dir().display())))
    }

    /// The path of `name` in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves it where it is, and says where.
    pub(super) fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_and_a_named_one_stays() {
        let folder = Folder::new(None).unwrap();
        let path = folder.join("x");
        std::fs::write(&path, "x").unwrap();
        drop(folder);
        assert!(!path.exists());

        let parent = tempfile::tempdir().unwrap();
        let named = parent.path().join("named");
        let folder = Folder::new(Some(&named)).unwrap();
        std::fs::write(folder.join("x"), "x").unwrap();
        drop(folder);
        assert!(named.join("x").exists());
        let error = Folder::new(Some(&named)).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
    }
}
