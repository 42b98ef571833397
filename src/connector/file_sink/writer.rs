//! Stages one subtask's records: a file for each checkpoint, fsynced before it is acknowledged.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::{BoxFuture, LocalBoxFuture};
use serde::Serialize;

use super::committer::Owed;
use super::encode::FileFormat;
use super::folder::{Folder, Part};
use crate::connector::spool::{Spool, Target};
use crate::connector::{Committable, Writer, WriterContext};
use crate::disk::{self, NewFile};
use crate::error::{Error, Result};
use crate::ids::CheckpointId;

/// How many bytes are gathered before they are written.
const CHUNK: usize = 256 << 10;

/// A file that belongs to no checkpoint yet; made with its first byte.
pub(super) struct OpenFile {
    path: PathBuf,
    file: Option<NewFile>,
}

impl Target for OpenFile {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            // One of this name can only be left from a run whose head was lost.
            none => none.insert(NewFile::create(&self.path)?),
        };
        file.write(chunk)
    }
}

impl OpenFile {
    /// Makes the file durable under the name that a committable gives it.
    fn stage(&mut self, folder: &Folder, name: &str) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Err(Error::internal(format!("{name} is to be staged, but has no file")));
        };
        file.sync()?;
        let staged = folder.staged(name);
        disk::rename(&self.path, &staged).map_err(|e| Error::io("rename to", &staged, e))?;
        disk::sync_folder(&folder.staging())
    }
}

pub(super) struct FileWriter<F: FileFormat> {
    _format: F,
    folder: Arc<Folder>,
    context: WriterContext,
    /// The file under way, and what its format has to know of it; `None` before its first record.
    under_way: Option<(Spool<OpenFile>, F::File)>,
    chunk: Vec<u8>,
    /// How many files were opened before: open files of one writer have different names.
    opened: u64,
}

impl<F: FileFormat> FileWriter<F> {
    pub(super) fn new(format: F, folder: Arc<Folder>, context: WriterContext) -> Self {
        Self { _format: format, folder, context, under_way: None, chunk: Vec::new(), opened: 0 }
    }

    fn part(&self, checkpoint: CheckpointId) -> Part {
        Part {
            operator: self.context.operator.as_str().to_owned(),
            checkpoint: checkpoint.0,
            attempt: self.context.attempt.0,
            subtask: self.context.subtask.index,
        }
    }

    fn open(&mut self) -> Spool<OpenFile> {
        self.opened += 1;
        let name = self.part(CheckpointId::NONE).open_name(self.opened, self.folder.extension());
        let file = OpenFile { path: self.folder.staged(&name), file: None };
        Spool::new(file, self.context.io.clone())
    }
}

impl<T: Serialize, F: FileFormat> Writer<T> for FileWriter<F> {
    fn write(&mut self, batch: &mut Vec<T>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (spool, file) = match &mut self.under_way {
            Some(under_way) => under_way,
            None => {
                let spool = self.open();
                self.under_way.insert((spool, F::File::default()))
            }
        };
        F::append(file, batch, &mut self.chunk)?;
        batch.clear();
        if self.chunk.len() >= CHUNK {
            spool.push(std::mem::take(&mut self.chunk))?;
        }
        Ok(())
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        match &mut self.under_way {
            Some((spool, _)) => Box::pin(spool.ready()),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }

    fn snapshot(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let Some((mut spool, _)) = self.under_way.take() else {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        };
        let name = self.part(checkpoint).name(self.folder.extension());
        let folder = Arc::clone(&self.folder);
        let staged = spool.push(std::mem::take(&mut self.chunk)).map(|()| {
            spool.then(move |file| {
                file.stage(&folder, &name)?;
                Ok(vec![Owed::encode(folder.root(), name)?])
            })
        });
        match staged {
            Ok(future) => future,
            Err(e) => Box::pin(std::future::ready(Err(e))),
        }
    }
}
