//! Publishes staged files by renaming them, and removes what nothing names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, Part, names_in};
use crate::connector::{CommitOutcome, Committable, Committer, split_bytes};
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, Name};
use crate::points;

#[derive(Debug)]
pub(super) struct FileCommitter {
    folder: Arc<Folder>,
    operator: Name,
}

impl FileCommitter {
    pub(super) fn new(folder: Arc<Folder>, operator: Name) -> Self {
        Self { folder, operator }
    }

    /// Publishes here, where the folder may have come by being moved or copied; or else in the folder that the
    /// committable was staged in, which is another one where `--fresh` commits what the last run owes.
    fn publish(&self, owed: &Owed) -> Result<(CommitOutcome, Option<PathBuf>)> {
        let staged_in = Folder::at(owed.folder.clone(), self.folder.extension());
        // Before it is claimed, the folder may be anybody's, with a file of the same name.
        let claimed = self.folder.is_prepared().then_some(&*self.folder);
        // What a copy was made of may be there still, and is to stay as it is.
        if let Some(done) = claimed.map(|folder| settled(folder, &owed.name)).transpose()?.flatten()
        {
            return Ok(done);
        }
        // It was moved away, or `--replace` has removed what was there.
        let anothers = self.folder.lost_to_another_job(&staged_in)?;
        let there = (!anothers).then_some(&staged_in);
        if let Some(done) = there.map(|folder| settled(folder, &owed.name)).transpose()?.flatten() {
            return Ok(done);
        }
        // Only of a folder where it was staged does its absence tell anything.
        for folder in claimed.into_iter().chain(there) {
            if folder.had(owed.attempt()?)? && is_published(folder, &owed.name)? {
                return Ok((CommitOutcome::AlreadyCommitted, Some(folder.root().to_owned())));
            }
        }
        let (staged, target) = (staged_in.staged(&owed.name), staged_in.target(&owed.name));
        let (staged, target) = (staged.display(), target.display());
        let what = if anothers {
            let folder = owed.folder.display();
            format!("{} was staged in {folder}, which belongs to another job by now", owed.name)
        } else {
            format!("neither the staged {staged} nor the published {target} exists")
        };
        Ok((CommitOutcome::Lost(what), None))
    }
}

/// Publishes one file, or finds it published; `None`: it is neither here.
fn settled(folder: &Folder, name: &str) -> Result<Option<(CommitOutcome, Option<PathBuf>)>> {
    let outcome = if publish(folder, name)? {
        CommitOutcome::Committed
    } else if exists(&folder.target(name))? {
        CommitOutcome::AlreadyCommitted
    } else {
        return Ok(None);
    };
    Ok(Some((outcome, Some(folder.root().to_owned()))))
}

/// Renames one file; false: it is not staged here. A rename is whole or not at all.
fn publish(folder: &Folder, name: &str) -> Result<bool> {
    let (staged, target) = (folder.staged(name), folder.target(name));
    points::hit(points::BEFORE_SINK_RENAMED);
    let error = match disk::rename(&staged, &target) {
        Ok(()) => {
            points::hit(points::AFTER_SINK_RENAMED);
            return Ok(true);
        }
        Err(e) => e,
    };
    if error.kind() != io::ErrorKind::NotFound || exists(&staged)? {
        return Err(Error::io("publish output as", &target, error));
    }
    Ok(false)
}

/// Whether a file that was staged here, and is not any more, was published. Only a commit takes one out of
/// the staging folder that a manifest names; whoever reads the output may have moved it away since. Where that
/// folder is gone, the staged file may have gone with it, so the published one must be there.
fn is_published(folder: &Folder, name: &str) -> Result<bool> {
    Ok(exists(&folder.staging())? || exists(&folder.target(name))?)
}

fn exists(path: &Path) -> Result<bool> {
    fs::exists(path).map_err(|e| Error::io("look for", path, e))
}

/// What a committable of a file is: where it was staged, and its name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Owed {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
}

impl Owed {
    pub(crate) fn encode(folder: &Path, name: String) -> Result<Committable> {
        let folder =
            std::path::absolute(folder).map_err(|e| Error::io("find the folder", folder, e))?;
        Ok(Committable(split_bytes::encode(&Self { folder, name })?))
    }

    pub(crate) fn decode(committable: &Committable) -> Result<Self> {
        let owed: Self = split_bytes::decode(&committable.0)?;
        owed.attempt().map(|_| owed)
    }

    /// The attempt that staged it.
    fn attempt(&self) -> Result<u64> {
        Part::parse(&self.name).map(|part| part.attempt).ok_or_else(|| {
            let message = format!("{:?} is no name of a result", self.name);
            Error::new(ErrorKind::Corrupt, message)
        })
    }
}

impl Committer for FileCommitter {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        self.folder.confirm()?;
        let (mut outcomes, mut folders) = (Vec::new(), BTreeSet::new());
        for committable in committables {
            let (outcome, folder) = self.publish(&Owed::decode(committable)?)?;
            outcomes.push(outcome);
            folders.extend(folder);
        }
        // Also where all were published before: whoever did may have died before this.
        folders.iter().try_for_each(|folder| disk::sync_folder(folder))?;
        Ok(outcomes)
    }

    /// Safe whenever it runs, a paused and overtaken claimant's included: an attempt below `attempt`
    /// lost the head before `named` was read, so what it staged and `named` lacks is in no manifest
    /// that a head names then or ever after. (A later manifest takes over what this one owes, and adds
    /// only what its own attempt staged.) Asking the markers besides is a courtesy.
    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        let named =
            named.iter().map(|c| Ok(Owed::decode(c)?.name)).collect::<Result<BTreeSet<_>>>()?;
        if !exists(&self.folder.staging())? {
            // Not before it is known what was in it: once it is there again, what is not staged counts as
            // published.
            let published = named.iter().map(|name| is_published(&self.folder, name));
            if published.collect::<Result<Vec<_>>>()?.contains(&false) {
                return Err(self.folder.staging_lost());
            }
            self.folder.make_staging()?;
        }
        let found = names_in(&self.folder.staging())?;
        self.folder.confirm()?;
        for name in found {
            let Some(part) = Part::parse(&name) else { continue };
            let mine = part.operator == self.operator.as_str() && part.attempt < attempt.0;
            if mine && !named.contains(&name) {
                disk::remove(&self.folder.staged(&name))?;
            }
        }
        Ok(())
    }
}

/// Publishes what file sinks called `operator` have staged, in the folders where that was, for a job
/// without such a sink: another graph that starts afresh, or one that writes to standard output now.
/// What is of another kind is lost.
#[must_use]
pub fn committer_without_sink(operator: &Name) -> Box<dyn Committer> {
    // Never claimed, so nothing is looked for or cleaned in it.
    let folder = Arc::new(Folder::at(PathBuf::new(), ""));
    Box::new(WithoutSink(FileCommitter::new(folder, operator.clone())))
}

#[derive(Debug)]
struct WithoutSink(FileCommitter);

impl Committer for WithoutSink {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        let mut outcomes = Vec::new();
        for committable in committables {
            if Owed::decode(committable).is_ok() {
                outcomes.append(&mut self.0.commit(std::slice::from_ref(committable))?);
            } else {
                let sink = &self.0.operator;
                let what = format!("it is not of a file sink, and the job has no sink {sink} now");
                outcomes.push(CommitOutcome::Lost(what));
            }
        }
        Ok(outcomes)
    }

    fn clean(&self, _attempt: Attempt, _named: &[Committable]) -> Result<()> {
        Ok(())
    }
}
