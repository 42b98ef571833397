//! Writes of items under rule V: 25 a request, each with its own outcome.
//!
//! ```text
//!                 no item there                     an item of another version there
//! Possible ─► UPDATE … AND c < ? ──────► INSERT ──DuplicateItem──► PutItem IF c < :c
//! Absent  ──► INSERT ──DuplicateItem──► UPDATE … AND c < ? ──no item shown──► PutItem IF c < :c
//! ```
//!
//! Owns the routes and the statements. A failed condition that shows the item decides at once: done,
//! or fenced. A throttled statement goes the same way again. Servers without PartiQL get `PutItem`s.

use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementRequest, BatchStatementResponse,
    ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::{Caller, Refusal};
use super::item::{self, Attributes, PK, SK, TTL, VALUE, VERSION, number};
use super::meter::{self, Purpose};
use super::retry::{Failure, Trouble, Verdict, judge};
use crate::error::Result;
use crate::ids::Version;
use crate::state::{BlockKind, Presence, WriteOutcome};
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
    pub(super) sort_key: Bytes,
    pub(super) version: Version,
    /// `None` is a tombstone.
    pub(super) value: Option<Bytes>,
    /// For a tombstone: when DynamoDB may delete it, seconds since 1970.
    pub(super) expires: u64,
    pub(super) route: Route,
}

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
    Throttled(Failure),
}

/// Writes all of `writes`, `IN_FLIGHT` requests at a time; outcomes with their indexes.
pub(super) async fn write_all(
    caller: &Caller,
    writes: Vec<Write>,
) -> Result<Vec<(usize, WriteOutcome)>> {
    let mut chunks = Vec::with_capacity(writes.len().div_ceil(STATEMENTS));
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        chunks.push(writes.by_ref().take(STATEMENTS).collect::<Vec<_>>());
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
    let mut retries = caller.retries();
    while !pending.is_empty() {
        if !caller.has_partiql() {
            pending.iter_mut().for_each(|write| write.route = Route::Put);
        }
        let (puts, batch): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|write| write.route == Route::Put);
        let put = |write: Write| async move {
            Ok::<_, crate::Error>((write.index, put(caller, &write).await?))
        };
        outcomes.extend(
            stream::iter(puts).map(put).buffer_unordered(IN_FLIGHT).try_collect::<Vec<_>>().await?,
        );
        let (settled, again, throttled) = run_batch(caller, batch).await?;
        outcomes.extend(settled);
        pending = again;
        if let Some(failure) = throttled {
            retries.wait(&failure).await;
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
    let send = caller
        .client()
        .batch_execute_statement()
        .set_statements(Some(statements))
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send();
    let answer = match caller.once(Purpose::Materialise, send).await {
        Ok(answer) => answer,
        Err(refusal) => return refused_batch(caller, batch, &refusal),
    };
    let units = meter::units(answer.consumed_capacity());
    caller.meter().wrote(Purpose::Materialise, units);
    let mut responses = answer.responses.unwrap_or_default().into_iter();
    let (mut settled, mut again, mut throttled) = (Vec::new(), Vec::new(), None);
    for mut write in batch {
        match step(caller, &mut write, responses.next())? {
            Step::Settled(outcome) => settled.push((write.index, outcome)),
            Step::Again => again.push(write),
            Step::Throttled(failure) => {
                throttled = Some(failure);
                again.push(write);
            }
        }
    }
    if throttled.is_some() {
        caller.meter().throttled(Purpose::Materialise);
    }
    Ok((settled, again, throttled))
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
    if lacks_partiql(&refusal.failure) {
        tracing::info!(place = caller.place(), "no PartiQL here: items are put one by one");
        caller.without_partiql();
        return Ok((Vec::new(), batch, None));
    }
    Err(caller.error("BatchExecuteStatement", refusal))
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
        return Ok(Step::Throttled(Failure::inside("InternalServerError", message)));
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
            Ok(Step::Throttled(failure))
        }
        Verdict::ConditionFailed => Ok(by_item_shown(write, error)?),
        Verdict::Final(_) if code == "DuplicateItem" => {
            write.route = write.route.next();
            Ok(Step::Again)
        }
        Verdict::Final(_) => Err(failure.to_error("a statement", caller.place())),
    }
}

fn by_item_shown(write: &mut Write, error: BatchStatementError) -> Result<Step> {
    let shown = error.item.filter(|item| item.contains_key(VERSION));
    let there = shown.as_ref().map(item::read_version).transpose()?;
    if let Some(outcome) = WriteOutcome::settled(there, write.version) {
        return Ok(Step::Settled(outcome));
    }
    // An item is shown that the condition should have passed: only a put can tell.
    write.route = if there.is_some() { Route::Put } else { write.route.next() };
    Ok(Step::Again)
}

/// The statement of `write` by its way, with its parameters in the statement's order.
fn statement(table: &str, write: &Write) -> Result<BatchStatementRequest> {
    let sk = item::binary(&write.sort_key);
    let pk = AttributeValue::S(write.pk.clone());
    let version = number(write.version.to_number());
    let below = below(Purpose::Materialise, write.version);
    let value = write.value.as_ref().map(|value| item::binary(value));
    let content = value.unwrap_or_else(|| number(write.expires));
    let tombstone = write.value.is_none();
    let (text, parameters) = if tombstone && bites(Tooth::ItemsDeleted) {
        let text = format!(r#"DELETE FROM "{table}" WHERE "pk"=? AND "sk"=? AND "c"<?"#);
        (text, vec![pk, sk, below])
    } else if matches!(write.route, Route::Insert { .. }) {
        let name = if tombstone { TTL } else { VALUE };
        let text =
            format!(r#"INSERT INTO "{table}" VALUE {{'pk': ?, 'sk': ?, '{name}': ?, 'c': ?}}"#);
        (text, vec![pk, sk, content, version])
    } else {
        let (set, remove) = if tombstone { (TTL, VALUE) } else { (VALUE, TTL) };
        let text = format!(
            r#"UPDATE "{table}" SET "{set}"=? SET "c"=? REMOVE "{remove}" WHERE "pk"=? AND "sk"=? AND "c"<?"#
        );
        (text, vec![content, version, pk, sk, below])
    };
    BatchStatementRequest::builder()
        .statement(text)
        .set_parameters(Some(parameters))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(|e| crate::Error::internal(format!("a statement was not complete: {e}")))
}

/// Rule V: what the version that is there must be below.
fn below(purpose: Purpose, mine: Version) -> AttributeValue {
    let unconditional = match purpose {
        Purpose::Log => BlockKind::Segment.unconditional(),
        Purpose::Protocol => BlockKind::Manifest.unconditional(),
        _ => Tooth::ItemsUnconditional,
    };
    number(if bites(unconditional) { u64::MAX } else { mine.to_number() })
}

/// Puts one item under rule V; retried until answered.
async fn put(caller: &Caller, write: &Write) -> Result<WriteOutcome> {
    let mut attributes = item::key_of(write.pk.clone(), write.sort_key.to_vec());
    attributes.insert(VERSION.to_owned(), number(write.version.to_number()));
    match &write.value {
        Some(value) => attributes.insert(VALUE.to_owned(), item::binary(value)),
        None => attributes.insert(TTL.to_owned(), number(write.expires)),
    };
    put_item(caller, Purpose::Materialise, attributes, write.version).await
}

/// Puts `attributes`, whose version is `mine`, unless as great a version is there. One `PutItem`,
/// retried until it is answered.
pub(super) async fn put_item(
    caller: &Caller,
    purpose: Purpose,
    attributes: Attributes,
    mine: Version,
) -> Result<WriteOutcome> {
    let version = below(purpose, mine);
    loop {
        let send = || {
            caller
                .client()
                .put_item()
                .table_name(caller.table())
                .set_item(Some(attributes.clone()))
                .condition_expression("attribute_not_exists(c) OR c < :c")
                .expression_attribute_values(":c", version.clone())
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        };
        if bites(Tooth::LostAnswerIsSuccess)
            && let Err(refusal) = caller.once(purpose, send()).await
            && matches!(refusal.verdict, Verdict::Retry { surely_not_applied: false, .. })
        {
            return Ok(WriteOutcome::Done);
        }
        match caller.call(purpose, send).await {
            Ok(answer) => {
                let units = meter::units(answer.consumed_capacity());
                caller.meter().wrote(purpose, units);
                return Ok(WriteOutcome::Done);
            }
            Err(refusal) if refusal.verdict == Verdict::ConditionFailed => {
                let there = version_shown(caller, purpose, &refusal, &attributes).await?;
                if let Some(outcome) = WriteOutcome::settled(there, mine) {
                    return Ok(outcome);
                }
            }
            Err(refusal) => return Err(caller.error("PutItem", &refusal)),
        }
    }
}

/// The version because of which a put was refused: as the refusal shows it, else read.
async fn version_shown(
    caller: &Caller,
    purpose: Purpose,
    refusal: &Refusal<PutItemError>,
    attributes: &Attributes,
) -> Result<Option<Version>> {
    let shown = match refusal.service.as_deref() {
        Some(PutItemError::ConditionalCheckFailedException(error)) => error.item(),
        _ => None,
    };
    let bytes = shown.map_or(0, item::size_of);
    caller.meter().wrote(purpose, meter::write_units_of(bytes));
    if let Some(item) = shown {
        return item::read_version(item).map(Some);
    }
    let key = attributes.iter().filter(|(name, _)| [PK, SK].contains(&name.as_str()));
    let key = key.map(|(name, value)| (name.clone(), value.clone())).collect();
    let item = super::read::get(caller, purpose, key).await?;
    item.as_ref().map(item::read_version).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, CheckpointId};

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

    /// A tombstone that is followed by a value must lose its expiry, or DynamoDB deletes the value.
    #[test]
    fn values_have_no_expiry_and_tombstones_no_value() {
        let text = |value: Option<Bytes>, route| {
            let write = Write {
                index: 0,
                pk: "pk".to_owned(),
                sort_key: Bytes::from_static(&[1]),
                version: version(1, 2),
                value,
                expires: 77,
                route,
            };
            let statement = statement("t", &write).unwrap();
            let parameters = statement.parameters.unwrap_or_default();
            assert_eq!(parameters.contains(&number(77)), write.value.is_none());
            statement.statement
        };
        let value = || Some(Bytes::from_static(b"v"));
        let (update, insert) = (Route::Update { last: false }, Route::Insert { last: false });
        assert!(text(value(), update).contains(r#"SET "v"=? SET "c"=? REMOVE "ttl" WHERE"#));
        assert!(text(None, update).contains(r#"SET "ttl"=? SET "c"=? REMOVE "v" WHERE"#));
        assert!(!text(value(), insert).contains("ttl"));
        assert!(!text(None, insert).contains("'v'"));
    }

    #[test]
    fn servers_without_partiql_are_recognised() {
        assert!(lacks_partiql(&Failure::inside("UnknownOperationException", "")));
        assert!(!lacks_partiql(&Failure::inside("ValidationException", "duplicates")));
    }
}
