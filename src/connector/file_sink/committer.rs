//! Publishes staged files by renaming them, and removes what nothing names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;

use super::folder::{Folder, Part, names_in, remove, sync_folder};
use crate::connector::{CommitOutcome, Committable, Committer, split_bytes};
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

    /// Renames one file. A rename is whole or not at all, so the answer is always clear: the file is
    /// staged, or published, or lost.
    fn publish(&self, name: &str) -> Result<CommitOutcome> {
        let (staged, target) = (self.folder.staged(name), self.folder.target(name));
        points::hit(points::BEFORE_SINK_RENAMED);
        let error = match fs::rename(&staged, &target) {
            Ok(()) => {
                points::hit(points::AFTER_SINK_RENAMED);
                return Ok(CommitOutcome::Committed);
            }
            Err(e) => e,
        };
        let exists =
            |path: &std::path::Path| fs::exists(path).map_err(|e| Error::io("look for", path, e));
        if error.kind() != io::ErrorKind::NotFound || exists(&staged)? {
            return Err(Error::io("publish output as", &target, error));
        }
        if exists(&target)? {
            return Ok(CommitOutcome::AlreadyCommitted);
        }
        let (staged, target) = (staged.display(), target.display());
        Err(Error::new(
            ErrorKind::Io,
            format!(
                "output is lost: neither the staged {staged} nor the published {target} exists; if \
                 the last run wrote to another folder, give that one by --output, and if that is \
                 gone for good, start under another --name"
            ),
        ))
    }
}

fn name_of(committable: &Committable) -> Result<String> {
    let name: String = split_bytes::decode(&committable.0)?;
    match Part::parse(&name) {
        Some(_) => Ok(name),
        None => Err(Error::new(ErrorKind::Corrupt, format!("{name:?} is no name of a result"))),
    }
}

impl Committer for FileCommitter {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        let mut outcomes = Vec::new();
        for committable in committables {
            outcomes.push(self.publish(&name_of(committable)?)?);
        }
        // Also where all were published before: whoever did may have died before this.
        if !outcomes.is_empty() {
            sync_folder(self.folder.root())?;
        }
        Ok(outcomes)
    }

    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        let named = named.iter().map(name_of).collect::<Result<BTreeSet<_>>>()?;
        for name in names_in(&self.folder.staging())? {
            let Some(part) = Part::parse(&name) else { continue };
            // Of this attempt or a later one nothing is removed: should this be a claimant that was
            // overtaken, the files are another's.
            let mine = part.operator == self.operator.as_str() && part.attempt < attempt.0;
            if mine && !named.contains(&name) {
                remove(&self.folder.staged(&name))?;
            }
        }
        Ok(())
    }
}
