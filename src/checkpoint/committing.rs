//! Committing: what sinks staged becomes visible, after the head has moved and never before.
//!
//! Owns the trait by which sinks are reached and the retries. Does not own what is owed: that is in
//! the manifests and in the coordinator.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::messages::{Committable, Owed};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::Name;

/// How one committable ended. Flink: `CommitRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Published now.
    Committed,
    /// It was published before.
    AlreadyCommitted,
    /// Try again later; the text says why.
    Retry(String),
}

/// Publishes for any sink of the job; `runtime` makes it of the sinks' own committers.
///
/// # Contract
/// Committing twice is the same as committing once: after a restart everything that the manifest
/// names is committed again.
pub trait SinkCommitter: fmt::Debug + Send + Sync + 'static {
    /// Publishes; the outcomes are in the order of `committables`. An error ends the attempt.
    fn commit(
        &self,
        sink: &Name,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<Vec<CommitOutcome>>>;
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Publishes `committables` of one sink and ends when all are acknowledged. What is to be tried again
/// is, after a growing pause, until the future is dropped.
pub(super) async fn commit_all(
    committer: Arc<dyn SinkCommitter>,
    clock: Clock,
    sink: Name,
    mut committables: Vec<Committable>,
) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let outcomes = committer
            .commit(&sink, committables.clone())
            .await
            .map_err(|e| e.at(format!("sink {sink}")))?;
        if outcomes.len() != committables.len() {
            return Err(Error::internal(format!(
                "{} outcomes for {} committables",
                outcomes.len(),
                committables.len()
            ))
            .at(format!("sink {sink}")));
        }
        let mut outcomes = outcomes.into_iter();
        let mut reason = None;
        committables.retain(|_| match outcomes.next() {
            Some(CommitOutcome::Retry(why)) => {
                reason = Some(why);
                true
            }
            _ => false,
        });
        let Some(reason) = reason else { return Ok(()) };
        tracing::warn!(%sink, left = committables.len(), %reason, "will commit again");
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Publishes all that a manifest owes, sink by sink.
pub(super) async fn commit_owed(
    committer: &Arc<dyn SinkCommitter>,
    clock: Clock,
    owed: &[Owed],
) -> Result<()> {
    for (sink, committables) in by_sink(owed) {
        commit_all(Arc::clone(committer), clock, sink, committables).await?;
    }
    Ok(())
}

/// `owed` by sink, each sink's in their order.
pub(super) fn by_sink(owed: &[Owed]) -> BTreeMap<Name, Vec<Committable>> {
    let mut sinks: BTreeMap<Name, Vec<Committable>> = BTreeMap::new();
    for one in owed {
        sinks.entry(one.sink.clone()).or_default().push(one.committable.clone());
    }
    sinks
}
