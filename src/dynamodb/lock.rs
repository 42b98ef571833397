//! The embedded database's file: its folder, its exclusive lock, its identity, and its durability.
//!
//! Owns the `.lock` file beside it, which holds the owner's process id while the lock is held. The
//! operating system lets the lock go when the process ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::disk::{self, Identity};
use crate::error::{Error, ErrorKind, Result};

/// What every file of `SQLite` begins with.
const DATABASE: &[u8] = b"SQLite format 3\0";

/// A database file that this process alone may use.
#[derive(Debug)]
pub(super) struct LockedFile {
    /// The one that all its other names lead to, as `SQLite` names its log by.
    path: PathBuf,
    identity: Identity,
    log: OnceLock<File>,
    /// Held, not used: closing it ends the lock.
    _lock: File,
}

impl LockedFile {
    /// Makes the folder and the file where they are missing, and takes the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] that names path and process id where another process has it;
    /// [`ErrorKind::Io`] that names what could not be made or opened.
    pub(super) fn open(given: &Path) -> Result<Self> {
        if let Some(folder) = given.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            disk::make_folders(folder)?;
        }
        let path = real(given)?;
        if path.is_dir() {
            // Fails, in the system's words, before a lock is made beside it.
            disk::open_or_make(given)?;
        }
        let lock = lock(&path, given)?;
        // Not before it is locked: to close a file ends the locks that `SQLite` has on it in this process.
        let file = disk::open_or_make(given)?;
        let metadata = file.metadata().map_err(|e| Error::io("look at", given, e))?;
        disk::sync_folder(folder_of(&path))?;
        Ok(Self { path, identity: Identity::of(&metadata), log: OnceLock::new(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is new or begins as `SQLite`'s files do: of others the engine says in many words that
    /// they might be encrypted.
    pub(super) fn may_be_database(&self) -> bool {
        let mut start = Vec::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(DATABASE.len() as u64).read_to_end(&mut start));
        // What cannot be read is the engine's to tell.
        read.is_err() || start.is_empty() || start == DATABASE
    }

    /// Checks that the path still leads to the file that was opened: `SQLite` would go on writing to a
    /// file that was deleted, and all of it would be lost. One `stat`.
    ///
    /// # Errors
    /// What is wrong, in words that name the path.
    pub(super) fn check_present(&self) -> std::result::Result<(), String> {
        match fs::metadata(&self.path) {
            Ok(metadata) if Identity::of(&metadata) == self.identity => Ok(()),
            Ok(_) => Err(format!("{} was replaced by another file", self.path.display())),
            Err(e) => Err(format!("{} has vanished: {e}", self.path.display())),
        }
    }

    /// Brings the write-ahead log, and so all that was answered before, to the disk. One `fsync`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] that names the path.
    pub(super) fn sync_log(&self) -> Result<()> {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        let path = PathBuf::from(path);
        let log = match self.log.get() {
            Some(log) => log,
            None => {
                let log = File::open(&path).map_err(|e| Error::io("sync", &path, e))?;
                // Its folder's entry is new, too.
                disk::sync_folder(folder_of(&path))?;
                self.log.get_or_init(|| log)
            }
        };
        disk::sync_data(log, &path)
    }
}

/// The path that all others to this file lead to, whether it exists yet or not.
fn real(path: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io("look for", path, e);
    let name = match (fs::canonicalize(path), path.file_name()) {
        (Err(e), Some(name)) if e.kind() == io::ErrorKind::NotFound => name,
        (found, _) => return found.map_err(failed),
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::read_link(path) {
        // A link to what does not exist yet.
        Ok(target) => real(&folder.join(target)),
        Err(_) => Ok(fs::canonicalize(folder).map_err(failed)?.join(name)),
    }
}

/// Of a path that leads from the root.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Locks the file at `path`, which the caller calls `given`.
fn lock(path: &Path, given: &Path) -> Result<File> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let io = |what: &'static str| {
        let lock_path = lock_path.clone();
        move |e| Error::io(what, &lock_path, e)
    };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(&lock_path).map_err(io("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(given, &mut file)),
        Err(TryLockError::Error(e)) => return Err(io("lock")(e)),
    }
    file.set_len(0).map_err(io("write"))?;
    file.seek(SeekFrom::Start(0)).map_err(io("write"))?;
    write!(file, "{}", std::process::id()).map_err(io("write"))?;
    Ok(file)
}

fn in_use(path: &Path, lock: &mut File) -> Error {
    let mut pid = String::new();
    // Between the owner's lock and its write the file says nothing.
    let known = lock.read_to_string(&mut pid).is_ok() && !pid.is_empty();
    let owner = if known { format!("process {pid}") } else { "another process".to_owned() };
    Error::new(
        ErrorKind::Usage,
        format!("{} is in use by {owner}: wait for it, or use another file", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::power::{Kept, Record};

    #[test]
    fn a_second_open_names_path_and_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/state.db");
        let first = LockedFile::open(&path).unwrap();
        let error = LockedFile::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let text = error.to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains("state.db"), "{text}");
        drop(first);
        LockedFile::open(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn all_names_of_one_file_have_one_lock() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("folder")).unwrap();
        symlink("real/state.db", at("link.db")).unwrap();
        let names = ["link.db", "real/state.db", "folder/state.db", "real/../link.db"].map(at);
        // The first of them makes the file, through a link that leads nowhere yet in one case.
        for first in &names {
            let held = LockedFile::open(first).unwrap();
            assert_eq!(held.path(), fs::canonicalize(at("real/state.db")).unwrap());
            for other in &names {
                let error = LockedFile::open(other).unwrap_err();
                assert!(error.to_string().contains("is in use by process"), "{error}");
            }
            drop(held);
            fs::remove_file(at("real/state.db")).unwrap();
        }
        symlink("loop", at("loop")).unwrap();
        assert_eq!(LockedFile::open(&at("loop")).unwrap_err().kind(), ErrorKind::Io);
        symlink("nowhere/state.db", at("astray")).unwrap();
        let error = LockedFile::open(&at("astray")).unwrap_err();
        assert!(error.to_string().contains("nowhere/state.db: No such file"), "{error}");
    }

    #[test]
    fn file_and_folders_survive_a_loss_of_power_once_it_is_open() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("deep/er/state.db");
        let record = Record::of(base.path());
        LockedFile::open(&path).unwrap();
        let steps = record.end();
        steps.survivors(steps.len(), Kept::Synced);
        assert!(path.is_file());
    }

    #[test]
    fn a_file_that_vanished_or_was_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let file = LockedFile::open(&path).unwrap();
        assert_eq!(file.check_present(), Ok(()));
        fs::rename(&path, folder.path().join("aside")).unwrap();
        assert!(file.check_present().unwrap_err().contains("state.db"));
        fs::write(&path, "").unwrap();
        assert!(file.check_present().unwrap_err().contains("replaced"));
    }

    #[test]
    fn a_folder_in_place_of_a_file_is_named_as_it_was_given_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::create_dir(&path).unwrap();
        let given = path.join("../state.db");
        let error = LockedFile::open(&given).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot open {}", given.display())), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = LockedFile::open(&folder.path().join("file/state.db")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("file"), "{error}");
    }
}
