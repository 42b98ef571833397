//! Consistent reads of a range: a `Query` for each MiB.
//!
//! Owns the pages, and the bounds as DynamoDB takes them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use bytes::Bytes;

use super::call::Caller;
use super::item::{self, Attributes, MAX_SORT_KEY_BYTES};
use super::meter::{self, Purpose};
use super::pace::{Ask, Lane, Rank, Size};
use super::send::Errand;
use crate::error::Result;
use crate::state::{ItemRange, Scanned};
use crate::teeth::{Tooth, bites};

/// Reads the items of `range`, whose partition key is `pk`.
pub(super) async fn scan(caller: &Caller, pk: &str, range: &ItemRange) -> Result<Vec<Scanned>> {
    let mut found = Vec::new();
    if range.is_empty() {
        return Ok(found);
    }
    let bounds = Bounds::of(range);
    let mut start = None;
    loop {
        let (items, more) = page(caller, pk, &bounds, start).await?;
        for mut item in items {
            let sort_key = item::take_sort_key(&mut item)?;
            // The upper bound is the last one for DynamoDB, and the first that is not wanted here.
            if range.contains(&sort_key) {
                found.push(Scanned { sort_key, item: item::read_item(item) });
            }
        }
        start = more;
        if start.is_none() {
            return Ok(found);
        }
    }
}

/// A range as a key condition: both ends belong to it.
struct Bounds {
    from: Bytes,
    to: Option<Bytes>,
}

impl Bounds {
    fn of(range: &ItemRange) -> Self {
        // No key is empty, and none is longer than the limit.
        let first = Bytes::from_static(&[0]);
        let from = if range.from.is_empty() { first } else { within_limit(&range.from) };
        Self { from, to: range.to.as_ref().map(within_limit) }
    }

    fn condition(&self) -> &'static str {
        match self.to {
            Some(_) => "pk = :pk AND sk BETWEEN :a AND :z",
            None => "pk = :pk AND sk >= :a",
        }
    }

    fn values(&self, pk: &str) -> HashMap<String, AttributeValue> {
        let mut values = HashMap::from([
            (":pk".to_owned(), AttributeValue::S(pk.to_owned())),
            (":a".to_owned(), item::binary(&self.from)),
        ]);
        if let Some(to) = &self.to {
            values.insert(":z".to_owned(), item::binary(to));
        }
        values
    }
}

/// A bound that is over the limit of keys, cut to it: what lies between is left out afterwards.
fn within_limit(bound: &Bytes) -> Bytes {
    bound.slice(..bound.len().min(MAX_SORT_KEY_BYTES))
}

/// One page from after `start`, and where the next one starts.
async fn page(
    caller: &Caller,
    pk: &str,
    bounds: &Bounds,
    start: Option<Attributes>,
) -> Result<(Vec<Attributes>, Option<Attributes>)> {
    let size = Size::Items(1);
    let ask = Ask { lane: Lane::Read, purpose: Purpose::Read, rank: Rank::Waited, size };
    let send = || {
        caller
            .client()
            .query()
            .table_name(caller.table())
            .key_condition_expression(bounds.condition())
            .set_expression_attribute_values(Some(bounds.values(pk)))
            .set_exclusive_start_key(start.clone())
            .consistent_read(!bites(Tooth::StaleReads))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let answered = caller.send(Errand { ask, pk }, send).await;
    let answered = answered.map_err(|refusal| caller.error("Query", &refusal))?;
    let owner = std::iter::once((meter::owner_of(pk).unwrap_or_default(), 1.0));
    caller.meter().divide(Purpose::Read, Lane::Read, answered.units, owner);
    let answer = answered.book(0.0);
    let more = answer.last_evaluated_key.filter(|key| !key.is_empty());
    Ok((answer.items.unwrap_or_default(), more))
}
