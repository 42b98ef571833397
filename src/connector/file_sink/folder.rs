//! The output folder: names of files in it, and the marker that says whose results they are.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::connector::RunIdentity;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;

const MARKER: &str = ".millpond.json";
const MARKER_DRAFT: &str = ".millpond.json.new";
const STAGING: &str = ".staging";
/// What staged and published files begin with.
const PART: &str = "part-";
/// What files begin with that belong to no checkpoint yet.
const OPEN: &str = "open-";

/// A place for results.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    extension: &'static str,
}

/// Who may write to the folder, as its marker says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    job: String,
    incarnation: u64,
}

/// The numbers in a file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) operator: String,
    pub(super) checkpoint: u64,
    pub(super) attempt: u64,
    pub(super) subtask: u32,
}

impl Part {
    /// `part-<operator>-<checkpoint>-<attempt>-<subtask>.<extension>`.
    pub(super) fn name(&self, extension: &str) -> String {
        let Self { operator, checkpoint, attempt, subtask } = self;
        format!("{PART}{operator}-{checkpoint}-{attempt}-{subtask}.{extension}")
    }

    /// The name of the `n`th file that the same writer opens.
    pub(super) fn open_name(&self, n: u64, extension: &str) -> String {
        let Self { operator, checkpoint: _, attempt, subtask } = self;
        format!("{OPEN}{operator}-{n}-{attempt}-{subtask}.{extension}")
    }

    /// The part that a file of this name is, open or staged or published; `None`: not one of ours.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(PART).or_else(|| name.strip_prefix(OPEN))?;
        let rest = rest.strip_suffix(".jsonl").or_else(|| rest.strip_suffix(".csv"))?;
        let mut numbers = rest.rsplitn(4, '-');
        let subtask = numbers.next()?.parse().ok()?;
        let attempt = numbers.next()?.parse().ok()?;
        let checkpoint = numbers.next()?.parse().ok()?;
        let operator = Name::new(numbers.next()?).ok()?.as_str().to_owned();
        Some(Self { operator, checkpoint, attempt, subtask })
    }
}

impl Folder {
    pub(super) fn at(root: PathBuf, extension: &'static str) -> Self {
        Self { root, extension }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn extension(&self) -> &'static str {
        self.extension
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join(STAGING)
    }

    pub(super) fn staged(&self, name: &str) -> PathBuf {
        self.staging().join(name)
    }

    pub(super) fn target(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Claims the folder for `run`, or says why not.
    pub(super) fn prepare(&self, run: &RunIdentity) -> Result<()> {
        let found = self.marker()?;
        let mine = Marker { job: run.job.as_str().to_owned(), incarnation: run.incarnation.0 };
        match (run.fresh, found) {
            (false, Some(marker)) if marker == mine => self.make_staging(),
            (false, found) => Err(self.results_missing(&mine, found.as_ref())),
            (true, found) => {
                let others = self.others(found.is_some())?;
                // Nothing of this incarnation is committed yet: what is there is another run's, even
                // if a lost head made the numbers begin again.
                if !others.is_empty() || found.as_ref().is_some_and(|m| *m != mine) {
                    if !run.replace {
                        return Err(self.occupied(&mine, found.as_ref(), &others));
                    }
                    self.remove_results(found.is_some_and(|m| m == mine))?;
                }
                self.make_root()?;
                self.write_marker(&mine)?;
                self.make_staging()
            }
        }
    }

    fn marker(&self) -> Result<Option<Marker>> {
        let path = self.root.join(MARKER);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                Error::new(ErrorKind::Corrupt, format!("cannot read {}: {e}", path.display()))
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    }

    /// What is in the folder besides marker and staging: with a marker, only results count.
    fn others(&self, marked: bool) -> Result<BTreeSet<String>> {
        let own = [MARKER, MARKER_DRAFT, STAGING];
        let mut names = names_in(&self.root)?;
        names.retain(|name| !own.contains(&name.as_str()));
        if marked {
            names.retain(|name| Part::parse(name).is_some());
        }
        Ok(names)
    }

    fn occupied(&self, mine: &Marker, found: Option<&Marker>, others: &BTreeSet<String>) -> Error {
        let folder = self.root.display();
        let some = others.first().map(String::as_str).unwrap_or_default();
        let held = match found {
            Some(Marker { job, incarnation }) if *job == mine.job => {
                format!("results of an earlier run of {job} (incarnation {incarnation})")
            }
            Some(Marker { job, .. }) => format!("results of the job {job}"),
            None => format!("{} other files, {some:?} among them", others.len()),
        };
        Error::usage(format!(
            "the output folder {folder} holds {held}: choose another one, or --replace to remove \
             earlier results (nothing else is removed)"
        ))
    }

    fn results_missing(&self, mine: &Marker, found: Option<&Marker>) -> Error {
        let folder = self.root.display();
        match found {
            Some(other) => Error::usage(format!(
                "the output folder {folder} holds results of {} (incarnation {}), but {} goes on \
                 with incarnation {}: name the folder it wrote to before, or start it with --fresh",
                other.job, other.incarnation, mine.job, mine.incarnation
            )),
            None => Error::new(
                ErrorKind::Io,
                format!(
                    "the output folder {folder} has vanished or lost its {MARKER}: results that \
                     {} has committed are not there; put them back, or start with --fresh",
                    mine.job
                ),
            ),
        }
    }

    /// Removes results of earlier runs, published ones too, and the marker: last, so that a crash on
    /// the way leaves a folder that is still recognised.
    fn remove_results(&self, keep_marker: bool) -> Result<()> {
        for folder in [&self.root, &self.staging()] {
            for name in names_in(folder)?.iter().filter(|name| Part::parse(name).is_some()) {
                remove(&folder.join(name))?;
            }
        }
        if keep_marker { Ok(()) } else { remove(&self.root.join(MARKER)) }
    }

    fn make_root(&self) -> Result<()> {
        fs::create_dir_all(&self.root).map_err(|e| Error::io("make the folder", &self.root, e))?;
        match self.root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
            _ => Ok(()),
        }
    }

    fn make_staging(&self) -> Result<()> {
        let staging = self.staging();
        match fs::create_dir(&staging) {
            Ok(()) => sync_folder(&self.root),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(Error::io("make the folder", &staging, e)),
        }
    }

    /// Writes the marker whole or not at all.
    fn write_marker(&self, marker: &Marker) -> Result<()> {
        let (draft, path) = (self.root.join(MARKER_DRAFT), self.root.join(MARKER));
        let text = serde_json::to_vec(marker)
            .map_err(|e| Error::internal(format!("a marker has no JSON form: {e}")))?;
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        write().map_err(|e| Error::io("write", &path, e))?;
        sync_folder(&self.root)
    }
}

/// The names in a folder; none where it does not exist.
pub(super) fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(e) => return Err(Error::io("read the folder", folder, e)),
    };
    entries
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(|e| Error::io("read the folder", folder, e))
}

/// Removes a file; it may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    // Only Unix can open a folder; elsewhere a rename is as durable as the file system makes it.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| Error::io("sync the folder", folder, e))?;
    }
    Ok(())
}
