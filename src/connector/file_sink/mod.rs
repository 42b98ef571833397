//! Files as a sink, exactly once: staged in `.staging`, published by a rename.
//!
//! ```text
//! write ─► .staging/open-…  ─ snapshot ─►  .staging/part-…  ─ commit ─►  part-…
//!                             fsync file,                      rename,
//!                             rename, fsync .staging           fsync folder
//! ```
//!
//! A name holds operator, checkpoint, attempt and subtask, so no two attempts ever share one.
//! `folder` owns names and who may claim a folder, `marker` what says whose results it holds, `writer` stages,
//! `committer` publishes and cleans, `encode` makes bytes of records, `header` tells those that are of other fields.
//!
//! Power loss: all that a checkpoint needs is fsynced, the file and its folders (those above the output
//! folder that had to be made, too), before the checkpoint is acknowledged, and a commit before it counts
//! as done. So output survives a power loss as far as the disk keeps what it has confirmed, and as far as
//! the store of the head does.

mod committer;
mod encode;
mod folder;
#[cfg(test)]
mod fuzz;
mod header;
mod marker;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use committer::FileCommitter;
#[cfg(feature = "test-kit")]
pub(crate) use committer::Owed as OwedFile;
pub use committer::committer_without_sink;
pub use encode::{AsCsv, FileFormat};
use folder::Folder;
use serde::Serialize;
use writer::FileWriter;

use super::stdout::AsJson;
use super::{Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext};
use crate::error::Result;
use crate::ids::Name;

/// Records in files of a folder, each record exactly once.
///
/// Each checkpoint gives at most one file a subtask, none where nothing was written:
/// `part-<operator>-<checkpoint>-<attempt>-<subtask>.jsonl` (or `.csv`). Files appear whole, after
/// the checkpoint is completed. The folder is made if it is missing. A folder that holds other files
/// is refused, unless the run says `--replace`, which removes results of earlier runs only.
pub struct FileSink<F> {
    folder: Arc<Folder>,
    format: F,
}

impl FileSink<AsJson> {
    /// One JSON value a line.
    #[must_use]
    pub fn json_lines(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::at(folder.into(), "jsonl")), format: AsJson }
    }

    /// One JSON value a line, in a folder that a run may begin to write to, or leave, at any checkpoint.
    pub(crate) fn joining(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::joined(folder.into(), "jsonl")), format: AsJson }
    }
}

impl FileSink<AsCsv> {
    /// CSV; each file begins with the names of the fields. All records of a file have the same, in the same order: one
    /// that is left out of some records (`skip_serializing_if`) is an error, where it would stand for another's.
    #[must_use]
    pub fn csv(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Arc::new(Folder::at(folder.into(), "csv")), format: AsCsv }
    }
}

impl<F: Clone> Clone for FileSink<F> {
    fn clone(&self) -> Self {
        Self { folder: Arc::clone(&self.folder), format: self.format.clone() }
    }
}

impl<F> fmt::Debug for FileSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSink({})", self.folder.root().display())
    }
}

impl<T: Serialize + 'static, F: FileFormat> Sink<T> for FileSink<F> {
    fn describe(&self) -> String {
        format!("{} files in {}", F::NAME, self.folder.root().display())
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn check(&self, run: &RunIdentity) -> Result<()> {
        self.folder.check(run)
    }

    fn prepare(&self, run: &RunIdentity) -> Result<()> {
        self.folder.prepare(run)
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(FileWriter::new(self.format.clone(), Arc::clone(&self.folder), context)))
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        Some(Box::new(FileCommitter::new(Arc::clone(&self.folder), operator.clone())))
    }
}
