//! Lines of files or of standard input, whichever the command line names.

use super::file::{FileSource, Lines};
use super::stdin::StdinSource;
use super::{Reader, ReaderContext, Source, SplitState};
use crate::error::Result;

/// A source of text lines.
#[derive(Clone, Debug)]
pub enum LineSource {
    /// Lines of files.
    Files(FileSource<Lines>),
    /// Lines of standard input, which cannot be replayed.
    Stdin(StdinSource),
}

impl LineSource {
    fn source(&self) -> &dyn Source<Item = String> {
        match self {
            Self::Files(files) => files,
            Self::Stdin(stdin) => stdin,
        }
    }
}

impl Source for LineSource {
    type Item = String;

    fn describe(&self) -> String {
        self.source().describe()
    }

    fn replayable(&self) -> bool {
        self.source().replayable()
    }

    fn bounded(&self) -> bool {
        self.source().bounded()
    }

    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>> {
        self.source().discover(parallelism)
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        self.source().check(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<String>>> {
        self.source().reader(splits, context)
    }
}
