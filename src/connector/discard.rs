//! A sink that counts and drops, for benchmarks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;

use super::{Committable, Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext};
use crate::error::Result;
use crate::ids::{CheckpointId, Name};

/// Drops every record; clones share one counter.
#[derive(Clone, Debug, Default)]
pub struct DiscardSink(Arc<AtomicU64>);

impl DiscardSink {
    /// A counter at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records were dropped, those replayed after a restart included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: 'static> Sink<T> for DiscardSink {
    fn describe(&self) -> String {
        "discarded, only counted".to_owned()
    }

    /// At least once: the counter sees replayed records again.
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn prepare(&self, _run: &RunIdentity) -> Result<()> {
        Ok(())
    }

    fn writer(&self, _context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(self.clone()))
    }

    fn committer(&self, _operator: &Name) -> Option<Box<dyn Committer>> {
        None
    }
}

impl<T> Writer<T> for DiscardSink {
    fn write(&mut self, batch: &mut Vec<T>) -> Result<()> {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.clear();
        Ok(())
    }

    fn snapshot(&mut self, _: CheckpointId) -> BoxFuture<'static, Result<Vec<Committable>>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing;

    #[test]
    fn clones_share_the_count() {
        let sink = DiscardSink::new();
        for subtask in 0..2 {
            let mut writer = Sink::writer(&sink, testing::writer_context(1, subtask)).unwrap();
            writer.write(&mut vec![1, 2, 3]).unwrap();
        }
        assert_eq!(sink.count(), 6);
    }
}
