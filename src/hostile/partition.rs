//! How much a `BatchGetItem` gives of one partition: 1 MB, as AWS does it; what is beyond comes back as unprocessed.
//! Pure.
//!
//! "Partition" is taken as a partition key: which of them are together in one is AWS's own affair.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{request, size};

/// Bytes under one partition key, at most; but one item always.
pub(super) const PARTITION_BYTES: usize = 1 << 20;

/// The answer to `body` without what is beyond that, and without its units; `None` where nothing is.
pub(super) fn cut(body: &Value, mut answer: Value) -> Option<Value> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut any = false;
    for (table, of_table) in request::tables(body) {
        let Some(items) = answer["Responses"].get_mut(table).and_then(Value::as_array_mut) else {
            continue;
        };
        let (mut beyond, mut units) = (Vec::new(), 0.0);
        items.retain(|item| {
            let Some(pk) = item["pk"]["S"].as_str() else { return true };
            let bytes = size::of_item(item);
            let sum = taken.entry(format!("{table} {pk}")).or_default();
            let fits = *sum == 0 || *sum + bytes <= PARTITION_BYTES;
            if fits {
                *sum += bytes;
            } else {
                beyond.push(request::key_of(item));
                units += size::read_units(bytes, request::consistent(body, table));
            }
            fits
        });
        if beyond.is_empty() {
            continue;
        }
        any = true;
        let consumed = answer["ConsumedCapacity"].as_array_mut().into_iter().flatten();
        for of_one in consumed.filter(|of_one| of_one["TableName"] == **table) {
            if let Some(whole) = of_one["CapacityUnits"].as_f64() {
                of_one["CapacityUnits"] = json!(whole - units);
            }
        }
        let unprocessed = &mut answer["UnprocessedKeys"][table];
        match unprocessed["Keys"].as_array_mut() {
            Some(keys) => keys.append(&mut beyond),
            None => {
                *unprocessed = of_table.clone();
                unprocessed["Keys"] = Value::Array(beyond);
            }
        }
    }
    any.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pk: &str, n: usize) -> Value {
        json!({ "pk": { "S": pk }, "sk": { "B": format!("AAA{n}") } })
    }

    /// Of 300,000 bytes.
    fn item(pk: &str, n: usize) -> Value {
        let mut item = key(pk, n);
        item["v"] = json!({ "B": "A".repeat(400_000) });
        item
    }

    #[test]
    fn what_is_beyond_a_mb_of_its_key_comes_back() {
        let keys: Vec<_> = (0..5).map(|n| key("a", n)).chain([key("b", 0)]).collect();
        let body = json!({ "RequestItems": { "t": { "Keys": keys, "ConsistentRead": true } } });
        let items: Vec<_> = (0..5).map(|n| item("a", n)).chain([item("b", 0)]).collect();
        let of = |items: &[Value], units: f64| {
            json!({
                "Responses": { "t": items }, "UnprocessedKeys": {},
                "ConsumedCapacity": [{ "TableName": "t", "CapacityUnits": units }],
            })
        };
        let answer = cut(&body, of(&items, 444.0)).unwrap();
        let there = [&items[..3], &items[5..]].concat();
        assert_eq!(answer["Responses"]["t"], Value::Array(there.clone()));
        let left = json!({ "t": { "Keys": keys[3..5], "ConsistentRead": true } });
        assert_eq!(answer["UnprocessedKeys"], left);
        assert_eq!(answer["ConsumedCapacity"][0]["CapacityUnits"], 296.0);
        assert_eq!(cut(&body, of(&there, 296.0)), None);
    }
}
