//! How an entry that is too large for one item, or whose key is, stands in the table.
//!
//! ```text
//! key of at most 1,019 bytes             key                    part 0: n = number of parts, v, c
//!                                        key ‖ 00 00 00 01      part 1: i = 1, v, c
//! none                                   00                     part 0: k = nothing, …
//! longer   first 1,004 bytes ‖ hash ‖ 00 00 00 00               part 0: k = the whole key, …
//!          first 1,004 bytes ‖ hash ‖ 00 00 00 01               part 1
//! over 200 KiB                           likewise               part 0: k = its first 200 KiB, l = all its bytes, …
//!                                                               part 1: k = the next 200 KiB, …
//! ```
//! Keys are self-delimiting: no key of a state begins with another one, so no part's place is another
//! key's, and parts follow their entry. Only a long key's place has 1,024 bytes. The rest of a key stands in the
//! first parts after part 0, in the same ones whatever the value is, a tombstone included; the value's in those
//! after them.
//!
//! Owns the places and the [`Row`]s, how an item becomes parts and what parts come to. In which order
//! they are written is `whole`'s.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use super::item::MAX_SORT_KEY_BYTES;
use crate::ids::Version;
use crate::state::Item;
use crate::teeth::{Tooth, bites};

/// Value bytes of one item at most: 400 KiB less 2 KiB for keys, names and numbers.
pub(super) const PART_BYTES: usize = (400 << 10) - 2048;
/// More parts than this are damage, or too much.
pub(super) const MAX_PARTS: u32 = 1 << 16;
/// Bytes of a key in one item at most, beside a value: a longer one goes on in the next parts.
pub(super) const KEY_BYTES: usize = 200 << 10;

/// How many bytes of a value and of a key one item has at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartSizes {
    pub(super) value: usize,
    pub(super) key: usize,
}

impl Default for PartSizes {
    fn default() -> Self {
        Self { value: PART_BYTES, key: KEY_BYTES }
    }
}

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
    place.put_u128(if bites(Tooth::LongKeysCollide) { 0 } else { hash(key) });
    place.put_u32(0);
    place.freeze()
}

/// xxh3-128; of a key that no condition of a write can compare whole, the first half of SHA-256, for which nobody
/// finds two keys.
fn hash(key: &[u8]) -> u128 {
    if key.len() <= KEY_BYTES {
        return xxh3_128(key);
    }
    Sha256::digest(key).iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
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
    /// Its bytes of the entry's key, where that is not its sort key.
    pub key: Option<Bytes>,
    /// How many bytes the key has, where the next parts have more of it. Of part 0.
    pub key_bytes: Option<u64>,
}

impl From<Item> for Row {
    /// The only part.
    fn from(item: Item) -> Self {
        let Item { version, value, native, expires_ms, event_time: _ } = item;
        let (ttl, key, key_bytes) = (None, None, None);
        Self { version, value, native, expires_ms, ttl, part: 0, parts: 1, key, key_bytes }
    }
}

impl Row {
    /// A part after the first, of the key or of the value.
    pub(super) fn another(&self, part: u32, key: Option<Bytes>, value: Option<Bytes>) -> Self {
        Self { part, key, ttl: self.ttl, ..Self::from(Item::new(self.version, value)) }
    }

    /// What is left where this one's value has no such part.
    pub(super) fn nothing(&self, part: u32, ttl: u64) -> Self {
        Self { part, ttl: Some(ttl), ..Self::from(Item::new(self.version, None)) }
    }

    /// Whether nothing is left of a part but its version.
    #[must_use]
    pub fn is_emptied(&self) -> bool {
        self.part > 0 && self.key.is_none() && self.value.is_none()
    }

    /// About how many bytes each other part of the entry has, of which this is the first: none has more, but for
    /// names and numbers, since only the last ones are not full.
    pub(super) fn bytes_of_another(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len) + self.key.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it is the first part of the entry of `key`, as far as it tells by itself.
    pub(super) fn begins(&self, key: &[u8]) -> bool {
        let is_so = match (&self.key, self.key_bytes) {
            (None, _) => !is_hidden(key),
            (Some(whole), None) => is_hidden(key) && whole == key,
            (Some(beginning), Some(bytes)) => {
                key.len() as u64 == bytes && key.starts_with(beginning)
            }
        };
        self.part == 0 && is_so
    }

    /// The item of the only part.
    pub(super) fn into_item(self) -> Item {
        let Self { version, value, native, expires_ms, ttl, .. } = self;
        let event_time = expires_ms.is_some() && ttl.is_none();
        Item { version, value, native, expires_ms, event_time }
    }
}

/// Cuts bytes into a first part of at most `first` bytes, and others of at most `each`.
pub(super) fn split(mut bytes: Bytes, first: usize, each: usize) -> (Bytes, Vec<Bytes>) {
    let front = bytes.split_to(first.min(bytes.len()));
    let mut others = Vec::with_capacity(bytes.len().div_ceil(each.max(1)));
    while !bytes.is_empty() {
        others.push(bytes.split_to(each.max(1).min(bytes.len())));
    }
    (front, others)
}

/// What pieces come to; `None` where there are none.
fn glued(mut pieces: Vec<Bytes>) -> Option<Bytes> {
    if pieces.len() > 1 {
        return Some(pieces.concat().into());
    }
    pieces.pop()
}

/// The whole key of the entry whose first part is `first`, at `place`; `part` gives each other one. `None` where
/// some of it is not there: then no put of the entry was ever answered, since each one after the first finds all
/// of the key, in the same parts.
pub fn key_of<'r>(
    first: &Row,
    place: &Bytes,
    part: impl Fn(u32) -> Option<&'r Row>,
) -> Option<Bytes> {
    let Some(beginning) = &first.key else { return Some(place.clone()) };
    let Some(bytes) = first.key_bytes else { return Some(beginning.clone()) };
    let mut pieces = vec![beginning.clone()];
    let mut missing = bytes.checked_sub(beginning.len() as u64)?;
    for number in 1..first.parts {
        if missing == 0 {
            break;
        }
        let piece = part(number)?.key.clone()?;
        missing = missing.checked_sub(piece.len() as u64)?;
        pieces.push(piece);
    }
    if missing == 0 { glued(pieces) } else { None }
}

/// Why parts are no value, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn(pub String);

/// For how many seconds the clocks of a table and of its readers may differ.
const CLOCKS_DIFFER_BY: u64 = 3600;

/// An entry that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its key, where that is not its sort key.
    pub key: Option<Bytes>,
    /// What it holds.
    pub item: Item,
}

/// The entry that `first` and the other parts make, in their order; `None` for one that is not there.
/// After its `ttl`, at `now` in seconds since 1970, an item without one of its parts is gone as a whole,
/// since they are deleted one by one.
///
/// # Errors
/// They are not all of one write.
pub fn join(
    mut first: Row,
    others: impl IntoIterator<Item = Option<Row>>,
    now: u64,
) -> Result<Option<Joined>, Torn> {
    let has_value = first.value.is_some();
    let (mut key, mut value) =
        (Vec::from_iter(first.key.take()), Vec::from_iter(first.value.take()));
    let mut others = others.into_iter();
    for part in 1..first.parts {
        match others.next().flatten() {
            Some(row) if row.version != first.version => {
                let (is, was) = (row.version, first.version);
                return Err(Torn(format!(
                    "part {part} is of version {is}, the first one of {was}"
                )));
            }
            Some(row) if row.part == part && !row.is_emptied() => {
                key.extend(row.key);
                value.extend(row.value.filter(|_| has_value));
            }
            Some(_) => {
                let version = first.version;
                return Err(Torn(format!("part {part} of version {version} is another one's")));
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
    let key = glued(key);
    let there = key.as_ref().map_or(0, Bytes::len) as u64;
    if let Some(bytes) = first.key_bytes.filter(|bytes| *bytes != there) {
        return Err(Torn(format!("{there} bytes of a key of {bytes} are there")));
    }
    Ok(Some(Joined { key, item: Item { value: glued(value), ..first.into_item() } }))
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
        let others = (1..).zip(others).map(|(part, value)| first.another(part, None, Some(value)));
        std::iter::once(first.clone()).chain(others.collect::<Vec<_>>()).collect()
    }

    fn stored_and_read(row: &Row) -> Row {
        let attributes = row.attributes().map(|(name, value)| (name.to_owned(), value));
        item::read_row(attributes.collect()).unwrap()
    }

    fn joined(mut rows: Vec<Row>) -> Result<Option<Item>, Torn> {
        let first = rows.remove(0);
        join(first, rows.into_iter().map(Some), 0).map(|joined| joined.map(|joined| joined.item))
    }

    /// The rows of a key, cut into such pieces, under which there is such a value.
    fn rows_of_key(key: &Bytes, each: usize, value: Option<&'static [u8]>) -> Vec<Row> {
        let (beginning, rest) = split(key.clone(), each, each);
        let item = Item::new(VERSION, value.map(Bytes::from_static));
        let first = Row {
            parts: 1 + rest.len() as u32,
            key: Some(beginning),
            key_bytes: (!rest.is_empty()).then_some(key.len() as u64),
            ..Row::from(item)
        };
        let others = (1..).zip(rest).map(|(part, key)| first.another(part, Some(key), None));
        std::iter::once(first.clone()).chain(others.collect::<Vec<_>>()).collect()
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

        #[test]
        fn a_key_that_was_split_is_joined_and_found_whatever_its_parts_versions_are(
            key in prop::collection::vec(any::<u8>(), 1020..1200), each in 1usize..1300,
            value in prop::option::of(Just(&b"value"[..])), gone in any::<prop::sample::Index>(),
        ) {
            let key = Bytes::from(key);
            let rows: Vec<Row> = rows_of_key(&key, each, value).iter().map(stored_and_read).collect();
            prop_assert!(rows[0].begins(&key));
            prop_assert!(!rows[0].begins(&key[..1019]));
            let other = Bytes::from([&key[..], b"x"].concat());
            prop_assert!(!rows[0].begins(&other));
            let others = rows[1..].iter().cloned().map(Some);
            let joined = join(rows[0].clone(), others, 0).unwrap().unwrap();
            prop_assert_eq!(joined.key.as_ref(), Some(&key));
            prop_assert_eq!(joined.item.value.as_deref(), value);
            let mut later = rows.clone();
            later.iter_mut().skip(1).for_each(|row| row.version = Version::from_number(1));
            let place = first_place(&key);
            let of = |rows: &[Row]| key_of(&rows[0], &place, |part| rows.get(part as usize));
            prop_assert_eq!(of(&later), Some(key.clone()));
            prop_assert!(rows.len() == 1 || of(&rows[..gone.index(rows.len() - 1) + 1]).is_none());
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
    fn a_key_that_is_not_all_there_is_no_entry() {
        let key = Bytes::from(vec![7; 1030]);
        let whole = rows_of_key(&key, 500, Some(b"v"));
        assert_eq!(whole.len(), 3);
        let mut emptied = whole.clone();
        emptied[2] = whole[0].nothing(2, 5);
        joined(emptied).unwrap_err();
        let mut short = whole.clone();
        short[2].key = Some(Bytes::from_static(&[7; 20]));
        let Torn(why) = joined(short).unwrap_err();
        assert_eq!(why, "1020 bytes of a key of 1030 are there");
        // A number of bytes that no parts are counted for is damage, too.
        let alone = Row { parts: 1, ..whole[0].clone() };
        joined(vec![alone]).unwrap_err();
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
        let split = Bytes::from(vec![7; 204_801]);
        let place = first_place(&split);
        assert_eq!((place.len(), &place[..1004]), (1024, &split[..1004]));
        assert_eq!(place[1004..1020], Sha256::digest(&split)[..16]);
        let whole = split.slice(..204_800);
        assert_eq!(first_place(&whole)[1004..1020], xxh3_128(&whole).to_be_bytes());
        let sizes = PartSizes::default();
        assert_eq!((sizes.value, sizes.key), (407_552, 204_800));
        assert_eq!(hash(&Bytes::from(vec![0; 204_801])), GOLDEN_OF_SPLIT);
    }

    /// Of 204,801 zeros.
    const GOLDEN_OF_SPLIT: u128 = 0x0d7ad231c5081143c544878102d6eedc;
    const GOLDEN_HASH: u128 = 296_732_062_568_749_784_981_541_346_122_945_092_506;
}
