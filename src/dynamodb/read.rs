//! Consistent reads: 100 items a `BatchGetItem`, or one `GetItem`.
//!
//! Owns the batches, the match of answers to keys, and the retry of what was left unprocessed.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::Caller;
use super::item::{self, Attributes, PK, SK};
use super::meter::{self, Purpose};
use super::retry::{Failure, Verdict};
use super::write::IN_FLIGHT;
use crate::error::Result;
use crate::state::Item;
use crate::teeth::{Tooth, bites};

/// DynamoDB's limit for a `BatchGetItem`.
const KEYS: usize = 100;
/// An answer of at least this many bytes was cut by DynamoDB's limit of 16 MB.
const FULL_ANSWER_BYTES: usize = 15 << 20;

/// An item's place, as text and bytes.
type Place = (String, Bytes);

/// Reads the items at `places`, in their order; a place may be named more than once.
pub(super) async fn read_all(caller: &Caller, places: Vec<Place>) -> Result<Vec<Option<Item>>> {
    let mut found: HashMap<&Place, Option<Item>> = places.iter().map(|p| (p, None)).collect();
    // In the order of the first mention, so that a run is the same for the same seed.
    let mut seen = HashSet::with_capacity(found.len());
    let distinct: Vec<&Place> = places.iter().filter(|place| seen.insert(*place)).collect();
    let key = |(pk, sk): &&Place| item::key_of(pk.clone(), sk.to_vec());
    let chunks: Vec<Vec<Attributes>> =
        distinct.chunks(KEYS).map(|chunk| chunk.iter().map(key).collect()).collect();
    let answers: Vec<Vec<Attributes>> = stream::iter(chunks)
        .map(|chunk| read_chunk(caller, chunk))
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    for mut attributes in answers.into_iter().flatten() {
        let Some(place) = take_place(&mut attributes) else { continue };
        if let Some(slot) = found.get_mut(&place) {
            *slot = Some(item::read_item(attributes)?);
        }
    }
    Ok(places.iter().map(|place| found.get(place).cloned().flatten()).collect())
}

fn take_place(attributes: &mut Attributes) -> Option<Place> {
    match (attributes.remove(PK)?, attributes.remove(SK)?) {
        (AttributeValue::S(pk), AttributeValue::B(sk)) => Some((pk, Bytes::from(sk.into_inner()))),
        _ => None,
    }
}

/// Reads at most [`KEYS`] distinct items, in any order.
async fn read_chunk(caller: &Caller, keys: Vec<Attributes>) -> Result<Vec<Attributes>> {
    let mut items = Vec::with_capacity(keys.len());
    let mut pending = Some(consistent(keys)?);
    let mut retries = caller.retries();
    while let Some(request) = pending.take() {
        let send = caller
            .client()
            .batch_get_item()
            .request_items(caller.table(), request.clone())
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send();
        let answer = match caller.once(Purpose::Read, send).await {
            Ok(answer) => answer,
            Err(refusal) if matches!(refusal.verdict, Verdict::Retry { .. }) => {
                retries.wait(&refusal.failure).await;
                pending = Some(request);
                continue;
            }
            Err(refusal) => return Err(caller.error("BatchGetItem", &refusal)),
        };
        caller.meter().read(Purpose::Read, meter::units(answer.consumed_capacity()));
        let before = items.len();
        items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
        let left = answer.unprocessed_keys.into_iter().flatten().next();
        let left = left.filter(|_| !bites(Tooth::UnprocessedIgnored));
        if let Some((_, left)) = left.filter(|(_, left)| !left.keys().is_empty()) {
            // Throttling, or the limit of 16 MB for an answer: then there is no need to wait.
            let bytes: usize = items[before..].iter().map(item::size_of).sum();
            if bytes < FULL_ANSWER_BYTES {
                caller.meter().throttled(Purpose::Read);
                retries.wait(&Failure::inside("ThrottlingError", "keys left unprocessed")).await;
            }
            pending = Some(consistent(left.keys)?);
        }
    }
    Ok(items)
}

fn consistent(keys: Vec<Attributes>) -> Result<KeysAndAttributes> {
    KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(!bites(Tooth::StaleReads))
        .build()
        .map_err(|e| crate::Error::internal(format!("a request was not complete: {e}")))
}

/// Reads one item. One `GetItem`, retried until it is answered.
pub(super) async fn get(
    caller: &Caller,
    purpose: Purpose,
    key: Attributes,
) -> Result<Option<Attributes>> {
    let send = || {
        caller
            .client()
            .get_item()
            .table_name(caller.table())
            .set_key(Some(key.clone()))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let answer =
        caller.call(purpose, send).await.map_err(|refusal| caller.error("GetItem", &refusal))?;
    caller.meter().read(purpose, meter::units(answer.consumed_capacity()));
    Ok(answer.item)
}
