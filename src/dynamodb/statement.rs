//! What an item is to hold, as attributes and as a statement.
//!
//! Owns the attributes of a [`Row`] and the words of statements. A statement is for an item of one part under
//! a plain key, and takes effect only where such a one is, or none.
//! Which one is sent, and what its answer means, is
//! `write`'s.

use super::item::{
    self, EXPIRES, KEY, KEY_BYTES, NATIVE, PART, PARTS, TTL, VALUE, VERSION, number,
};
use super::native;
use super::parts::Row;
use super::put::below;
use super::write::{Route, Write};
use crate::error::{Error, Result};
use crate::teeth::{Tooth, bites};
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure,
};

/// The attributes that an item may have and lose again.
const OPTIONAL: [&str; 4] = [VALUE, NATIVE, TTL, EXPIRES];
/// What only items that are put have.
const PUT_ONLY: [&str; 4] = [PART, PARTS, KEY, KEY_BYTES];

impl Row {
    /// Its attributes, in one order.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'static str, AttributeValue)> {
        let native = native::of_row(self);
        let values = [
            self.value.as_ref().filter(|_| native.is_none()).map(|value| item::binary(value)),
            native,
            self.ttl.map(number),
            self.expires_ms.map(number),
            (self.part > 0).then(|| number(self.part.into())),
            (self.parts > 1).then(|| number(self.parts.into())),
            self.key.as_ref().map(|key| item::binary(key)),
            self.key_bytes.map(number),
        ];
        let there = |(name, value): (_, Option<_>)| Some((name, value?));
        let version = (VERSION, number(self.version.to_number()));
        let names = OPTIONAL.into_iter().chain(PUT_ONLY);
        names.zip(values).filter_map(there).chain([version])
    }
}

/// The statement of `write` by its way, with its parameters in the statement's order.
pub(super) fn statement(table: &str, write: &Write) -> Result<BatchStatementRequest> {
    let key = [AttributeValue::S(write.pk.clone()), item::binary(&write.sort_key)];
    let below = below(write.row.version, Tooth::ItemsUnconditional);
    let mut parameters = Vec::with_capacity(8);
    // One buffer: thousands of statements are made at a time.
    let mut text = String::with_capacity(160);
    let insert = matches!(write.route, Route::Insert { .. });
    if write.row.value.is_none() && bites(Tooth::ItemsDeleted) {
        push(&mut text, &["DELETE FROM \"", table, "\""]);
    } else if insert {
        push(&mut text, &["INSERT INTO \"", table, "\" VALUE {'pk': ?, 'sk': ?"]);
        parameters.extend(key.clone());
        for (name, value) in write.row.attributes() {
            push(&mut text, &[", '", name, "': ?"]);
            parameters.push(value);
        }
        text.push('}');
    } else {
        push(&mut text, &["UPDATE \"", table, "\""]);
        let mut gone = OPTIONAL.map(Some);
        for (name, value) in write.row.attributes() {
            push(&mut text, &[" SET \"", name, "\"=?"]);
            parameters.push(value);
            gone.iter_mut().filter(|it| **it == Some(name)).for_each(|it| *it = None);
        }
        gone.iter().flatten().for_each(|name| push(&mut text, &[" REMOVE \"", name, "\""]));
    }
    if parameters.is_empty() || !insert {
        text.push_str(r#" WHERE "pk"=? AND "sk"=? AND "c"<?"#);
        // An item of several parts is for `whole`, which empties those that are too many.
        if !bites(Tooth::PartsLeft) {
            text.push_str(r#" AND "n" IS MISSING"#);
        }
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
    use bytes::Bytes;

    use super::*;
    use crate::ids::Version;
    use crate::state::Item;

    fn text(value: Option<Bytes>, expires_ms: Option<u64>, route: Route) -> String {
        let ttl = (value.is_none() || expires_ms.is_some()).then_some(77);
        let version = Version::from_number(1_000_000_000_002);
        let row = Row { ttl, ..Row::from(Item { expires_ms, ..Item::new(version, value) }) };
        let write = Write {
            index: 0,
            pk: "pk".to_owned(),
            sort_key: Bytes::from_static(&[1]),
            row,
            others: Vec::new(),
            parts_ttl: 0,
            parts_there: 1,
            route,
        };
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
        assert!(
            of_value.contains(r#"SET "v"=? SET "c"=? REMOVE "d" REMOVE "ttl" REMOVE "e" WHERE"#)
        );
        let expiring = text(value(), Some(5), update);
        assert!(expiring.contains(r#"SET "v"=? SET "ttl"=? SET "e"=? SET "c"=? REMOVE "d" WHERE"#));
        let tombstone = text(None, None, update);
        assert!(
            tombstone.contains(r#"SET "ttl"=? SET "c"=? REMOVE "v" REMOVE "d" REMOVE "e" WHERE"#)
        );
        assert!(!text(value(), None, insert).contains("ttl"));
        assert!(text(value(), Some(5), insert).contains("'v': ?, 'ttl': ?, 'e': ?, 'c': ?}"));
        assert!(!text(None, None, insert).contains("'v'"));
    }
}
