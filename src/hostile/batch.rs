//! Batches of which a part is kept from the server: the rest is a request of its own, and its answer is
//! completed with what DynamoDB says of the parts it did not process. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::dice::Dice;
use super::request::tables;

/// Numbers of parts, in the order of `request::parts`.
pub(super) type Parts = BTreeSet<usize>;

/// Some of `of` parts: one or more, at most `most`.
pub(super) fn some(of: usize, most: usize, dice: &mut Dice) -> Parts {
    let first = dice.below(of);
    let mut chosen = Parts::from([first]);
    for part in 0..of {
        let also = dice.chance(0.5);
        if also && chosen.len() < most {
            chosen.insert(part);
        }
    }
    chosen
}

/// The body of the request without the parts `kept`; `None` where nothing is left.
pub(super) fn rest(operation: &str, body: &Value, kept: &Parts) -> Option<Value> {
    let mut rest = body.clone();
    let mut number = 0..;
    let mut keep = |_: &Value| number.next().is_none_or(|n| !kept.contains(&n));
    if operation == "BatchExecuteStatement" {
        let statements = rest["Statements"].as_array_mut()?;
        statements.retain(&mut keep);
        return (!statements.is_empty()).then_some(rest);
    }
    let names: Vec<String> = tables(body).into_iter().map(|(name, _)| name.clone()).collect();
    let requests = rest["RequestItems"].as_object_mut()?;
    for name in names {
        let parts = parts_of(operation, &mut requests[&name])?;
        parts.retain(&mut keep);
        if parts.is_empty() {
            requests.remove(&name);
        }
    }
    (!requests.is_empty()).then_some(rest)
}

/// The parts of one table.
fn parts_of<'a>(operation: &str, of_table: &'a mut Value) -> Option<&'a mut Vec<Value>> {
    let parts = if operation == "BatchGetItem" { &mut of_table["Keys"] } else { of_table };
    parts.as_array_mut()
}

/// The answer to the whole request, made of the answer to its rest: the statements `kept` are answered
/// by `instead`, keys and items come back as unprocessed.
pub(super) fn completed(
    operation: &str,
    body: &Value,
    kept: &Parts,
    mut answer: Value,
    instead: &Value,
) -> Option<Value> {
    if operation == "BatchExecuteStatement" {
        let given = answer["Responses"].as_array().cloned().unwrap_or_default();
        let all = body["Statements"].as_array()?.len();
        let mut given = given.into_iter();
        let each = |n| if kept.contains(&n) { Some(instead.clone()) } else { given.next() };
        answer["Responses"] = (0..all).map(each).collect::<Option<_>>()?;
        return Some(answer);
    }
    let unprocessed =
        if operation == "BatchGetItem" { "UnprocessedKeys" } else { "UnprocessedItems" };
    let mut number = 0..;
    for (name, of_table) in tables(body) {
        let mut back = of_table.clone();
        parts_of(operation, &mut back)?
            .retain(|_| number.next().is_some_and(|n| kept.contains(&n)));
        let back_parts = parts_of(operation, &mut back)?;
        let more = answer.get_mut(unprocessed).and_then(|tables| tables.get_mut(name));
        if let Some(more) = more.and_then(|more| parts_of(operation, more)) {
            back_parts.append(more);
        }
        if !back_parts.is_empty() {
            answer[unprocessed][name] = back;
        }
    }
    Some(answer)
}

/// The answer to a request of which nothing got to the server.
pub(super) fn nothing(operation: &str) -> Value {
    match operation {
        "BatchExecuteStatement" => json!({ "Responses": [] }),
        "BatchGetItem" => json!({ "Responses": {}, "UnprocessedKeys": {} }),
        _ => json!({ "UnprocessedItems": {} }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_keep_their_places() {
        let body = json!({ "Statements": [1, 2, 3, 4] });
        let kept = Parts::from([0, 2]);
        let rest = rest("BatchExecuteStatement", &body, &kept).unwrap();
        assert_eq!(rest, json!({ "Statements": [2, 4] }));
        let answer = json!({ "Responses": ["two", "four"] });
        let whole = completed("BatchExecuteStatement", &body, &kept, answer, &json!("slow"));
        assert_eq!(whole.unwrap()["Responses"], json!(["slow", "two", "slow", "four"]));
        let all = Parts::from([0, 1, 2, 3]);
        assert_eq!(super::rest("BatchExecuteStatement", &body, &all), None);
    }

    #[test]
    fn keys_come_back_with_what_was_asked_of_them() {
        let of = |keys: &[u8]| json!({ "Keys": keys, "ConsistentRead": true });
        let body = json!({ "RequestItems": { "b": of(&[3, 4]), "a": of(&[1, 2]) } });
        let kept = Parts::from([1, 2, 3]);
        let rest = rest("BatchGetItem", &body, &kept).unwrap();
        assert_eq!(rest, json!({ "RequestItems": { "a": of(&[1]) } }));
        let answer = json!({ "Responses": {}, "UnprocessedKeys": { "a": of(&[1]) } });
        let whole = completed("BatchGetItem", &body, &kept, answer, &Value::Null).unwrap();
        assert_eq!(whole["UnprocessedKeys"], json!({ "a": of(&[2, 1]), "b": of(&[3, 4]) }));
    }

    #[test]
    fn items_come_back() {
        let body = json!({ "RequestItems": { "t": [1, 2] } });
        let kept = Parts::from([0]);
        assert_eq!(rest("BatchWriteItem", &body, &kept).unwrap()["RequestItems"]["t"], json!([2]));
        let answer = nothing("BatchWriteItem");
        let whole = completed("BatchWriteItem", &body, &kept, answer, &Value::Null).unwrap();
        assert_eq!(whole["UnprocessedItems"], json!({ "t": [1] }));
    }

    #[test]
    fn some_are_at_least_one_and_at_most_as_said() {
        for n in 0..100 {
            let some = some(10, 9, &mut Dice::of(1, n));
            assert!((1..=9).contains(&some.len()) && some.iter().all(|part| *part < 10));
        }
    }
}
