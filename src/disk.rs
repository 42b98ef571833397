//! Files and folders that are to outlive a loss of power.
//!
//! A file's bytes are on the disk once the file is synced, its name once its folder is. Owns the calls by
//! which the file sink and the embedded database's surroundings bring them there, and which file a path
//! leads to. Does not own what must be there when: in tests these calls are recorded, and a loss of power
//! after each of them is played (`power`).

#[cfg(test)]
pub(crate) mod power;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file under way.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
}

impl NewFile {
    /// Makes the file, or empties the one of this name.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| Error::io("make the file", path, e))?;
        #[cfg(test)]
        power::note(|| power::Step::Create(path.to_owned()));
        Ok(Self { path: path.to_owned(), file })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("write", &self.path, e))?;
        #[cfg(test)]
        power::note(|| power::Step::Write(self.path.clone(), bytes.to_owned()));
        Ok(())
    }

    /// Brings all that was written to the disk.
    pub(crate) fn sync(self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.path, e))?;
        #[cfg(test)]
        power::note(|| power::Step::Sync(self.path));
        Ok(())
    }
}

/// Opens a file to read and append to, and makes it where it is missing.
pub(crate) fn open_or_make(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = file.map_err(|e| Error::io("open", path, e))?;
    #[cfg(test)]
    power::note(|| power::Step::Touch(path.to_owned()));
    Ok(file)
}

/// Brings what was written to `file`, of which the name is `path`, to the disk.
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<()> {
    file.sync_data().map_err(|e| Error::io("sync", path, e))?;
    #[cfg(test)]
    power::note(|| power::Step::Sync(path.to_owned()));
    Ok(())
}

/// Gives a file another name, in place of a file that had it.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    power::note(|| power::Step::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file; it may be gone already.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(|e| Error::io("remove", path, e))?,
    }
    #[cfg(test)]
    power::note(|| power::Step::Remove(path.to_owned()));
    Ok(())
}

/// Makes a folder and all above it that are missing, and brings their names to the disk.
///
/// The name of the deepest one that was there, too: a process that was killed may have made it and not
/// got further.
pub(crate) fn make_folders(folder: &Path) -> Result<()> {
    for folder in from_the_deepest(folder, Path::is_dir) {
        let made = match fs::create_dir(folder) {
            Ok(()) => {
                #[cfg(test)]
                power::note(|| power::Step::MakeFolder(folder.to_owned()));
                true
            }
            Err(_) if folder.is_dir() => false,
            Err(e) => return Err(Error::io("make the folder", folder, e)),
        };
        let Some(parent) = folder.parent() else { continue };
        match sync(parent) {
            // In what may not be looked into or written to, nobody like this process has made anything.
            Err(e) if !made && is_anothers(&e) => {}
            synced => synced.map_err(|e| Error::io("sync the folder", parent, e))?,
        }
    }
    Ok(())
}

fn is_anothers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// `folder` and those above it, down from the first that is `there`.
fn from_the_deepest(folder: &Path, there: impl Fn(&Path) -> bool) -> Vec<&Path> {
    let mut folders = Vec::new();
    for folder in folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        folders.push(folder);
        if there(folder) {
            break;
        }
    }
    folders.reverse();
    folders
}

/// Brings the names in a folder to the disk; no name is the folder that the process works in.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    sync(folder).map_err(|e| Error::io("sync the folder", folder, e))
}

fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Only Unix can open a folder; elsewhere a name is as durable as the file system makes it.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(test)]
    power::note(|| power::Step::SyncFolder(folder.to_owned()));
    Ok(())
}

/// Which file it is, whatever its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    /// The best that std has elsewhere.
    #[cfg(not(unix))]
    created: Option<std::time::SystemTime>,
}

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device_and_inode: (metadata.dev(), metadata.ino()) }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { created: metadata.created().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::power::{Kept, Record};
    use super::*;

    #[test]
    fn folders_are_made_from_the_deepest_that_is_there() {
        let folders = |path: &'static str, there: &str| {
            let there = Path::new(there).to_owned();
            let folders = from_the_deepest(Path::new(path), |folder| folder == there);
            folders.into_iter().map(|folder| folder.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(folders("a/b/c", "a"), ["a", "a/b", "a/b/c"]);
        assert_eq!(folders("a/b/c", "a/b/c"), ["a/b/c"]);
        // The parent of the first is the folder that the process works in.
        assert_eq!(folders("a/b", "x"), ["a", "a/b"]);
        assert_eq!(folders("/a/b", "/"), ["/", "/a", "/a/b"]);
    }

    #[test]
    fn every_folder_that_is_made_survives_a_loss_of_power() {
        let base = tempfile::tempdir().unwrap();
        let deepest = base.path().join("a/b/c");
        let record = Record::of(base.path());
        make_folders(&deepest).unwrap();
        let steps = record.end();
        steps.survivors(steps.len(), Kept::Synced);
        assert!(deepest.is_dir());
    }

    #[test]
    fn a_folder_without_a_parent_in_its_path_has_the_present_one_synced() {
        let base = tempfile::tempdir_in(".").unwrap();
        let name = base.path().file_name().unwrap();
        let record = Record::of(base.path());
        make_folders(Path::new(name)).unwrap();
        assert_eq!(record.end().all(), [power::Step::SyncFolder(PathBuf::from("."))]);
    }

    #[test]
    fn a_folder_that_a_killed_process_made_is_synced_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let record = Record::of(base.path());
        // Made, and no further.
        power::note(|| power::Step::MakeFolder(base.path().join("a")));
        fs::create_dir(base.path().join("a")).unwrap();
        make_folders(&base.path().join("a/b")).unwrap();
        let steps = record.end();
        steps.survivors(steps.len(), Kept::Synced);
        assert!(base.path().join("a/b").is_dir());
    }
}
