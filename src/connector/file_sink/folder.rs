//! The output folder: names of files in it, and who may claim it. What a marker says is `marker`'s.
//!
//! Every attempt leaves a marker of its own, the highest attempt's counts, and an attempt's files
//! come after its marker. A claimant that was paused and overtaken may wake up anywhere in here, and
//! no check before a deletion can rule that out. So whatever is deleted is listed *first* and the
//! markers are read *after* that: what a successor wrote is in the list only if its marker is there,
//! and then nothing is deleted. What was listed before a successor came is not the successor's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::marker::Marker;
use crate::connector::RunIdentity;
use crate::connector::seen_from::seen_from;
use crate::disk::{self, NewFile};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;

/// The folder of the markers, in the output folder.
const MARKERS: &str = ".millpond";
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
    /// A run that goes on from a checkpoint may be the first to write here.
    joins: bool,
    /// What the last successful [`Folder::prepare`] wrote.
    mine: Mutex<Option<Marker>>,
    /// What [`Folder::check`] found, before anything was claimed.
    before_claim: Mutex<Vec<Marker>>,
    /// The job that asked last.
    job: Mutex<Option<Name>>,
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
        Self {
            root,
            extension,
            joins: false,
            mine: Mutex::default(),
            before_claim: Mutex::default(),
            job: Mutex::default(),
        }
    }

    /// A folder that a run may begin to write to at any checkpoint.
    pub(super) fn joined(root: PathBuf, extension: &'static str) -> Self {
        Self { joins: true, ..Self::at(root, extension) }
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

    /// Says why [`Folder::prepare`] would not claim the folder for `run`, if it would not.
    pub(super) fn check(&self, run: &RunIdentity) -> Result<()> {
        self.may_be_folder()?;
        // One that goes on is of the attempts that left them: a later one's tells that its state was put back.
        *locked(&self.before_claim) = if run.fresh { self.markers()? } else { Vec::new() };
        *locked(&self.job) = Some(run.job.clone());
        self.look(&Marker::of(run), run).map(drop)
    }

    /// Committables have the folder's whole path as text, and a place that is no folder holds no files.
    fn may_be_folder(&self) -> Result<()> {
        let whole = std::path::absolute(&self.root)
            .map_err(|e| Error::io("find the folder", &self.root, e))?;
        if whole.to_str().is_none() {
            return Err(Error::usage(format!(
                "the path {whole:?} of the output is not UTF-8, so no checkpoint could say where results \
                 are: choose another one, or rename what is not"
            )));
        }
        if self.root.exists() && !self.root.is_dir() {
            let message = format!(
                "the output {} is no folder (Not a directory): choose another one",
                self.root.display()
            );
            return Err(Error::new(ErrorKind::Io, message));
        }
        Ok(())
    }

    /// The markers that are there, and the files that must go before `run` may claim the folder.
    fn look(&self, mine: &Marker, run: &RunIdentity) -> Result<(Vec<Marker>, Option<Results>)> {
        self.may_be_folder()?;
        // Before the markers: see the module.
        let results = self.results()?;
        let found = self.markers()?;
        self.not_overtaken(mine, &found)?;
        let last = found.last();
        // Not of a successor, and of a later attempt: of a state that is gone.
        let beyond = found.iter().any(|m| mine.is_before(m));
        let same_run = last.is_some_and(|m| m.same_run(mine));
        if run.fresh || ((self.joins || run.added) && !same_run) {
            let others = if last.is_some() { results.published.clone() } else { self.all_names()? };
            // Nothing of this incarnation is committed here yet: what is there is another run's, even
            // if a lost head made the numbers begin again.
            if !others.is_empty() || beyond || (last.is_some() && !same_run) {
                if !run.replace {
                    return Err(self.occupied(mine, last, &others));
                }
                return Ok((found, Some(results)));
            }
            // What attempts of this incarnation staged, by whatever sinks: no checkpoint of it names them.
            return Ok((found, same_run.then(|| results.staged_before(mine.attempt))));
        } else if !same_run {
            return Err(self.results_missing(mine, last));
        }
        Ok((found, None))
    }

    /// Claims the folder for `run`, or says why not.
    pub(super) fn prepare(&self, run: &RunIdentity) -> Result<()> {
        let mut mine = Marker::of(run);
        *locked(&self.job) = Some(run.job.clone());
        let (found, others) = self.look(&mine, run)?;
        mine.follow(&found);
        if let Some(others) = others {
            others.remove(self)?;
        }
        // This syncs the folder, too: what was removed from it does not come back.
        disk::make_folders(&self.markers_folder())?;
        // Where the run has been here before, it is there, or `clean` makes it, which knows what should be in it.
        if run.fresh || !found.last().is_some_and(|m| m.same_run(&mine)) {
            self.make_staging()?;
        }
        self.write_marker(&mine)?;
        // Last, so that a crash on the way leaves a folder that is still recognised.
        for old in found.iter().filter(|m| m.attempt != mine.attempt) {
            disk::remove(&self.markers_folder().join(old.name()))?;
        }
        disk::sync_folder(&self.markers_folder())?;
        *self.mine() = Some(mine);
        Ok(())
    }

    /// Whether `other` belongs to another job than the one that writes here, as far as that is known.
    pub(super) fn lost_to_another_job(&self, other: &Self) -> Result<bool> {
        let job = locked(&self.job).clone();
        let last = other.markers()?.pop();
        Ok(job.zip(last).is_some_and(|(job, last)| job.as_str() != last.job))
    }

    /// Whether `attempt` staged its files here, as far as markers tell: those that this run found when it
    /// claimed the folder, or that are there where it has not.
    pub(super) fn had(&self, attempt: u64) -> Result<bool> {
        if let Some(mine) = &*self.mine() {
            return Ok(mine.covers(attempt));
        }
        Ok(self.markers()?.iter().any(|marker| marker.covers(attempt)))
    }

    /// Whether this run has claimed the folder.
    pub(super) fn is_prepared(&self) -> bool {
        self.mine().is_some()
    }

    /// Fails where a later attempt, or another job, has claimed the folder since this run did.
    pub(super) fn confirm(&self) -> Result<()> {
        let Some(mine) = self.mine().clone() else { return Ok(()) };
        let found = self.markers()?;
        self.not_overtaken(&mine, &found)?;
        if found.contains(&mine) {
            return Ok(());
        }
        let folder = self.root.display();
        Err(match found.last() {
            Some(other) => Error::new(
                ErrorKind::Fenced,
                format!("the output folder {folder} has been taken over by {}", other.job),
            ),
            None => vanished(&self.root, &mine.job),
        })
    }

    /// Fails where a successor of `mine` has left a marker. What was there before `mine` was claimed is of
    /// none: attempts of one state are claimed in their order.
    fn not_overtaken(&self, mine: &Marker, found: &[Marker]) -> Result<()> {
        let before = locked(&self.before_claim);
        let later = found.iter().rev().find(|m| mine.is_before(m) && !before.contains(m));
        let Some(later) = later else { return Ok(()) };
        Err(Error::new(
            ErrorKind::Fenced,
            format!(
                "the output folder {} belongs to attempt {} of {}, this is attempt {}: it was \
                 overtaken and leaves everything as it is (where the job's state was put back to an \
                 older one on purpose, start it with --fresh --replace)",
                self.root.display(),
                later.attempt,
                later.job,
                mine.attempt
            ),
        ))
    }

    fn mine(&self) -> MutexGuard<'_, Option<Marker>> {
        locked(&self.mine)
    }

    fn markers_folder(&self) -> PathBuf {
        self.root.join(MARKERS)
    }

    /// All markers, lowest attempt first.
    fn markers(&self) -> Result<Vec<Marker>> {
        loop {
            if let Some(mut found) = self.listed_markers()? {
                found.sort_by_key(|marker| marker.attempt);
                return Ok(found);
            }
        }
    }

    /// `None`: one has gone since it was listed, so a later attempt's may have come.
    fn listed_markers(&self) -> Result<Option<Vec<Marker>>> {
        let folder = self.markers_folder();
        let mut found = Vec::new();
        for name in names_in(&folder)?.iter().filter(|name| name.ends_with(".json")) {
            let path = folder.join(name);
            match fs::read(&path) {
                Ok(bytes) => found.push(serde_json::from_slice(&bytes).map_err(|e| {
                    Error::new(ErrorKind::Corrupt, format!("cannot read {}: {e}", path.display()))
                })?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(Error::io("read", &path, e)),
            }
        }
        Ok(Some(found))
    }

    /// Results of any run that are there now, staged and published.
    pub(super) fn results(&self) -> Result<Results> {
        let of = |folder: &Path| -> Result<BTreeSet<String>> {
            let mut names = names_in(folder)?;
            names.retain(|name| Part::parse(name).is_some());
            Ok(names)
        };
        Ok(Results { staged: of(&self.staging())?, published: of(&self.root)? })
    }

    /// What is in a folder that nobody has claimed.
    fn all_names(&self) -> Result<BTreeSet<String>> {
        let mut names = names_in(&self.root)?;
        names.retain(|name| ![MARKERS, STAGING].contains(&name.as_str()));
        Ok(names)
    }

    fn occupied(&self, mine: &Marker, found: Option<&Marker>, others: &BTreeSet<String>) -> Error {
        let folder = self.root.display();
        let some = others.first().map(String::as_str).unwrap_or_default();
        let held = match found {
            Some(other) if mine.is_before(other) => format!(
                "results of an earlier run of {}, whose state is gone (it got to attempt {}, this is \
                 attempt {})",
                other.job, other.attempt, mine.attempt
            ),
            Some(Marker { job, incarnation, .. }) if *job == mine.job => {
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
            None => vanished(&self.root, &mine.job),
        }
    }

    pub(super) fn make_staging(&self) -> Result<()> {
        disk::make_folders(&self.staging())
    }

    /// For output that is owed and was in the staging folder, which is gone.
    pub(super) fn staging_lost(&self) -> Error {
        Error::new(
            ErrorKind::Lost,
            format!(
                "output is lost: the folder {} is gone{}, and with it what was staged and is owed; put it \
                 back, or give that output up with --fresh --abandon-output",
                self.staging().display(),
                seen_from(&self.root)
            ),
        )
    }

    /// Writes the marker whole or not at all.
    fn write_marker(&self, marker: &Marker) -> Result<()> {
        let path = self.markers_folder().join(marker.name());
        let draft = path.with_extension("new");
        let text = serde_json::to_vec(marker)
            .map_err(|e| Error::internal(format!("a marker has no JSON form: {e}")))?;
        let mut file = NewFile::create(&draft)?;
        file.write(&text)?;
        file.sync()?;
        disk::rename(&draft, &path).map_err(|e| Error::io("write", &path, e))?;
        disk::sync_folder(&self.markers_folder())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Results that were found.
#[derive(Debug)]
pub(super) struct Results {
    staged: BTreeSet<String>,
    published: BTreeSet<String>,
}

impl Results {
    /// Those that attempts below `attempt` staged.
    fn staged_before(mut self, attempt: u64) -> Self {
        self.staged.retain(|name| Part::parse(name).is_some_and(|part| part.attempt < attempt));
        Self { staged: self.staged, published: BTreeSet::new() }
    }

    /// Removes exactly these.
    pub(super) fn remove(&self, folder: &Folder) -> Result<()> {
        let staged = self.staged.iter().map(|name| folder.staged(name));
        staged
            .chain(self.published.iter().map(|name| folder.target(name)))
            .try_for_each(|path| disk::remove(&path))
    }
}

fn vanished(root: &Path, job: &str) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "the output folder {} has vanished or lost its {MARKERS}{}: results that {job} has \
             committed are not there; put them back, leave --output out if it wrote to standard output \
             until now, or start with --fresh",
            root.display(),
            seen_from(root)
        ),
    )
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
