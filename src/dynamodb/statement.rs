//! What an item is to hold, as attributes and as a statement.
//!
//! Owns [`Content`] and the words of statements. Which one is sent, and what its answer means, is
//! `write`'s.

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure,
};
use bytes::Bytes;

use super::item::{self, EXPIRES, TTL, VALUE, VERSION, number};
use super::meter::Purpose;
use super::write::{Route, Write, below};
use crate::error::{Error, Result};
use crate::ids::Version;
use crate::teeth::{Tooth, bites};

/// What an item will hold besides its key.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) version: Version,
    /// `None` is a tombstone.
    pub(super) value: Option<Bytes>,
    /// When the value expires, milliseconds since 1970.
    pub(super) expires_ms: Option<u64>,
    /// When DynamoDB may delete the item, seconds since 1970.
    pub(super) ttl: Option<u64>,
}

/// The attributes that an item may have and lose again.
const OPTIONAL: [&str; 3] = [VALUE, TTL, EXPIRES];

impl Content {
    /// Its attributes, in one order.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'static str, AttributeValue)> {
        let values = [
            self.value.as_ref().map(|value| item::binary(value)),
            self.ttl.map(number),
            self.expires_ms.map(number),
        ];
        let there = |(name, value): (_, Option<_>)| Some((name, value?));
        let version = (VERSION, number(self.version.to_number()));
        OPTIONAL.into_iter().zip(values).filter_map(there).chain([version])
    }
}

/// The statement of `write` by its way, with its parameters in the statement's order.
pub(super) fn statement(table: &str, write: &Write) -> Result<BatchStatementRequest> {
    let key = [AttributeValue::S(write.pk.clone()), item::binary(&write.sort_key)];
    let below = below(Purpose::Materialise, write.content.version);
    let mut parameters = Vec::with_capacity(8);
    // One buffer: thousands of statements are made at a time.
    let mut text = String::with_capacity(160);
    let insert = matches!(write.route, Route::Insert { .. });
    if write.content.value.is_none() && bites(Tooth::ItemsDeleted) {
        push(&mut text, &["DELETE FROM \"", table, "\""]);
    } else if insert {
        push(&mut text, &["INSERT INTO \"", table, "\" VALUE {'pk': ?, 'sk': ?"]);
        parameters.extend(key.clone());
        for (name, value) in write.content.attributes() {
            push(&mut text, &[", '", name, "': ?"]);
            parameters.push(value);
        }
        text.push('}');
    } else {
        push(&mut text, &["UPDATE \"", table, "\""]);
        let mut gone = OPTIONAL.map(Some);
        for (name, value) in write.content.attributes() {
            push(&mut text, &[" SET \"", name, "\"=?"]);
            parameters.push(value);
            gone.iter_mut().filter(|it| **it == Some(name)).for_each(|it| *it = None);
        }
        gone.iter().flatten().for_each(|name| push(&mut text, &[" REMOVE \"", name, "\""]));
    }
    if parameters.is_empty() || !insert {
        text.push_str(r#" WHERE "pk"=? AND "sk"=? AND "c"<?"#);
        parameters.extend(key);
        parameters.push(below);
    }
    BatchStatementRequest::builder()
        .statement(text)
        .set_parameters(Some(parameters))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(|e| Error::internal(format!("a statement was not complete: {e}")))
}

fn push(text: &mut String, words: &[&str]) {
    words.iter().for_each(|word| text.push_str(word));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Option<Bytes>, expires_ms: Option<u64>, route: Route) -> String {
        let ttl = (value.is_none() || expires_ms.is_some()).then_some(77);
        let version = Version::from_number(1_000_000_000_002);
        let content = Content { version, value, expires_ms, ttl };
        let sort_key = Bytes::from_static(&[1]);
        let write = Write { index: 0, pk: "pk".to_owned(), sort_key, content, route };
        let statement = statement("t", &write).unwrap();
        let parameters = statement.parameters.unwrap_or_default();
        assert_eq!(parameters.contains(&number(77)), ttl.is_some());
        assert_eq!(parameters.len(), statement.statement.matches('?').count());
        statement.statement
    }

    /// A tombstone that is followed by a value must lose its expiry, or DynamoDB deletes the value.
    #[test]
    fn values_have_no_expiry_unless_they_are_given_one_and_tombstones_no_value() {
        let value = || Some(Bytes::from_static(b"v"));
        let (update, insert) = (Route::Update { last: false }, Route::Insert { last: false });
        let of_value = text(value(), None, update);
        assert!(of_value.contains(r#"SET "v"=? SET "c"=? REMOVE "ttl" REMOVE "e" WHERE"#));
        let expiring = text(value(), Some(5), update);
        assert!(expiring.contains(r#"SET "v"=? SET "ttl"=? SET "e"=? SET "c"=? WHERE"#));
        let tombstone = text(None, None, update);
        assert!(tombstone.contains(r#"SET "ttl"=? SET "c"=? REMOVE "v" REMOVE "e" WHERE"#));
        assert!(!text(value(), None, insert).contains("ttl"));
        assert!(text(value(), Some(5), insert).contains("'v': ?, 'ttl': ?, 'e': ?, 'c': ?}"));
        assert!(!text(None, None, insert).contains("'v'"));
    }
}
