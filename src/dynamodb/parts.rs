//! How an entry that is too large for one item, or whose key is, stands in the table.
//!
//! ```text
//! key of at most 1,019 bytes             key                    part 0: n = number of parts, v, c
//!                                        key ‖ 00 00 00 01      part 1: i = 1, v, c
//! none                                   00                     part 0: k = nothing, …
//! longer   first 1,004 bytes ‖ xxh3-128 ‖ 00 00 00 00           part 0: k = the whole key, …
//!          first 1,004 bytes ‖ xxh3-128 ‖ 00 00 00 01           part 1
//! ```
//! Keys are self-delimiting: no key of a state begins with another one, so no part's place is another
//! key's, and parts follow their entry. Only a long key's place has 1,024 bytes.
//!
//! Owns the places and the [`Row`]s, how an item becomes parts and what parts come to. In which order
//! they are written is `whole`'s.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_128;

use super::item::MAX_SORT_KEY_BYTES;
use crate::ids::Version;
use crate::state::Item;
use crate::teeth::{Tooth, bites};

/// Value bytes of one item at most: 400 KiB less 2 KiB for keys, names and numbers.
pub(super) const PART_BYTES: usize = (400 << 10) - 2048;
/// More parts than this are damage, or too much.
pub(super) const MAX_PARTS: u32 = 1 << 16;
/// The longest key of all: it stands whole in an item, beside a value.
pub(super) const MAX_KEY_BYTES: usize = 200 << 10;

/// A part's number in a place.
const NUMBER_BYTES: usize = 4;
/// The longest key that is a place as it is: its parts still have fewer bytes than a long one's.
const MAX_PLAIN_BYTES: usize = MAX_SORT_KEY_BYTES - NUMBER_BYTES - 1;
/// What is kept of a long key before its hash.
pub(super) const PREFIX_BYTES: usize = MAX_SORT_KEY_BYTES - NUMBER_BYTES - 16;

/// Where the empty key stands, which is alone in its state: no key begins with another one.
const PLACE_OF_EMPTY: &[u8] = &[0];

/// Whether the place of `key` is another than itself, so that it stands whole in an attribute.
pub(super) fn is_hidden(key: &[u8]) -> bool {
    key.is_empty() || key.len() > MAX_PLAIN_BYTES
}

/// The sort key under which the first part of the entry of `key` stands.
pub(super) fn first_place(key: &Bytes) -> Bytes {
    if key.is_empty() {
        return Bytes::from_static(PLACE_OF_EMPTY);
    }
    if !is_hidden(key) {
        return key.clone();
    }
    let mut place = BytesMut::with_capacity(MAX_SORT_KEY_BYTES);
    place.put_slice(&key[..PREFIX_BYTES]);
    place.put_u128(if bites(Tooth::LongKeysCollide) { 0 } else { xxh3_128(key) });
    place.put_u32(0);
    place.freeze()
}

/// The sort key of another part of the entry whose first one stands at `first`.
pub fn place_of_part(first: &[u8], part: u32) -> Bytes {
    let long = first.len() == MAX_SORT_KEY_BYTES;
    let base = if long { &first[..first.len() - NUMBER_BYTES] } else { first };
    let mut place = BytesMut::with_capacity(base.len() + NUMBER_BYTES);
    place.put_slice(base);
    place.put_u32(part);
    place.freeze()
}

/// The place of the first part of the entry of which another part stands at `place`.
pub fn place_of_first(place: &[u8]) -> Bytes {
    let base = &place[..place.len().saturating_sub(NUMBER_BYTES)];
    if place.len() == MAX_SORT_KEY_BYTES {
        return place_of_part(place, 0);
    }
    Bytes::copy_from_slice(base)
}

/// One item of a state's partition, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The version of the write that it is of.
    pub version: Version,
    /// Its bytes of the value; `None`: a tombstone, or a part that is not needed any more.
    pub value: Option<Bytes>,
    /// Whether that is DynamoDB's JSON of an attribute, and stands as that attribute. Of the only part.
    pub native: bool,
    /// When the value expires, milliseconds since 1970; without `ttl` by the times of records. Of part 0.
    pub expires_ms: Option<u64>,
    /// When DynamoDB may delete it, seconds since 1970.
    pub ttl: Option<u64>,
    /// Which part it is; 0 is the one that is read first.
    pub part: u32,
    /// How many parts there are. Of part 0; 1 of others.
    pub parts: u32,
    /// The entry's key, where that is not its sort key. Of part 0.
    pub whole_key: Option<Bytes>,
}

impl From<Item> for Row {
    /// The only part.
    fn from(item: Item) -> Self {
        let Item { version, value, native, expires_ms, event_time: _ } = item;
        Self { version, value, native, expires_ms, ttl: None, part: 0, parts: 1, whole_key: None }
    }
}

impl Row {
    /// A part of this one's value, after the first.
    pub(super) fn another(&self, part: u32, value: Bytes) -> Self {
        let (value, ttl) = (Some(value), self.ttl);
        Self { part, ttl, ..Self::from(Item::new(self.version, value)) }
    }

    /// What is left where this one's value has no such part.
    pub(super) fn nothing(&self, part: u32, ttl: u64) -> Self {
        Self { part, ttl: Some(ttl), ..Self::from(Item::new(self.version, None)) }
    }

    /// The item of the only part.
    pub(super) fn into_item(self) -> Item {
        let Self { version, value, native, expires_ms, ttl, .. } = self;
        let event_time = expires_ms.is_some() && ttl.is_none();
        Item { version, value, native, expires_ms, event_time }
    }
}

/// Cuts a value into a first part of at most `first` bytes, and others of at most `each`.
pub(super) fn split(mut value: Bytes, first: usize, each: usize) -> (Bytes, Vec<Bytes>) {
    let front = value.split_to(first.min(value.len()));
    let mut others = Vec::with_capacity(value.len().div_ceil(each.max(1)));
    while !value.is_empty() {
        others.push(value.split_to(each.max(1).min(value.len())));
    }
    (front, others)
}

/// Why parts are no value, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn(pub String);

/// For how many seconds the clocks of a table and of its readers may differ.
const CLOCKS_DIFFER_BY: u64 = 3600;

/// The item that `first` and the other parts make, in their order; `None` for one that is not there.
/// After its `ttl`, at `now` in seconds since 1970, an item without one of its parts is gone as a whole,
/// since they are deleted one by one.
///
/// # Errors
/// They are not all of one write.
pub fn join(
    first: Row,
    others: impl IntoIterator<Item = Option<Row>>,
    now: u64,
) -> Result<Option<Item>, Torn> {
    if first.parts <= 1 {
        return Ok(Some(first.into_item()));
    }
    let mut pieces = vec![first.value.clone().unwrap_or_default()];
    let mut others = others.into_iter();
    for part in 1..first.parts {
        match others.next().flatten() {
            Some(Row { version, part: at, value: Some(value), .. })
                if version == first.version && at == part =>
            {
                pieces.push(value);
            }
            Some(row) => {
                let (is, was) = (row.version, first.version);
                return Err(Torn(format!(
                    "part {part} is of version {is}, the first one of {was}"
                )));
            }
            None if first.ttl.is_some_and(|ttl| ttl <= now.saturating_add(CLOCKS_DIFFER_BY)) => {
                return Ok(None);
            }
            None => {
                let (parts, version) = (first.parts, first.version);
                return Err(Torn(format!(
                    "part {part} of {parts} of version {version} is missing"
                )));
            }
        }
    }
    let value = Some(Bytes::from(pieces.concat()));
    Ok(Some(Item { value, ..first.into_item() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Key;
    use crate::dynamodb::item;

    const VERSION: Version =
        Version { attempt: crate::ids::Attempt(3), checkpoint: crate::ids::CheckpointId(7) };

    fn first(value: Bytes, parts: u32) -> Row {
        Row { parts, ..Row::from(Item::new(VERSION, Some(value))) }
    }

    /// The rows of a value.
    fn rows(value: &Bytes, first_bytes: usize, each: usize) -> Vec<Row> {
        let (front, others) = split(value.clone(), first_bytes, each);
        let first = first(front, 1 + others.len() as u32);
        let others = (1..).zip(others).map(|(part, value)| first.another(part, value));
        std::iter::once(first.clone()).chain(others.collect::<Vec<_>>()).collect()
    }

    fn stored_and_read(row: &Row) -> Row {
        let attributes = row.attributes().map(|(name, value)| (name.to_owned(), value));
        item::read_row(attributes.collect()).unwrap()
    }

    fn joined(mut rows: Vec<Row>) -> Result<Option<Item>, Torn> {
        let first = rows.remove(0);
        join(first, rows.into_iter().map(Some), 0)
    }

    fn encoded<K: Key>(key: &K) -> Bytes {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        bytes.into()
    }

    proptest! {
        #[test]
        fn what_was_split_is_joined(value: Vec<u8>, first in 0usize..40, each in 1usize..40) {
            let value = Bytes::from(value);
            // As attributes, and back.
            let rows: Vec<Row> = rows(&value, first, each).iter().map(stored_and_read).collect();
            prop_assert!(rows[1..].iter().all(|row| row.value.as_ref().unwrap().len() <= each));
            prop_assert_eq!(joined(rows).unwrap().unwrap().value, Some(value));
        }

        /// Neither of short keys nor of long ones, which the letter repeated makes.
        #[test]
        fn no_two_parts_share_a_place(
            a in ("[ab]{0,3}", 0usize..1100), b in ("[ab]{0,3}", 0usize..1100),
            m in 0u32..9, n in 0u32..9,
        ) {
            let key = |(text, more): &(String, usize)| encoded(&format!("{}{text}", "a".repeat(*more)));
            let place = |key: &Bytes, part| match part {
                0 => first_place(key),
                part => place_of_part(&first_place(key), part),
            };
            let (x, y) = (key(&a), key(&b));
            prop_assert!(place(&x, m).len() <= MAX_SORT_KEY_BYTES);
            prop_assert_eq!(place(&x, m) == place(&y, n), x == y && m == n);
            if n > 0 {
                prop_assert_eq!(place_of_first(&place(&y, n)), first_place(&y));
            }
            // Parts follow their entry, before all that is greater.
            if !is_hidden(&x) && !is_hidden(&y) && x < y {
                prop_assert!(place(&x, m) < place(&y, n));
            }
        }
    }

    #[test]
    fn parts_of_several_writes_are_no_value() {
        let value = Bytes::from_static(b"abcdefghij");
        let whole = rows(&value, 3, 3);
        let mut other_version = whole.clone();
        other_version[2].version = Version::from_number(1);
        let Torn(why) = joined(other_version).unwrap_err();
        assert!(why.contains("part 2 is of version 0.1, the first one of 3.7"), "{why}");
        let mut mixed_up = whole.clone();
        mixed_up.swap(1, 2);
        joined(mixed_up).unwrap_err();
        let Torn(why) = joined(whole[..3].to_vec()).unwrap_err();
        assert!(why.contains("part 3 of 4 of version 3.7 is missing"), "{why}");
        // What lies past the number is not looked at.
        let mut more = whole;
        more.push(Row { part: 4, ..more[1].clone() });
        assert_eq!(joined(more).unwrap().unwrap().value, Some(value));
    }

    #[test]
    fn an_expired_item_is_gone_with_its_first_missing_part() {
        let mut rows = rows(&Bytes::from_static(b"abcdefghij"), 3, 3);
        rows[0].ttl = Some(100_000);
        let at = |now| join(rows[0].clone(), [None], now);
        assert_eq!(at(99_000), Ok(None));
        assert!(at(90_000).is_err());
    }

    /// Stored tables depend on it.
    #[test]
    fn golden_places() {
        let long = Bytes::from(vec![7; 1020]);
        let place = first_place(&long);
        assert_eq!(place.len(), 1024);
        assert_eq!(place[..1004], long[..1004]);
        assert_eq!(place[1004..1020], xxh3_128(&long).to_be_bytes());
        assert_eq!(place[1020..], [0; 4]);
        assert_eq!(place_of_part(&place, 258)[1020..], [0, 0, 1, 2]);
        assert_eq!(place_of_part(b"key", 1)[..], *b"key\0\0\0\x01");
        assert_eq!(first_place(&Bytes::new())[..], [0]);
        assert_eq!(first_place(&long.slice(..1019)), long.slice(..1019));
        assert_eq!(xxh3_128(b"millpond"), GOLDEN_HASH);
    }

    const GOLDEN_HASH: u128 = 296_732_062_568_749_784_981_541_346_122_945_092_506;
}
