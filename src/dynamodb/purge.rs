//! Deletion of what a former incarnation left in the table.
//!
//! Owns the walk over partition keys, and its pace. Which ones there may be is known to the caller:
//! states and key groups from the graph, slots from the manifests. The items of a former incarnation
//! are out of every live one's sight, so nothing here is conditional, and it may be stopped and begun
//! again.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, ReturnConsumedCapacity, WriteRequest,
};

use super::call::Caller;
use super::item::{self, Attributes, ONLY, Scope};
use super::meter::Purpose;
use super::pace::{Ask, Lane, Rank, Size};
use super::read;
use super::retry::{Failure, Verdict};
use super::send::Errand;
use crate::error::{Error, Result};
use crate::ids::{Name, SlotId};
use crate::key_group::KeyGroup;
use crate::points;
use crate::state::BlockKind;

/// DynamoDB's limit for a `BatchWriteItem`.
const DELETES: usize = 25;

/// Keys of one `Query`: as many as keep an embedded database busy for less than a millisecond.
const PAGE: i32 = 100;
/// Write units that are consumed in a second at most: half of what one partition has, so that a job that
/// runs meanwhile is not throttled for it.
const WRITE_UNITS_PER_SECOND: f64 = 500.0;
/// The same of read units: half of what one partition has.
const READ_UNITS_PER_SECOND: f64 = 1500.0;
/// Write units that a request of several deletions takes at most, about: a fifth of a second's at that pace. A
/// deletion takes as many as the item's KiB, of a segment up to 400: 25 of these at once would take all that the
/// table has for seconds.
const UNITS_OF_REQUEST: f64 = 100.0;
/// What an item takes that is deleted unseen, until some were deleted.
const UNITS_UNSEEN: f64 = 256.0;
/// Write units for the KiB of a read unit.
const WRITE_UNITS_OF_READ: f64 = 4.0;
/// Shorter waits are saved up: a timer is not so exact.
const LEAST_WAIT: Duration = Duration::from_millis(10);
/// Empty slots in a row after which there is no other. Segments' puts of one checkpoint may land in any order,
/// manifests are put one after the other.
const fn empty_slots(kind: BlockKind) -> u32 {
    match kind {
        BlockKind::Segment => 64,
        BlockKind::Manifest => 4,
    }
}

/// Items that are deleted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// A state's entries of one key group.
    State {
        /// The operator's id.
        operator: Name,
        /// The state's name.
        state: Name,
        /// The key group.
        key_group: KeyGroup,
    },
    /// The slots below this one, the last one first.
    SlotsBelow(BlockKind, SlotId),
    /// The slots from this one on, up to where there are none any more, the last one first.
    SlotsFrom(BlockKind, SlotId),
}

/// Deletes all of `partitions`, one after the other, slowly; gives the number of items deleted. A write
/// unit for each KiB, one `BatchWriteItem` for 25 items of up to 4 KiB or fewer larger ones, one `Query` for 100
/// items of a state or of manifests; segments below a slot are deleted unseen.
pub(super) async fn purge(
    caller: &Caller,
    scope: &Scope,
    partitions: impl IntoIterator<Item = Partition>,
) -> Result<u64> {
    let mut purge = Purge { caller, scope, owed: Duration::ZERO, each: UNITS_UNSEEN };
    let mut deleted = 0;
    for partition in partitions {
        deleted += purge.partition(partition).await?;
    }
    Ok(deleted)
}

fn ask(lane: Lane, size: Size) -> Ask {
    Ask { lane, purpose: Purpose::Protocol, rank: Rank::Background, size }
}

/// One deletion under way.
struct Purge<'a> {
    caller: &'a Caller,
    scope: &'a Scope,
    /// What the pace demands to wait and was not waited yet.
    owed: Duration,
    /// What the deletion of an item takes, units: by what reading it took, or by the last ones.
    each: f64,
}

impl Purge<'_> {
    async fn partition(&mut self, partition: Partition) -> Result<u64> {
        match partition {
            Partition::State { operator, state, key_group } => {
                self.all_under(&self.scope.state_pk(&operator, &state, key_group.0)).await
            }
            Partition::SlotsBelow(BlockKind::Segment, end) => {
                let scope = self.scope;
                let key = |slot| item::key_of(scope.slot_pk(BlockKind::Segment, slot), ONLY);
                let mut slots = (0..end.0).rev();
                self.each = UNITS_UNSEEN;
                loop {
                    let chunk: Vec<_> = slots.by_ref().take(self.chunk()).map(key).collect();
                    if chunk.is_empty() {
                        return Ok(end.0);
                    }
                    self.delete(&chunk).await?;
                }
            }
            Partition::SlotsBelow(BlockKind::Manifest, end) => {
                let mut parts = 0;
                for slot in (0..end.0).rev() {
                    parts += self.all_under(&self.scope.slot_pk(BlockKind::Manifest, slot)).await?;
                }
                Ok(parts)
            }
            Partition::SlotsFrom(kind, first) => {
                // Stopped in the midst and begun again, it finds the first ones, and by them the others.
                let (mut there, mut empty, mut slot) = (Vec::new(), 0, first.0);
                while empty < empty_slots(kind) {
                    let pk = self.scope.slot_pk(kind, slot);
                    let (keys, _) = self.first_keys(&pk).await?;
                    empty = if keys.is_empty() { empty + 1 } else { 0 };
                    there.extend((!keys.is_empty()).then_some(pk));
                    slot += 1;
                }
                let mut deleted = 0;
                for pk in there.iter().rev() {
                    deleted += self.all_under(pk).await?;
                }
                Ok(deleted)
            }
        }
    }

    /// Deletes all items under one partition key.
    async fn all_under(&mut self, pk: &str) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let (keys, more) = self.first_keys(pk).await?;
            deleted += keys.len() as u64;
            let mut left = keys.as_slice();
            while !left.is_empty() {
                let (chunk, others) = left.split_at(self.chunk().min(left.len()));
                self.delete(chunk).await?;
                left = others;
            }
            if !more {
                return Ok(deleted);
            }
        }
    }

    /// How many items a request deletes: on a small table as many as a second's units are for.
    fn chunk(&self) -> usize {
        let rate = self.caller.pace().rate(Lane::Write).unwrap_or(f64::MAX);
        let units = UNITS_OF_REQUEST.min(rate);
        ((units / self.each.max(1.0)) as usize).clamp(1, DELETES)
    }

    /// Waits as long as `units` take at the pace.
    async fn pace(&mut self, units: f64, per_second: f64) {
        self.owed += Duration::from_secs_f64(units.max(0.0) / per_second);
        if self.owed >= LEAST_WAIT {
            self.caller.clock().sleep(std::mem::take(&mut self.owed)).await;
        }
    }

    /// The keys of the first page, and whether there are more.
    async fn first_keys(&mut self, pk: &str) -> Result<(Vec<Attributes>, bool)> {
        let caller = self.caller;
        let send = || {
            caller
                .client()
                .query()
                .table_name(caller.table())
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
                .projection_expression("pk, sk")
                .consistent_read(true)
                .limit(PAGE)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        };
        let errand = Errand { ask: ask(Lane::Read, Size::Items(1)), pks: &[pk] };
        let answered = caller.send(errand, send).await;
        let answered = answered.map_err(|refusal| caller.error("Query", &refusal))?;
        let units = answered.units;
        let answer = answered.book(0.0);
        self.pace(units, READ_UNITS_PER_SECOND).await;
        let more = answer.last_evaluated_key.is_some_and(|key| !key.is_empty());
        let keys = answer.items.unwrap_or_default();
        if !keys.is_empty() {
            self.each = 1.0 + WRITE_UNITS_OF_READ * units / keys.len() as f64;
        }
        Ok((keys, more))
    }

    async fn delete(&mut self, keys: &[Attributes]) -> Result<()> {
        let caller = self.caller;
        let request = |key: &Attributes| {
            let delete = DeleteRequest::builder().set_key(Some(key.clone())).build();
            let delete = delete.map_err(|e| {
                Error::internal(format!("a deletion's request is not complete: {e}"))
            })?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        let mut pending = keys.iter().map(request).collect::<Result<Vec<_>>>()?;
        let mut retries = caller.retries(Rank::Background);
        while !pending.is_empty() {
            let send = || {
                caller
                    .client()
                    .batch_write_item()
                    .request_items(caller.table(), pending.clone())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            };
            let size = Size::Units(pending.len() as f64 * self.each);
            let pks: Vec<&str> = keys.iter().map(read::pk_of).collect();
            points::hit(points::BEFORE_DELETION);
            match caller.try_send(Errand { ask: ask(Lane::Write, size), pks: &pks }, send).await {
                Ok(mut answered) => {
                    points::hit(points::AFTER_DELETION);
                    let (units, asked) = (answered.units, pending.len());
                    let left = answered.answer.unprocessed_items.take().into_iter().flatten();
                    let left: Vec<_> = left.flat_map(|(_, requests)| requests).collect();
                    answered.book(left.len() as f64 / asked as f64);
                    if left.len() < asked {
                        // Halved at most: small ones among large ones do not make the next ones small. A server that
                        // reports no units charges none.
                        let each = units / (asked - left.len()) as f64;
                        self.each = (self.each / 2.0).max(each).max(1.0);
                    }
                    self.pace(units, WRITE_UNITS_PER_SECOND).await;
                    pending = left;
                    if !pending.is_empty() {
                        let failure = Failure::inside("UnprocessedItems", "items left unprocessed");
                        caller.meter().throttled(Purpose::Protocol);
                        caller.throttled(&failure, &pks);
                        retries.wait(&failure).await;
                    }
                }
                Err(refusal) => match retries.judge(refusal.verdict) {
                    Verdict::Retry { .. } => retries.wait(&refusal.failure).await,
                    _ => return Err(caller.error("BatchWriteItem", &refusal)),
                },
            }
        }
        Ok(())
    }
}
