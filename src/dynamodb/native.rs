//! Values that are stored as attributes of their own type, and DynamoDB's JSON that they travel in.
//!
//! Owns the way from the one to the other. Which values are written so is `state`'s.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use serde_dynamo::AttributeValue as Neutral;

use super::item::{Attributes, NATIVE, corrupt};
use super::parts::Row;
use crate::error::{Error, Result};
use crate::state::Item;

/// Whether what is to be written as an attribute is one.
///
/// # Errors
/// [`crate::ErrorKind::Internal`] for bytes that are no attribute's JSON.
pub(super) fn check(item: &Item) -> Result<()> {
    match item.value.as_ref().filter(|_| item.native).map(|json| read(json)) {
        Some(Err(e)) => Err(Error::internal(format!("a native value is no attribute: {e}"))),
        _ => Ok(()),
    }
}

/// What stands in `row` in place of bytes.
pub(super) fn of_row(row: &Row) -> Option<AttributeValue> {
    let json = row.value.as_ref().filter(|_| row.native)?;
    read(json).ok().map(of_neutral)
}

fn read(json: &[u8]) -> std::result::Result<Neutral, serde_json::Error> {
    serde_json::from_slice(json)
}

/// An attribute that was read, as JSON; the rest of its `item` is for the error.
pub(super) fn to_json(attribute: AttributeValue, item: &Attributes) -> Result<Bytes> {
    let neutral = to_neutral(attribute)
        .ok_or_else(|| corrupt(&format!("has {NATIVE:?} of an unknown type"), item))?;
    let json = serde_json::to_vec(&neutral)
        .map_err(|e| corrupt(&format!("has {NATIVE:?} that cannot be told: {e}"), item))?;
    Ok(json.into())
}

fn of_neutral(neutral: Neutral) -> AttributeValue {
    match neutral {
        Neutral::N(n) => AttributeValue::N(n),
        Neutral::S(s) => AttributeValue::S(s),
        Neutral::Bool(b) => AttributeValue::Bool(b),
        Neutral::B(b) => AttributeValue::B(Blob::new(b)),
        Neutral::Null(null) => AttributeValue::Null(null),
        Neutral::M(map) => {
            AttributeValue::M(map.into_iter().map(|(k, v)| (k, of_neutral(v))).collect())
        }
        Neutral::L(list) => AttributeValue::L(list.into_iter().map(of_neutral).collect()),
        Neutral::Ss(all) => AttributeValue::Ss(all),
        Neutral::Ns(all) => AttributeValue::Ns(all),
        Neutral::Bs(all) => AttributeValue::Bs(all.into_iter().map(Blob::new).collect()),
    }
}

fn to_neutral(attribute: AttributeValue) -> Option<Neutral> {
    Some(match attribute {
        AttributeValue::N(n) => Neutral::N(n),
        AttributeValue::S(s) => Neutral::S(s),
        AttributeValue::Bool(b) => Neutral::Bool(b),
        AttributeValue::B(b) => Neutral::B(b.into_inner()),
        AttributeValue::Null(null) => Neutral::Null(null),
        AttributeValue::M(map) => {
            let each = map.into_iter().map(|(k, v)| Some((k, to_neutral(v)?)));
            Neutral::M(each.collect::<Option<HashMap<_, _>>>()?)
        }
        AttributeValue::L(list) => {
            Neutral::L(list.into_iter().map(to_neutral).collect::<Option<_>>()?)
        }
        AttributeValue::Ss(all) => Neutral::Ss(all),
        AttributeValue::Ns(all) => Neutral::Ns(all),
        AttributeValue::Bs(all) => Neutral::Bs(all.into_iter().map(Blob::into_inner).collect()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, CheckpointId, Version};

    #[test]
    fn each_type_goes_there_and_back() {
        let all = [
            r#"{"N":"-1.5"}"#,
            r#"{"S":"ä\"\\"}"#,
            r#"{"BOOL":false}"#,
            r#"{"B":"AAH/"}"#,
            r#"{"NULL":true}"#,
            r#"{"M":{"a":{"L":[{"N":"1"},{"M":{}}]}}}"#,
            r#"{"L":[]}"#,
            r#"{"SS":["a"]}"#,
            r#"{"NS":["1"]}"#,
            r#"{"BS":["AA=="]}"#,
        ];
        let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
        for json in all {
            let item = Item { native: true, ..Item::new(version, Some(Bytes::from(json))) };
            check(&item).unwrap();
            let attribute = of_row(&Row::from(item.clone())).unwrap();
            let back = to_json(attribute, &Attributes::new()).unwrap();
            assert_eq!(back, json.as_bytes(), "{json}");
            assert_eq!(of_row(&Row::from(Item { native: false, ..item })), None);
        }
        let broken = Item { native: true, ..Item::new(version, Some(Bytes::from("{}"))) };
        assert!(check(&broken).is_err());
    }
}
