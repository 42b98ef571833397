//! The table's layout: which key an item has, and how its parts become attributes and come back.
//!
//! Owns the layout of state items, tombstones, segments and manifests (`docs/design/0000-state-protocol.md`)
//! and DynamoDB's size limits. Heads are `head_item`'s. What the bytes of a value or block
//! mean is their writers'.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;

use super::native;
use super::parts::{MAX_PARTS, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Incarnation, Name, Version};
use crate::state::{Block, BlockKey, BlockKind, ItemKey, MAX_BLOCK_BYTES};

/// An item, or a key, as the SDK has it.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// Partition key (S).
pub(super) const PK: &str = "pk";
/// Sort key (B).
pub(super) const SK: &str = "sk";
/// A state item's value (B); a tombstone has none.
pub(super) const VALUE: &str = "v";
/// The same as an attribute of its own type, where values are written natively.
pub(super) const NATIVE: &str = "d";
/// The version (N) of every item but the head.
pub(super) const VERSION: &str = "c";
/// When DynamoDB may delete a tombstone or an expired value (N, seconds since 1970). A reserved word in
/// expressions.
pub(super) const TTL: &str = "ttl";
/// When a value expires (N, milliseconds since 1970); others have none.
pub(super) const EXPIRES: &str = "e";
/// Of how many parts an item is (N); without it, of one.
pub(super) const PARTS: &str = "n";
/// Which part after the first an item is (N).
pub(super) const PART: &str = "i";
/// The key of an entry whose sort key is only its beginning and hash (B), or so much of it as one item takes.
pub(super) const KEY: &str = "k";
/// How many bytes that key has (N), where other items have more of it.
pub(super) const KEY_BYTES: &str = "l";
/// A segment's bytes (B).
const SEGMENT: &str = "b";
/// A manifest part's bytes (B).
const MANIFEST: &str = "m";

/// The sort key of items that are alone under their partition key.
pub(super) const ONLY: [u8; 1] = [0];
/// DynamoDB's limit for a sort key.
pub(super) const MAX_SORT_KEY_BYTES: usize = 1024;

/// The job and incarnation that items belong to.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    prefix: String,
}

impl Scope {
    pub(super) fn new(job: &Name, incarnation: Incarnation) -> Self {
        Self { prefix: format!("{job}/{incarnation}") }
    }

    /// The partition key of a state's key group.
    pub(super) fn state_pk(&self, operator: &Name, state: &Name, group: u16) -> String {
        format!("{}/s/{operator}/{state}#{group}", self.prefix)
    }

    /// The partition key of an entry's item.
    pub(super) fn item_pk(&self, key: &ItemKey) -> String {
        self.state_pk(&key.operator, &key.state, key.key_group.0)
    }

    /// The partition key of a slot.
    pub(super) fn slot_pk(&self, kind: BlockKind, slot: u64) -> String {
        let folder = match kind {
            BlockKind::Segment => "log",
            BlockKind::Manifest => "manifest",
        };
        format!("{}/{folder}/{slot}", self.prefix)
    }

    /// The key of a block.
    pub(super) fn block_key(&self, key: BlockKey) -> Attributes {
        let sort_key = match key.kind {
            BlockKind::Segment => ONLY.to_vec(),
            BlockKind::Manifest => key.part.to_be_bytes().to_vec(),
        };
        key_of(self.slot_pk(key.kind, key.slot.0), sort_key)
    }

    /// A block with its key.
    pub(super) fn block(&self, key: BlockKey, version: Version, bytes: &Bytes) -> Attributes {
        let mut item = self.block_key(key);
        item.insert(block_attribute(key.kind).to_owned(), binary(bytes));
        item.insert(VERSION.to_owned(), number(version.to_number()));
        item
    }
}

/// A primary key.
pub(super) fn key_of(pk: String, sk: impl Into<Vec<u8>>) -> Attributes {
    let sk = AttributeValue::B(Blob::new(sk));
    HashMap::from([(PK.to_owned(), AttributeValue::S(pk)), (SK.to_owned(), sk)])
}

/// A binary attribute.
pub(super) fn binary(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// A number attribute.
pub(super) fn number(n: u64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

fn block_attribute(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Segment => SEGMENT,
        BlockKind::Manifest => MANIFEST,
    }
}

/// What is wrong with a stored item.
pub(super) fn corrupt(what: &str, item: &Attributes) -> Error {
    let pk = item.get(PK).and_then(|pk| pk.as_s().ok()).map_or("?", String::as_str);
    Error::new(ErrorKind::Corrupt, format!("the item under {pk:?} {what}"))
}

/// The number in attribute `name`.
pub(super) fn read_number(item: &Attributes, name: &str) -> Result<u64> {
    item.get(name)
        .and_then(|n| n.as_n().ok())
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| corrupt(&format!("has no number {name:?}"), item))
}

/// The version of an item.
pub(super) fn read_version(item: &Attributes) -> Result<Version> {
    read_number(item, VERSION).map(Version::from_number)
}

/// Takes attribute `name`, which must be bytes where it is there.
fn take_bytes(item: &mut Attributes, name: &str) -> Result<Option<Bytes>> {
    match item.remove(name) {
        None => Ok(None),
        Some(AttributeValue::B(blob)) => Ok(Some(Bytes::from(blob.into_inner()))),
        Some(_) => Err(corrupt(&format!("has {name:?} of another type than bytes"), item)),
    }
}

/// Takes the sort key.
pub(super) fn take_sort_key(item: &mut Attributes) -> Result<Bytes> {
    take_bytes(item, SK)?.ok_or_else(|| corrupt("has no sort key", item))
}

/// Of how many parts an item is.
pub(super) fn read_parts(item: &Attributes) -> Result<u32> {
    let Some(parts) = read_optional(item, PARTS)? else { return Ok(1) };
    let parts = u32::try_from(parts).ok().filter(|parts| (2..=MAX_PARTS).contains(parts));
    parts.ok_or_else(|| corrupt("is of a number of parts that cannot be", item))
}

pub(super) fn read_optional(item: &Attributes, name: &str) -> Result<Option<u64>> {
    item.contains_key(name).then(|| read_number(item, name)).transpose()
}

/// A part of a state item, or of a tombstone.
pub(super) fn read_row(mut item: Attributes) -> Result<Row> {
    let part = read_optional(&item, PART)?.map(u32::try_from).transpose();
    let part = part.map_err(|_| corrupt("is a part with a number that cannot be", &item))?;
    let native =
        item.remove(NATIVE).map(|attribute| native::to_json(attribute, &item)).transpose()?;
    Ok(Row {
        version: read_version(&item)?,
        expires_ms: read_optional(&item, EXPIRES)?,
        ttl: read_optional(&item, TTL)?,
        part: part.unwrap_or_default(),
        parts: read_parts(&item)?,
        key: take_bytes(&mut item, KEY)?,
        key_bytes: read_optional(&item, KEY_BYTES)?,
        native: native.is_some(),
        value: native.map_or_else(|| take_bytes(&mut item, VALUE), |json| Ok(Some(json)))?,
    })
}

/// Whose the items under the partition key `pk` of a state are, in words.
pub(super) fn whose(pk: &str) -> String {
    let found = pk.split_once('/').and_then(|(job, rest)| {
        let (_, state) = rest.split_once("/s/")?;
        let (operator, state) = state.split_once('/')?;
        let (state, group) = state.rsplit_once('#')?;
        Some(format!("job {job}, operator {operator}, state {state}, key group {group}"))
    });
    found.unwrap_or_else(|| format!("the items under {pk:?}"))
}

/// A segment or a part of a manifest.
pub(super) fn read_block(kind: BlockKind, mut item: Attributes) -> Result<Block> {
    let version = read_version(&item)?;
    let bytes = take_bytes(&mut item, block_attribute(kind))?
        .ok_or_else(|| corrupt(&format!("is no {kind}: it has no block"), &item))?;
    Ok(Block { version, bytes })
}

/// An item's size as DynamoDB counts it: names and values. A number takes about one byte for two
/// digits, and one more.
pub(super) fn size_of(item: &Attributes) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(s) => s.len(),
        AttributeValue::B(b) => b.as_ref().len(),
        AttributeValue::N(n) => n.len().div_ceil(2) + 1,
        AttributeValue::L(list) => 3 + list.iter().map(|v| 1 + value_size(v)).sum::<usize>(),
        AttributeValue::M(map) => {
            3 + map.iter().map(|(k, v)| 1 + k.len() + value_size(v)).sum::<usize>()
        }
        _ => 1,
    }
}

/// Checks the number of items of an entry, whose key and value have so many bytes.
///
/// # Errors
/// [`ErrorKind::TooLarge`] that names job, operator, state, key group and bytes.
pub(super) fn check_parts(pk: &str, parts: usize, key: usize, value: usize) -> Result<()> {
    if parts <= MAX_PARTS as usize {
        return Ok(());
    }
    let message = format!(
        "{}: a value of {value} bytes under a key of {key} cannot be stored: it would take {parts} items, of \
         {MAX_PARTS} at most",
        whose(pk)
    );
    Err(Error::new(ErrorKind::TooLarge, message))
}

/// Checks a block against [`MAX_BLOCK_BYTES`].
///
/// # Errors
/// [`ErrorKind::Internal`]: the writer of the block cuts it.
pub(super) fn check_block(key: BlockKey, bytes: &Bytes) -> Result<()> {
    if bytes.len() <= MAX_BLOCK_BYTES {
        return Ok(());
    }
    Err(Error::internal(format!(
        "a {} of {} bytes is over the limit of {MAX_BLOCK_BYTES}",
        key.kind,
        bytes.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, CheckpointId, SlotId};
    use crate::key_group::KeyGroup;

    fn scope() -> Scope {
        Scope::new(&Name::new("route_stats").unwrap(), Incarnation(3))
    }

    fn key(sort_key: &[u8]) -> ItemKey {
        ItemKey {
            operator: Name::new("counts").unwrap(),
            state: Name::new("total").unwrap(),
            key_group: KeyGroup(17),
            sort_key: Bytes::copy_from_slice(sort_key),
        }
    }

    fn version() -> Version {
        Version { attempt: Attempt(4), checkpoint: CheckpointId(20) }
    }

    /// Stored tables depend on every byte of this.
    #[test]
    fn the_layout_is_the_design_s() {
        assert_eq!(scope().item_pk(&key(b"k")), "route_stats/3/s/counts/total#17");
        let segment = BlockKey { kind: BlockKind::Segment, slot: SlotId(9), part: 0 };
        let item = scope().block(segment, version(), &Bytes::from_static(b"xyz"));
        assert_eq!(item[PK].as_s().unwrap(), "route_stats/3/log/9");
        assert_eq!(item[SK].as_b().unwrap().as_ref(), [0]);
        assert_eq!(item["b"].as_b().unwrap().as_ref(), b"xyz");
        assert_eq!(item["c"].as_n().unwrap(), "4000000000020");
        let manifest = BlockKey { kind: BlockKind::Manifest, slot: SlotId(1), part: 258 };
        let item = scope().block(manifest, version(), &Bytes::from_static(b""));
        assert_eq!(item[PK].as_s().unwrap(), "route_stats/3/manifest/1");
        assert_eq!(item[SK].as_b().unwrap().as_ref(), [0, 0, 1, 2]);
        assert!(item.contains_key("m"));
    }

    #[test]
    fn damaged_items_are_errors_that_name_the_key() {
        let mut item = key_of("a/1/log/0".to_owned(), ONLY);
        let error = read_block(BlockKind::Segment, item.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("a/1/log/0"), "{error}");
        item.insert(VERSION.to_owned(), number(1));
        item.insert(VALUE.to_owned(), AttributeValue::S("text".to_owned()));
        assert_eq!(read_row(item).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn too_many_parts_are_told_with_job_operator_state_key_group_and_bytes() {
        let pk = scope().item_pk(&key(b"k"));
        assert!(check_parts(&pk, 65_536, 1, 400_000).is_ok());
        let large = check_parts(&pk, 65_537, 7, 40_960_123).unwrap_err().to_string();
        let place = "job route_stats, operator counts, state total, key group 17: ";
        assert!(large.starts_with(place), "{large}");
        assert!(large.contains("40960123 bytes under a key of 7"), "{large}");
    }
}
