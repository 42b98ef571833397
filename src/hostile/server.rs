//! The server behind, with an eye on what each request does to its items where the plan needs to know.
//!
//! Owns the looks: before and after a write the items are read, past all faults and limits. They go past `partition`
//! too, by which what a reader gets is less than the server gives.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use serde_json::{Value, json};

use super::answers::{self, Answer};
use super::handle::Shared;
use super::partition::{self, PARTITION_BYTES};
use super::request::{self, Part, Place};
use super::size;

/// Has the server apply `request`.
pub(super) async fn apply(
    shared: &Shared,
    inner: &SharedHttpConnector,
    operation: &str,
    request: HttpRequest,
) -> Answer {
    let (writes, reads) = (request::writes(operation), request::reads(operation));
    let body = match operation {
        "BatchGetItem" => request::body(&request),
        _ => Value::Null,
    };
    if !(writes || reads) || !shared.ledger(|ledger| ledger.looks()) {
        return within_partitions(&body, answers::whole(inner.call(request).await).await?);
    }
    let body = if body.is_null() { request::body(&request) } else { body };
    let parts = request::parts(operation, &body);
    if reads {
        let answer = answers::whole(inner.call(request).await).await?;
        let answer = match operation {
            "BatchGetItem" => within_partitions(&body, answer)?,
            _ => answer,
        };
        was_read(shared, operation, &body, &parts, &answers::body(&answer));
        return Ok(answer);
    }
    let copy = request.try_clone();
    let before = items(inner, copy.as_ref(), &parts).await;
    let answer = answers::whole(inner.call(request).await).await;
    let after = items(inner, copy.as_ref(), &parts).await;
    let now = shared.clock.now();
    let of = |items: &BTreeMap<Place, Value>, part: &Part| {
        part.place().and_then(|place| items.get(&place).cloned()).unwrap_or_default()
    };
    let transaction = operation.contains("Transact");
    shared.ledger(|ledger| {
        for part in &parts {
            ledger.wrote(part, &of(&before, part), &of(&after, part), transaction, now);
        }
    });
    answer
}

/// The answer to a `BatchGetItem` of `body`, cut as AWS does.
fn within_partitions(body: &Value, answer: HttpResponse) -> Answer {
    let bytes = answer.body().bytes().map_or(0, <[u8]>::len);
    if bytes <= PARTITION_BYTES || body.is_null() {
        return Ok(answer);
    }
    match partition::cut(body, answers::body(&answer)) {
        Some(cut) => answers::json(200, &cut),
        None => Ok(answer),
    }
}

/// The items of `parts` as they are, by their places; `like` is a request to the same server.
async fn items(
    inner: &SharedHttpConnector,
    like: Option<&HttpRequest>,
    parts: &[Part],
) -> BTreeMap<Place, Value> {
    let places: BTreeMap<Place, &Part> =
        parts.iter().filter_map(|part| Some((part.place()?, part))).collect();
    let mut wanted: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for part in places.values() {
        wanted.entry(&part.table).or_default().push(&part.key);
    }
    let tables: BTreeMap<_, _> = wanted
        .into_iter()
        .map(|(table, keys)| (table, json!({ "Keys": keys, "ConsistentRead": true })))
        .collect();
    let body = json!({ "RequestItems": tables });
    let look = like.and_then(|like| request::rewritten(like, Some("BatchGetItem"), &body));
    let Some(look) = look.filter(|_| !places.is_empty()) else { return BTreeMap::new() };
    let answer = answers::whole(inner.call(look).await).await;
    answer.map(|answer| found(&answers::body(&answer))).unwrap_or_default()
}

/// The items of an answer to a `BatchGetItem`.
fn found(answer: &Value) -> BTreeMap<Place, Value> {
    let tables = answer["Responses"].as_object().into_iter().flatten();
    tables
        .flat_map(|(table, items)| {
            let items = items.as_array().into_iter().flatten();
            items.filter_map(|item| Some((Place::of(table, item)?, item.clone())))
        })
        .collect()
}

fn was_read(shared: &Shared, operation: &str, body: &Value, parts: &[Part], answer: &Value) {
    let now = shared.clock.now();
    let table = body["TableName"].as_str().unwrap_or_default();
    let units = |table: &str, bytes| size::read_units(bytes, request::consistent(body, table));
    let pk = parts.first().and_then(Part::pk);
    match operation {
        "BatchGetItem" => {
            let found = found(answer);
            let left =
                request::parts(operation, &json!({ "RequestItems": answer["UnprocessedKeys"] }));
            for part in parts.iter().filter(|part| !left.contains(part)) {
                let item = part.place().and_then(|place| found.get(&place));
                let units = units(&part.table, item.map_or(0, size::of_item));
                shared.ledger(|ledger| ledger.read(&part.table, part.pk(), units, now));
            }
        }
        "GetItem" => {
            let units = units(table, size::of_item(&answer["Item"]));
            shared.ledger(|ledger| ledger.read(table, pk, units, now));
        }
        _ => {
            // Items may come without all of their attributes, but are paid for whole.
            let reported = answer["ConsumedCapacity"]["CapacityUnits"].as_f64();
            let items = answer["Items"].as_array().into_iter().flatten();
            let units = reported.unwrap_or_else(|| units(table, items.map(size::of_item).sum()));
            shared.ledger(|ledger| ledger.read(table, pk, units, now));
        }
    }
}

/// The answer to a read, with older values of those items that were changed a moment ago and may be
/// shown so; `None` where there are none.
pub(super) fn older(
    shared: &Shared,
    operation: &str,
    body: &Value,
    mut answer: Value,
    dice: &mut super::dice::Dice,
) -> Option<Value> {
    if operation == "Query" {
        return older_page(shared, body, answer, dice);
    }
    let now = shared.clock.now();
    let mut any = false;
    for part in request::parts(operation, body) {
        if request::consistent(body, &part.table) {
            continue;
        }
        let place = part.place()?;
        let Some(value) = shared.ledger(|ledger| ledger.older(&place, dice, now)) else { continue };
        any = true;
        if operation == "GetItem" {
            match value {
                Value::Null => drop(answer.as_object_mut()?.remove("Item")),
                value => answer["Item"] = value,
            }
            continue;
        }
        let items = answer["Responses"].get_mut(&part.table).and_then(Value::as_array_mut)?;
        items.retain(|item| Place::of(&part.table, item).as_ref() != Some(&place));
        items.extend((!value.is_null()).then_some(value));
    }
    any.then_some(answer)
}

/// The same of a page: of the items that it has, since those that it would have had are not known.
fn older_page(
    shared: &Shared,
    body: &Value,
    mut answer: Value,
    dice: &mut super::dice::Dice,
) -> Option<Value> {
    let table = body["TableName"].as_str()?;
    if request::consistent(body, table) {
        return None;
    }
    let now = shared.clock.now();
    let mut any = false;
    let items = answer["Items"].as_array_mut()?;
    for item in items.iter_mut() {
        let Some(place) = Place::of(table, item) else { continue };
        if let Some(older) = shared.ledger(|ledger| ledger.older(&place, dice, now)) {
            any = true;
            *item = older;
        }
    }
    items.retain(|item| !item.is_null());
    any.then_some(answer)
}
