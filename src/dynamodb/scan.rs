//! Consistent reads of a range: a `Query` for each MiB.
//!
//! Owns the pages, the bounds as DynamoDB takes them, and which parts belong to which entry. An entry whose key is
//! not all there is none: its first put was never answered, so that whoever owns it has it in memory.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use bytes::Bytes;

use super::call::Caller;
use super::item::{self, Attributes, MAX_SORT_KEY_BYTES};
use super::meter::{self, Purpose};
use super::pace::{Ask, Lane, Rank, Size};
use super::parts::{self, PREFIX_BYTES, Row, Torn, place_of_part};
use super::read::{Asked, Place, read_rows};
use super::send::Errand;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{FILTER_STATE, ItemRange, ScanPage, Scanned};
use crate::teeth::{Tooth, bites};

/// An item of a filter's chunk: one read unit has four of them.
const CHUNK_BYTES: u64 = 1 << 10;

/// How a range is read.
#[derive(Clone, Copy, Debug)]
struct Paging {
    rank: Rank,
    /// Items that a `Query` reads at most; `None`: a MiB of them.
    limit: Option<i32>,
}

impl Paging {
    /// Of a filter no more than is asked for, since whoever comes next waits for what it has taken.
    fn of(range: &ItemRange, max_bytes: u64) -> Self {
        if range.state.as_str() != FILTER_STATE {
            return Self { rank: Rank::Waited, limit: None };
        }
        let limit = i32::try_from(max_bytes.div_ceil(CHUNK_BYTES).max(1)).ok();
        Self { rank: Rank::Filter, limit }
    }
}

/// Reads the items of `range`, whose partition key is `pk`, until they take more than so many bytes; `now`
/// is in seconds since 1970.
pub(super) async fn scan(
    caller: &Caller,
    pk: &str,
    (range, max_bytes): (&ItemRange, u64),
    now: u64,
) -> Result<ScanPage> {
    let paging = Paging::of(range, max_bytes);
    let (mut bytes, mut rest) = (0, None);
    if range.is_empty() {
        return Ok(ScanPage { items: Vec::new(), rest });
    }
    let bounds = Bounds::of(range);
    let mut start = None;
    // The first parts of entries that may be in the range, with their places.
    let mut firsts: Vec<(Bytes, Row)> = Vec::new();
    let mut others: HashMap<Bytes, Row> = HashMap::new();
    loop {
        let (items, more) = page(caller, (pk, paging), &bounds, start).await?;
        for mut item in items {
            let place = item::take_sort_key(&mut item)?;
            let row = item::read_row(item)?;
            let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
            bytes += (place.len() + length(&row.key) + length(&row.value)) as u64;
            if row.part > 0 {
                others.insert(place, row);
            } else if may_be_in(range, &place, &row) {
                firsts.push((place, row));
            }
        }
        start = more;
        if start.is_none() {
            break;
        }
        // Behind a long key others may stand that come before it: they are in order of their hashes.
        if (bytes > max_bytes || paging.limit.is_some())
            && let Some((last, key)) = last_short(&firsts)
        {
            rest = Some(range.after(&key));
            firsts.truncate(last + 1);
            break;
        }
    }
    let missing = missing(pk, &firsts, &others);
    for (place, item) in read_rows(caller, paging.rank, missing.into_iter()).await? {
        others.insert(place.sk, item::read_row(item)?);
    }
    let mut entries = Vec::with_capacity(firsts.len());
    for (place, first) in firsts {
        let other = |part| others.get(&place_of_part(&place, part));
        let Some(key) = parts::key_of(&first, &place, other) else { continue };
        if parts::first_place(&key) != place {
            let whose = item::whose(pk);
            let message = format!("{whose}: an entry stands where its key does not belong");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if range.contains(&key) {
            entries.push((key, place, first));
        }
    }
    // Long keys are in order of their beginnings only.
    entries.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut scanned = Vec::with_capacity(entries.len());
    for (sort_key, place, first) in entries {
        let rows: Vec<_> =
            (1..first.parts).map(|part| others.remove(&place_of_part(&place, part))).collect();
        match parts::join(first, rows, now) {
            Ok(None) => {}
            Ok(Some(joined)) => scanned.push(Scanned { sort_key, item: Ok(joined.item) }),
            Err(Torn(why)) => {
                let whose = item::whose(pk);
                let message = format!("{whose}: a value's parts are not of one write: {why}");
                let item = Err(Error::new(ErrorKind::Corrupt, message));
                scanned.push(Scanned { sort_key, item });
            }
        }
    }
    Ok(ScanPage { items: scanned, rest })
}

/// The last entry of `firsts` with a key that comes before those of all entries behind it, and that key.
fn last_short(firsts: &[(Bytes, Row)]) -> Option<(usize, Bytes)> {
    firsts.iter().enumerate().rev().find_map(|(number, (place, row))| {
        let key = row.key.as_ref().unwrap_or(place);
        let is_short = row.key_bytes.is_none() && key.len() < PREFIX_BYTES;
        is_short.then(|| (number, key.clone()))
    })
}

/// Whether the key of the entry whose first part is `row`, at `place`, may lie in `range`.
fn may_be_in(range: &ItemRange, place: &Bytes, row: &Row) -> bool {
    let beginning = row.key.as_ref().unwrap_or(place);
    if row.key_bytes.is_none() {
        return range.contains(beginning);
    }
    let before_end = range.to.as_ref().is_none_or(|to| beginning < to);
    before_end && (*beginning >= range.from || range.from.starts_with(beginning))
}

/// The places of parts of entries, by their first ones, that are not among `others`: parts of the last entry may
/// lie beyond the range.
fn missing(pk: &str, firsts: &[(Bytes, Row)], others: &HashMap<Bytes, Row>) -> Vec<Asked> {
    let places = firsts.iter().flat_map(|(place, row)| {
        (1..row.parts).map(move |part| (place_of_part(place, part), row.bytes_of_another()))
    });
    let missing = places.filter(|(place, _)| !others.contains_key(place));
    let asked = |(sk, bytes)| Asked { place: Place { pk: pk.to_owned(), sk }, bytes: Some(bytes) };
    missing.map(asked).collect()
}

/// A range as a key condition: both ends belong to it.
struct Bounds {
    from: Bytes,
    to: Option<Bytes>,
}

impl Bounds {
    fn of(range: &ItemRange) -> Self {
        // No key is empty. A long one stands under its beginning, followed by anything.
        let first = Bytes::from_static(&[0]);
        let from = range.from.slice(..range.from.len().min(PREFIX_BYTES));
        let to = range.to.as_ref().map(|to| match to.get(..PREFIX_BYTES) {
            Some(beginning) => {
                [beginning, &[0xFF; MAX_SORT_KEY_BYTES - PREFIX_BYTES]].concat().into()
            }
            None => to.clone(),
        });
        Self { from: if from.is_empty() { first } else { from }, to }
    }

    fn condition(&self) -> &'static str {
        match self.to {
            Some(_) => "pk = :pk AND sk BETWEEN :a AND :z",
            None => "pk = :pk AND sk >= :a",
        }
    }

    fn values(&self, pk: &str) -> HashMap<String, AttributeValue> {
        let mut values = HashMap::from([
            (":pk".to_owned(), AttributeValue::S(pk.to_owned())),
            (":a".to_owned(), item::binary(&self.from)),
        ]);
        if let Some(to) = &self.to {
            values.insert(":z".to_owned(), item::binary(to));
        }
        values
    }
}

/// One page from after `start`, and where the next one starts.
async fn page(
    caller: &Caller,
    (pk, Paging { rank, limit }): (&str, Paging),
    bounds: &Bounds,
    start: Option<Attributes>,
) -> Result<(Vec<Attributes>, Option<Attributes>)> {
    let ask = Ask { lane: Lane::Read, purpose: Purpose::Read, rank, size: Size::Page };
    let send = || {
        caller
            .client()
            .query()
            .table_name(caller.table())
            .key_condition_expression(bounds.condition())
            .set_expression_attribute_values(Some(bounds.values(pk)))
            .set_exclusive_start_key(start.clone())
            .set_limit(limit)
            .consistent_read(!bites(Tooth::StaleReads))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let answered = caller.send(Errand { ask, pks: &[pk] }, send).await;
    let answered = answered.map_err(|refusal| caller.error("Query", &refusal))?;
    let owner = std::iter::once((meter::owner_of(pk).unwrap_or_default(), 1.0));
    caller.meter().divide(Purpose::Read, Lane::Read, answered.units, owner);
    let answer = answered.book(0.0);
    let more = answer.last_evaluated_key.filter(|key| !key.is_empty());
    Ok((answer.items.unwrap_or_default(), more))
}
