//! Writes of items under rule V: up to 25 a request, fewer of large ones, each with its own outcome.
//!
//! ```text
//!                 no item there                     an item of another version there
//! Possible ─► UPDATE … AND c < ? ──────► INSERT ──DuplicateItem──► PutItem IF c < :c
//! Absent  ──► INSERT ──DuplicateItem──► UPDATE … AND c < ? ──no item shown──► PutItem IF c < :c
//! ```
//!
//! Owns the routes; the words of a statement are `statement`'s, puts are `whole`'s, which also has all
//! that is larger than an item. A failed condition that shows the item decides at once: done, or fenced.
//! A throttled statement goes the same way again. Where there is no PartiQL, or it is not allowed, there are
//! `PutItem`s.

use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementError;
use aws_sdk_dynamodb::types::{
    BatchStatementError, BatchStatementResponse, ReturnConsumedCapacity,
};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::{Caller, Refusal};
use super::item::{self, PARTS, VERSION};
use super::meter::{self, Purpose};
use super::pace::{Ask, Lane, Rank, Size};
use super::parts::Row;
use super::portion::{Portion, REQUEST_BYTES};
use super::retry::{ALLOWED, Failure, Trouble, Verdict, judge};
use super::send::Errand;
use super::statement::statement;
use super::whole;
use crate::error::Result;
use crate::state::{Presence, WriteOutcome};
use crate::teeth::{Tooth, bites};

/// DynamoDB's limit for a `BatchExecuteStatement`.
const STATEMENTS: usize = 25;
/// Requests of one call under way at a time: enough to hide a round trip to AWS of some ms behind the
/// work of others, few enough not to be throttled for the number of connections.
pub(super) const IN_FLIGHT: usize = 8;

/// One write, prepared.
#[derive(Debug)]
pub(super) struct Write {
    /// Where its outcome belongs in the answer.
    pub(super) index: usize,
    pub(super) pk: String,
    /// Where the first part stands.
    pub(super) sort_key: Bytes,
    /// The first part.
    pub(super) row: Row,
    /// The others, in their order.
    pub(super) others: Vec<Row>,
    /// When DynamoDB may delete what is left of parts that are not needed any more.
    pub(super) parts_ttl: u64,
    /// Of how many parts the item was that is there, as far as that was shown.
    pub(super) parts_there: u32,
    pub(super) route: Route,
}

impl Write {
    /// About how many bytes its statement has.
    fn bytes(&self) -> usize {
        let value = self.row.value.as_ref().map_or(12, Bytes::len);
        ATTRIBUTE_BYTES + self.pk.len() + self.sort_key.len() + value
    }

    /// About what it costs.
    fn units(&self) -> f64 {
        meter::write_units_of(self.bytes())
    }

    /// Whose it is, for the meter.
    pub(super) fn owner(&self) -> &str {
        meter::owner_of(&self.pk).unwrap_or_default()
    }
}

/// Names of attributes, and the version.
const ATTRIBUTE_BYTES: usize = 6 + 9;

/// The next request of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `UPDATE`, where an item may be there; `last` after an `INSERT` has failed.
    Update { last: bool },
    /// `INSERT`, where none may be there; `last` after an `UPDATE` has failed.
    Insert { last: bool },
    /// A conditional `PutItem`, which always decides.
    Put,
}

impl From<Presence> for Route {
    fn from(presence: Presence) -> Self {
        match presence {
            Presence::Absent => Self::Insert { last: false },
            Presence::Possible => Self::Update { last: false },
        }
    }
}

impl Route {
    /// The way after this one's condition has failed without showing why.
    fn next(self) -> Self {
        match self {
            Self::Update { last: false } => Self::Insert { last: true },
            Self::Insert { last: false } => Self::Update { last: true },
            Self::Update { last: true } | Self::Insert { last: true } | Self::Put => Self::Put,
        }
    }
}

/// What became of a statement.
enum Step {
    Settled(WriteOutcome),
    /// To be sent again, by the same way or another.
    Again,
    /// Refused for now: the same way again, after a while.
    Later(Failure),
}

/// Writes all of `writes`, `IN_FLIGHT` requests at a time; outcomes with their indexes.
pub(super) async fn write_all(
    caller: &Caller,
    writes: Vec<Write>,
) -> Result<Vec<(usize, WriteOutcome)>> {
    let mut chunks = Vec::with_capacity(writes.len().div_ceil(STATEMENTS));
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(next) = writes.peek() {
            // What is put is a request of its own.
            let more = if next.route == Route::Put { 0 } else { next.bytes() };
            if chunk.len() == STATEMENTS || (bytes + more > REQUEST_BYTES && !chunk.is_empty()) {
                break;
            }
            bytes += more;
            chunk.extend(writes.next());
        }
        chunks.push(chunk);
    }
    let outcomes: Vec<Vec<_>> = stream::iter(chunks)
        .map(|chunk| write_chunk(caller, chunk))
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(outcomes.into_iter().flatten().collect())
}

/// Writes at most [`STATEMENTS`].
async fn write_chunk(
    caller: &Caller,
    mut pending: Vec<Write>,
) -> Result<Vec<(usize, WriteOutcome)>> {
    let mut outcomes = Vec::with_capacity(pending.len());
    let mut portion = Portion::new(0);
    let mut retries = caller.retries(Rank::Materialise);
    while !pending.is_empty() {
        if !caller.has_partiql() {
            pending.iter_mut().for_each(|write| write.route = Route::Put);
        }
        let (puts, mut batch): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|write| write.route == Route::Put);
        let put = |write: Write| async move {
            Ok::<_, crate::Error>((write.index, whole::put(caller, &write).await?))
        };
        outcomes.extend(
            stream::iter(puts).map(put).buffer_unordered(IN_FLIGHT).try_collect::<Vec<_>>().await?,
        );
        let later = batch.split_off(portion.of(batch.len()).min(batch.len()));
        let asked = batch.len();
        let (settled, again, throttled) = run_batch(caller, batch).await?;
        outcomes.extend(settled);
        pending = again;
        pending.extend(later);
        match throttled {
            Some(failure) => {
                if matches!(retries.judge(judge(&failure)), Verdict::Final(_)) {
                    return Err(failure.to_error("BatchExecuteStatement", caller.place()));
                }
                portion.failed(asked, &failure);
                retries.wait(&failure).await;
            }
            // Whatever has failed before, this one has not.
            None => {
                portion.answered(asked, 0);
                retries = caller.retries(Rank::Materialise);
            }
        }
    }
    Ok(outcomes)
}

type BatchResult = (Vec<(usize, WriteOutcome)>, Vec<Write>, Option<Failure>);

/// Runs one batch of statements: what is settled, what is to be sent again, and whether to wait first.
async fn run_batch(caller: &Caller, batch: Vec<Write>) -> Result<BatchResult> {
    if batch.is_empty() {
        return Ok((Vec::new(), batch, None));
    }
    let statements = batch.iter().map(|write| statement(caller.table(), write));
    let statements = statements.collect::<Result<Vec<_>>>()?;
    let send = || {
        caller
            .client()
            .batch_execute_statement()
            .set_statements(Some(statements))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let whole: f64 = batch.iter().map(Write::units).sum();
    let ask = Ask {
        lane: Lane::Write,
        purpose: Purpose::Materialise,
        rank: Rank::Materialise,
        size: Size::Units(whole),
    };
    let pks: Vec<&str> = batch.iter().map(|write| write.pk.as_str()).collect();
    let mut answered = match caller.try_send(Errand { ask, pks: &pks }, send).await {
        Ok(answered) => answered,
        Err(refusal) => return refused_batch(caller, batch, &refusal),
    };
    let mut responses = answered.answer.responses.take().unwrap_or_default().into_iter();
    let steps: Vec<(Write, Step)> = batch
        .into_iter()
        .map(|mut write| step(caller, &mut write, responses.next()).map(|step| (write, step)))
        .collect::<Result<_>>()?;
    let units = answered.units;
    answered.book(throttled_share(&steps, whole));
    let charged = steps.iter().filter(|(_, step)| !matches!(step, Step::Later(_)));
    let owners = charged.map(|(write, _)| (write.owner(), write.units()));
    caller.meter().divide(Purpose::Materialise, Lane::Write, units, owners);
    Ok(sorted(caller, steps))
}

/// How much of a batch was throttled, 0 to 1: each statement counts as its own.
fn throttled_share(steps: &[(Write, Step)], whole: f64) -> f64 {
    let throttled = |(write, step): &(Write, Step)| match step {
        Step::Later(failure) if is_throttling(failure) => write.units(),
        _ => 0.0,
    };
    steps.iter().map(throttled).sum::<f64>() / whole.max(1.0)
}

fn is_throttling(failure: &Failure) -> bool {
    matches!(judge(failure), Verdict::Retry { trouble: Trouble::Throttled, .. })
}

/// What is settled, what is to be sent again, and the last reason to wait before.
fn sorted(caller: &Caller, steps: Vec<(Write, Step)>) -> BatchResult {
    let (mut settled, mut again, mut to_wait) = (Vec::new(), Vec::new(), None);
    let mut throttled = false;
    for (write, step) in steps {
        match step {
            Step::Settled(outcome) => settled.push((write.index, outcome)),
            Step::Again => again.push(write),
            Step::Later(failure) => {
                if is_throttling(&failure) {
                    throttled = true;
                    caller.throttled(&failure, &[&write.pk]);
                }
                to_wait = Some(failure);
                again.push(write);
            }
        }
    }
    if throttled {
        caller.meter().throttled(Purpose::Materialise);
    }
    (settled, again, to_wait)
}

/// A batch that was refused whole.
fn refused_batch(
    caller: &Caller,
    batch: Vec<Write>,
    refusal: &Refusal<BatchExecuteStatementError>,
) -> Result<BatchResult> {
    if matches!(refusal.verdict, Verdict::Retry { .. }) {
        return Ok((Vec::new(), batch, Some(refusal.failure.clone())));
    }
    if lacks_partiql(&refusal.failure) || refusal.failure.is_denied() {
        put_from_now_on(caller, &refusal.failure);
        return Ok((Vec::new(), batch, None));
    }
    Err(caller.error("BatchExecuteStatement", refusal))
}

/// There are no statements for this connection, as `failure` says: that is told once.
///
/// A policy made by hand often lacks the actions of PartiQL, which are needed only when the log is materialised,
/// hours after the job was started; every attempt used to fail on it. Where puts are not allowed either, their
/// error says so.
fn put_from_now_on(caller: &Caller, failure: &Failure) {
    let place = caller.place();
    if !caller.without_partiql() {
        return;
    }
    if failure.is_denied() {
        tracing::warn!(
            "{place}: statements are not allowed, so items are put one by one, each by a request of its \
             own: {}; allow dynamodb:PartiQLInsert and dynamodb:PartiQLUpdate: {ALLOWED}",
            failure.message
        );
    } else {
        tracing::info!(place, "no PartiQL here: items are put one by one");
    }
}

/// Whether a server says that it does not know `BatchExecuteStatement`.
fn lacks_partiql(failure: &Failure) -> bool {
    let code = failure.code.as_deref().unwrap_or_default();
    let words = failure.message.to_ascii_lowercase();
    code.starts_with("UnknownOperation")
        || code.starts_with("UnsupportedOperation")
        || (code == "ValidationException" && words.contains("unsupported operation"))
}

/// Decides what `response` means for `write`, and sets its way on.
fn step(
    caller: &Caller,
    write: &mut Write,
    response: Option<BatchStatementResponse>,
) -> Result<Step> {
    let Some(response) = response else {
        let message = "the answer has fewer responses than the request statements";
        return Ok(Step::Later(Failure::inside("InternalServerError", message)));
    };
    let Some(error) = response.error else {
        return Ok(Step::Settled(WriteOutcome::Done));
    };
    let code = error.code().map_or("", |code| code.as_str()).to_owned();
    let failure = Failure::inside(&code, error.message().unwrap_or_default());
    match judge(&failure) {
        Verdict::Retry { .. } if bites(Tooth::ThrottledStatementIgnored) => {
            Ok(Step::Settled(WriteOutcome::Done))
        }
        Verdict::Retry { trouble, .. } => {
            debug_assert_ne!(trouble, Trouble::Unreachable, "an answer was there");
            Ok(Step::Later(failure))
        }
        Verdict::ConditionFailed => Ok(by_item_shown(write, error)?),
        Verdict::Final(_) if code == "DuplicateItem" => {
            write.route = write.route.next();
            Ok(Step::Again)
        }
        Verdict::Final(_) if failure.is_denied() => {
            put_from_now_on(caller, &failure);
            Ok(Step::Again)
        }
        Verdict::Final(_) => Err(failure.to_error("a statement", caller.place())),
    }
}

fn by_item_shown(write: &mut Write, error: BatchStatementError) -> Result<Step> {
    let shown = error.item.filter(|item| item.contains_key(VERSION));
    let there = shown.as_ref().map(item::read_version).transpose()?;
    if let Some(item) = shown.as_ref().filter(|item| item.contains_key(PARTS)) {
        write.parts_there = item::read_parts(item)?;
    }
    if let Some(outcome) = WriteOutcome::settled(there, write.row.version) {
        return Ok(Step::Settled(outcome));
    }
    // An item is shown that the condition should have passed: only a put can tell.
    write.route = if there.is_some() { Route::Put } else { write.route.next() };
    Ok(Step::Again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, CheckpointId, Version};

    fn version(attempt: u64, checkpoint: u64) -> Version {
        Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) }
    }

    #[test]
    fn only_a_later_attempt_s_version_fences() {
        let mine = version(2, 5);
        assert_eq!(WriteOutcome::settled(Some(version(2, 4)), mine), None);
        assert_eq!(WriteOutcome::settled(Some(version(1, 900)), mine), None);
        assert_eq!(WriteOutcome::settled(Some(mine), mine), Some(WriteOutcome::Done));
        assert_eq!(WriteOutcome::settled(Some(version(2, 6)), mine), Some(WriteOutcome::Done));
        assert_eq!(
            WriteOutcome::settled(Some(version(3, 1)), mine),
            Some(WriteOutcome::Fenced(version(3, 1)))
        );
    }

    #[test]
    fn every_way_ends_at_a_put() {
        for presence in [Presence::Absent, Presence::Possible] {
            let mut route = Route::from(presence);
            for _ in 0..2 {
                assert_ne!(route, Route::Put);
                route = route.next();
            }
            assert_eq!(route, Route::Put);
        }
    }

    #[test]
    fn servers_without_partiql_are_recognised() {
        assert!(lacks_partiql(&Failure::inside("UnknownOperationException", "")));
        assert!(!lacks_partiql(&Failure::inside("ValidationException", "duplicates")));
    }
}
