//! Committing: what sinks staged becomes visible, after the head has moved and never before.
//!
//! Owns the trait by which sinks are reached and the retries. Does not own what is owed: that is in
//! the manifests and in the coordinator.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::messages::Owed;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::handover::{CommitOutcome, Committable};
use crate::ids::Name;

/// What is done about output that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnLost {
    /// An error.
    Fail,
    /// It is logged and owed no more: the user has said so.
    GiveUp,
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
/// is, after a growing pause, until the future is dropped. What is lost is reported last, so that it keeps
/// nothing else from being published.
pub(super) async fn commit_all(
    committer: Arc<dyn SinkCommitter>,
    clock: Clock,
    sink: Name,
    mut committables: Vec<Committable>,
    on_lost: OnLost,
) -> Result<()> {
    let mut lost = Vec::new();
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
            Some(CommitOutcome::Lost(why)) => {
                lost.push(why);
                false
            }
            Some(CommitOutcome::Committed | CommitOutcome::AlreadyCommitted) | None => false,
        });
        let Some(reason) = reason else { return settle(&sink, &lost, on_lost) };
        tracing::warn!(%sink, left = committables.len(), %reason, "will commit again");
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn settle(sink: &Name, lost: &[String], on_lost: OnLost) -> Result<()> {
    match (lost, on_lost) {
        ([], _) => Ok(()),
        ([first, more @ ..], OnLost::Fail) => {
            let more = if more.is_empty() { "" } else { ", among others" };
            let message = format!(
                "output is lost: {first}{more}; put it back, or give it up with --fresh \
                 --abandon-output"
            );
            Err(Error::new(ErrorKind::Lost, message).at(format!("sink {sink}")))
        }
        (lost, OnLost::GiveUp) => {
            for what in lost {
                tracing::warn!("sink {sink}: output is given up: {what}");
            }
            Ok(())
        }
    }
}

/// Publishes all that a manifest owes, sink by sink.
pub(super) async fn commit_owed(
    committer: &Arc<dyn SinkCommitter>,
    clock: Clock,
    owed: &[Owed],
    on_lost: OnLost,
) -> Result<()> {
    for (sink, committables) in by_sink(owed) {
        commit_all(Arc::clone(committer), clock, sink, committables, on_lost).await?;
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
