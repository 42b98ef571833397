//! Consistent reads: up to 100 items a `BatchGetItem`, fewer of large ones, or one `GetItem`.
//!
//! Owns the batches, the match of answers to keys, the second round for values of several parts, and the
//! retry of what was left unprocessed.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::Caller;
use super::item::{self, Attributes, PK, SK};
use super::meter::{self, Purpose};
use super::pace::{Ask, Lane, Rank, Size};
use super::parts::{self, Row, Torn, place_of_part};
use super::portion::{Portion, REQUEST_BYTES, entries_of};
use super::retry::{Failure, Verdict};
use super::send::Errand;
use super::write::IN_FLIGHT;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Item;
use crate::teeth::{Tooth, bites};

/// DynamoDB's limit for a `BatchGetItem`.
const KEYS: usize = 100;
/// An answer of at least this many bytes that leaves keys was cut: DynamoDB gives 1 MB of each partition (and 16 MB
/// in all), to which less than the largest item is missing then. Where it was throttled in truth, the request
/// for what is left shows that.
const CUT_ANSWER_BYTES: usize = 1_000_000 - (400 << 10);

/// An item's place: partition key and sort key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) pk: String,
    pub(super) sk: Bytes,
}

/// An entry to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) place: Place,
    /// What its key must be, where its place does not tell.
    pub(super) key: Bytes,
}

/// An item to read.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) place: Place,
    /// About how large it is; `None`: as entries of its state mostly are.
    pub(super) bytes: Option<usize>,
}

/// Parts after the first ones that are read at a time: 32 MiB. They are in memory twice, since each value is made of
/// its own.
const PARTS: usize = 80;

/// How often parts of several writes are read again: whoever reads them is fenced, or they are damage.
const TORN_READS: u32 = 5;

/// Reads the items of `wanted`, in their order; one may be named more than once. `now` is in seconds since
/// 1970.
pub(super) async fn read_all(
    caller: &Caller,
    wanted: Vec<Wanted>,
    now: u64,
) -> Result<Vec<Option<Item>>> {
    let mut found: HashMap<&Place, Option<Item>> = HashMap::with_capacity(wanted.len());
    let mut seen = HashSet::with_capacity(wanted.len());
    // In the order of the first mention, so that a run is the same for the same seed.
    let mut left: Vec<&Wanted> = wanted.iter().filter(|w| seen.insert(&w.place)).collect();
    let mut retries = caller.retries(Rank::Waited);
    let mut tries = 0;
    loop {
        let asked = |wanted: &&Wanted| Asked { place: wanted.place.clone(), bytes: None };
        let mut rows = read_rows(caller, Rank::Waited, left.iter().map(asked)).await?;
        let mut large = Vec::new();
        for wanted in left {
            let Some(row) = rows.remove(&wanted.place) else { continue };
            let row = item::read_row(row)?;
            check_key(wanted, row.begins(&wanted.key))?;
            if row.parts > 1 || row.key_bytes.is_some() {
                large.push((wanted, row));
            } else {
                found.insert(&wanted.place, Some(row.into_item()));
            }
        }
        let torn = read_large(caller, large, &mut found, now).await?;
        tries += 1;
        let Some((wanted, Torn(why))) = torn.first() else { break };
        if tries == TORN_READS {
            let whose = item::whose(&wanted.place.pk);
            let message = format!(
                "{whose}: a value's parts are not of one write: {why}; they are damaged, or another \
                 attempt, which owns the job now, is writing them"
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        retries.wait(&Failure::inside("PartsOfSeveralWrites", why)).await;
        left = torn.into_iter().map(|(wanted, _)| wanted).collect();
    }
    Ok(wanted.iter().map(|wanted| found.get(&wanted.place).cloned().flatten()).collect())
}

/// Reads the other parts of `large` entries, some entries at a time, and gives back those whose parts are of several
/// writes.
async fn read_large<'a>(
    caller: &Caller,
    large: Vec<(&'a Wanted, Row)>,
    found: &mut HashMap<&'a Place, Option<Item>>,
    now: u64,
) -> Result<Vec<(&'a Wanted, Torn)>> {
    let mut torn = Vec::new();
    let (mut some, mut parts) = (Vec::new(), 0);
    for (wanted, first) in large {
        let others = first.parts.saturating_sub(1) as usize;
        if parts + others > PARTS && !some.is_empty() {
            torn.extend(read_parts(caller, std::mem::take(&mut some), found, now).await?);
            parts = 0;
        }
        parts += others;
        some.push((wanted, first));
    }
    if !some.is_empty() {
        torn.extend(read_parts(caller, some, found, now).await?);
    }
    Ok(torn)
}

async fn read_parts<'a>(
    caller: &Caller,
    large: Vec<(&'a Wanted, Row)>,
    found: &mut HashMap<&'a Place, Option<Item>>,
    now: u64,
) -> Result<Vec<(&'a Wanted, Torn)>> {
    let places = |(wanted, row): &(&'a Wanted, Row)| {
        let Place { pk, sk } = wanted.place.clone();
        (1..row.parts).map(move |part| Place { pk: pk.clone(), sk: place_of_part(&sk, part) })
    };
    let asked = |large: &(&'a Wanted, Row)| {
        let bytes = Some(large.1.bytes_of_another());
        places(large).map(move |place| Asked { place, bytes })
    };
    let mut rows = read_rows(caller, Rank::Waited, large.iter().flat_map(asked)).await?;
    let mut torn = Vec::new();
    for (wanted, first) in large {
        let others = places(&(wanted, first.clone())).map(|place| rows.remove(&place));
        let others = others.map(|row| row.map(item::read_row).transpose());
        match parts::join(first, others.collect::<Result<Vec<_>>>()?, now) {
            Ok(joined) => {
                let key = joined.as_ref().and_then(|joined| joined.key.as_ref());
                check_key(wanted, key.is_none_or(|key| *key == wanted.key))?;
                found.insert(&wanted.place, joined.map(|joined| joined.item));
            }
            Err(why) => torn.push((wanted, why)),
        }
    }
    Ok(torn)
}

/// An error where what stands in the place of `wanted` is of another key.
fn check_key(wanted: &Wanted, is_its: bool) -> Result<()> {
    if is_its {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "{}: an entry with a key of {} bytes stands where another one is: their keys have one \
             beginning and one hash, or they are damaged",
            item::whose(&wanted.place.pk),
            wanted.key.len()
        ),
    ))
}

/// Reads what stands at distinct places, [`IN_FLIGHT`] requests at a time.
pub(super) async fn read_rows(
    caller: &Caller,
    rank: Rank,
    asked: impl Iterator<Item = Asked>,
) -> Result<HashMap<Place, Attributes>> {
    let asked: Vec<Asked> = asked.collect();
    let mut asked = asked.into_iter().peekable();
    // As attributes keys take several times as much, so only those of requests under way are made. A chunk that is
    // made later knows what was learnt meanwhile.
    let chunks = std::iter::from_fn(move || {
        let (mut keys, mut whole) = (Vec::new(), 0);
        let mut last = None;
        while let Some(next) = asked.peek() {
            let bytes = next.bytes.unwrap_or_else(|| typical(caller, &next.place.pk, &mut last));
            if keys.len() == KEYS || (whole + bytes > REQUEST_BYTES && !keys.is_empty()) {
                break;
            }
            whole += bytes;
            let place = asked.next().map(|asked| asked.place);
            keys.extend(place.map(|Place { pk, sk }| item::key_of(pk, sk.to_vec())));
        }
        let each = whole / keys.len().max(1);
        (!keys.is_empty()).then_some((keys, each))
    });
    let answers: Vec<Vec<Attributes>> = stream::iter(chunks)
        .map(|(keys, each)| read_chunk(caller, rank, keys, each))
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    let mut rows = HashMap::with_capacity(answers.iter().map(Vec::len).sum());
    for mut attributes in answers.into_iter().flatten() {
        if let Some(place) = take_place(&mut attributes) {
            rows.insert(place, attributes);
        }
    }
    Ok(rows)
}

/// About how many bytes an entry under `pk` takes; `last` is of the owner that was asked about last, mostly the same.
fn typical(caller: &Caller, pk: &str, last: &mut Option<(String, usize)>) -> usize {
    let Some(owner) = meter::owner_of(pk) else { return 0 };
    if let Some((known, bytes)) = last.as_ref()
        && known == owner
    {
        return *bytes;
    }
    let bytes = caller.sizes().typical(owner);
    *last = Some((owner.to_owned(), bytes));
    bytes
}

fn take_place(attributes: &mut Attributes) -> Option<Place> {
    match (attributes.remove(PK)?, attributes.remove(SK)?) {
        (AttributeValue::S(pk), AttributeValue::B(sk)) => {
            Some(Place { pk, sk: Bytes::from(sk.into_inner()) })
        }
        _ => None,
    }
}

/// Reads at most [`KEYS`] distinct items of about `each` bytes, in any order.
async fn read_chunk(
    caller: &Caller,
    rank: Rank,
    mut left: Vec<Attributes>,
    each: usize,
) -> Result<Vec<Attributes>> {
    let mut items = Vec::with_capacity(left.len());
    let mut portion = Portion::new(each);
    let mut retries = caller.retries(rank);
    while !left.is_empty() {
        let asked = portion.of(left.len());
        let request = consistent(left.drain(..asked).collect())?;
        let pks: Vec<&str> = request.keys().iter().map(pk_of).collect();
        let size = Size::Items(asked);
        let ask = Ask { lane: Lane::Read, purpose: Purpose::Read, rank, size };
        let send = || {
            caller
                .client()
                .batch_get_item()
                .request_items(caller.table(), request.clone())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        };
        let mut answered = match caller.try_send(Errand { ask, pks: &pks }, send).await {
            Ok(answered) => answered,
            Err(refusal) => {
                if !matches!(retries.judge(refusal.verdict), Verdict::Retry { .. }) {
                    return Err(caller.error("BatchGetItem", &refusal));
                }
                portion.failed(asked, &refusal.failure);
                retries.wait(&refusal.failure).await;
                left.splice(..0, request.keys);
                continue;
            }
        };
        let answer = &mut answered.answer;
        let found: Vec<Attributes> =
            answer.responses.take().into_iter().flatten().flat_map(|(_, items)| items).collect();
        let unread = answer.unprocessed_keys.take().into_iter().flatten().next();
        let unread = unread.filter(|_| !bites(Tooth::UnprocessedIgnored));
        let unread = unread.map(|(_, unread)| unread.keys).unwrap_or_default();
        let sizes: Vec<usize> = found.iter().map(item::size_of).collect();
        divide(caller, &request, &unread, (&found, &sizes), answered.units);
        // Before the lock.
        let entries = entries_of(&found, &sizes);
        caller.sizes().learn(&entries);
        drop(entries);
        let bytes: usize = sizes.iter().sum();
        portion.answered(found.len(), bytes);
        items.extend(found);
        if unread.is_empty() || bytes >= CUT_ANSWER_BYTES {
            answered.book(0.0);
            // Whatever has failed before, this one has not.
            retries = caller.retries(rank);
        } else {
            caller.meter().throttled(Purpose::Read);
            let failure = Failure::inside("UnprocessedKeys", "keys left unprocessed");
            unread.iter().for_each(|key| caller.throttled(&failure, &[pk_of(key)]));
            answered.book(unread.len() as f64 / asked as f64);
            retries.wait(&failure).await;
        }
        left.splice(..0, unread);
    }
    Ok(items)
}

/// Divides the units of an answer among the states that were read: by the sizes of what was found; what
/// was not costs a unit, too.
fn divide(
    caller: &Caller,
    request: &KeysAndAttributes,
    unread: &[Attributes],
    (found, sizes): (&[Attributes], &[usize]),
    units: f64,
) {
    let owner = |item| meter::owner_of(pk_of(item)).unwrap_or_default();
    let extra = |(item, bytes): (_, &usize)| (owner(item), meter::read_units_of(*bytes) - 1.0);
    let each = request.keys().iter().map(|key| (owner(key), 1.0));
    let not_read = unread.iter().map(|key| (owner(key), -1.0));
    let owners = each.chain(not_read).chain(found.iter().zip(sizes).map(extra));
    caller.meter().divide(Purpose::Read, Lane::Read, units, owners);
}

/// The partition key of an item or a key.
pub(super) fn pk_of(item: &Attributes) -> &str {
    item.get(PK).and_then(|pk| pk.as_s().ok()).map_or("", String::as_str)
}

fn consistent(keys: Vec<Attributes>) -> Result<KeysAndAttributes> {
    KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(!bites(Tooth::StaleReads))
        .build()
        .map_err(|e| Error::internal(format!("a request was not complete: {e}")))
}

/// Why one item is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Get<'a> {
    pub(super) purpose: Purpose,
    pub(super) rank: Rank,
    pub(super) pk: &'a str,
}

/// Reads one item, and says how many units that took. One `GetItem`, retried until it is answered.
pub(super) async fn get(
    caller: &Caller,
    get: Get<'_>,
    key: Attributes,
) -> Result<(Option<Attributes>, f64)> {
    let Get { purpose, rank, pk } = get;
    let ask = Ask { lane: Lane::Read, purpose, rank, size: Size::Items(1) };
    let send = || {
        caller
            .client()
            .get_item()
            .table_name(caller.table())
            .set_key(Some(key.clone()))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    let answered = caller.send(Errand { ask, pks: &[pk] }, send).await;
    let answered = answered.map_err(|refusal| caller.error("GetItem", &refusal))?;
    let units = answered.units;
    Ok((answered.book(0.0).item, units))
}
