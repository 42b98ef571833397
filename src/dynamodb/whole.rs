//! Puts of an entry with all of its parts.
//!
//! ```text
//! 1. what is left of an older value's parts, beyond the new one's number: emptied
//! 2. part 0, if it has no more parts than that        ─ refused: shows of how many; from 1
//! 3. the other parts
//! ```
//! So every part that has bytes of a key or a value is one that the first one counts: whoever comes next knows
//! what there is to be overwritten or emptied, whatever moment a writer has died at. A late copy of an emptied
//! part finds a greater version. In between the parts are of several versions: nobody reads them so, since
//! an entry is pinned until its put is answered, which is after all three.
//!
//! Owns that order. Single puts are `put`'s, the places of parts `parts`'.

use std::collections::HashMap;

use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::call::Caller;
use super::item::{self, Attributes, KEY, KEY_BYTES, number};
use super::meter::Purpose;
use super::pace::Rank;
use super::parts::{Row, place_of_part};
use super::put::{Answer, Condition, Put, put_if, put_item};
use super::write::{IN_FLIGHT, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::state::WriteOutcome;
use crate::teeth::{Tooth, bites};

/// Puts an item under rule V; retried until answered. One `PutItem` for each part, one more for each that
/// the value before had and this one has not, and one that is refused where that was not known.
pub(super) async fn put(caller: &Caller, write: &Write) -> Result<WriteOutcome> {
    let owner = (write.owner().to_owned(), 1.0);
    let whole = Whole { caller, write, owner };
    // So many parts there may be that this write overwrites or has emptied.
    let mut counted = write.row.parts;
    let mut there = write.parts_there;
    let first = whole.attributes(&write.row);
    loop {
        if there > counted {
            if let fenced @ WriteOutcome::Fenced(_) = whole.empty(counted..there).await? {
                return Ok(fenced);
            }
            counted = there;
        }
        let condition = whole.condition(counted);
        let put = whole.put(Tooth::ItemsUnconditional);
        let refused = match put_if(caller, put, &first, &condition).await? {
            Answer::Applied => break,
            Answer::Refused(None) => continue,
            Answer::Refused(Some(refused)) => refused,
        };
        whole.check_key(&refused)?;
        let version = item::read_version(&refused)?;
        if version == write.row.version {
            break;
        }
        if let Some(outcome) = WriteOutcome::settled(Some(version), write.row.version) {
            return Ok(outcome);
        }
        there = item::read_parts(&refused)?;
    }
    let others = whole.others();
    if bites(Tooth::PartsUnanswered) {
        drop(others.now_or_never());
        return Ok(WriteOutcome::Done);
    }
    others.await
}

struct Whole<'a> {
    caller: &'a Caller,
    write: &'a Write,
    /// With all of the weight.
    owner: (String, f64),
}

impl Whole<'_> {
    fn put(&self, unconditional: Tooth) -> Put<'_> {
        Put {
            purpose: Purpose::Materialise,
            rank: Rank::Materialise,
            pk: &self.write.pk,
            owners: std::slice::from_ref(&self.owner),
            version: self.write.row.version,
            unconditional,
        }
    }

    fn attributes(&self, row: &Row) -> Attributes {
        let first = &self.write.sort_key;
        let place = if row.part == 0 { first.clone() } else { place_of_part(first, row.part) };
        let mut attributes = item::key_of(self.write.pk.clone(), place.to_vec());
        attributes.extend(row.attributes().map(|(name, value)| (name.to_owned(), value)));
        attributes
    }

    /// The item there has no parts beyond those counted, and is of the same key.
    fn condition(&self, counted: u32) -> Condition {
        if bites(Tooth::PartsLeft) {
            return Condition::default();
        }
        let mut values = HashMap::from([(":n".to_owned(), number(counted.into()))]);
        let Some(key) = &self.write.row.key else {
            return Condition { words: " AND (attribute_not_exists(n) OR n <= :n)", values };
        };
        values.insert(":k".to_owned(), item::binary(key));
        let Some(bytes) = self.write.row.key_bytes else {
            let words = " AND k = :k AND (attribute_not_exists(n) OR n <= :n)";
            return Condition { words, values };
        };
        values.insert(":l".to_owned(), number(bytes));
        let words = " AND k = :k AND l = :l AND (attribute_not_exists(n) OR n <= :n)";
        Condition { words, values }
    }

    /// Whether what is there is of the same key.
    fn check_key(&self, there: &Attributes) -> Result<()> {
        let Some(key) = &self.write.row.key else { return Ok(()) };
        let whole = |bytes: Option<u64>, here: usize| bytes.unwrap_or(here as u64);
        let bytes = whole(self.write.row.key_bytes, key.len());
        let other = there.get(KEY).and_then(|other| other.as_b().ok()).map(AsRef::as_ref);
        let others = item::read_optional(there, KEY_BYTES)?;
        let others = whole(others, other.map_or(0, <[u8]>::len));
        if other == Some(&key[..]) && others == bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Store,
            format!(
                "{}: a key of {bytes} bytes has beginning and hash of another one, of {others} bytes",
                item::whose(&self.write.pk)
            ),
        ))
    }

    /// Leaves nothing of these parts but their versions.
    async fn empty(&self, parts: std::ops::Range<u32>) -> Result<WriteOutcome> {
        let Write { row, parts_ttl, .. } = self.write;
        let rows = parts.map(|part| row.nothing(part, *parts_ttl)).collect();
        self.all(rows, Tooth::ItemsUnconditional).await
    }

    /// Puts all parts but the first.
    async fn others(&self) -> Result<WriteOutcome> {
        self.all(self.write.others.clone(), Tooth::PartsUnconditional).await
    }

    async fn all(&self, rows: Vec<Row>, unconditional: Tooth) -> Result<WriteOutcome> {
        let put = |row: Row| async move {
            put_item(self.caller, self.put(unconditional), self.attributes(&row)).await
        };
        let puts = stream::iter(rows).map(put).buffer_unordered(IN_FLIGHT);
        let outcomes: Vec<WriteOutcome> = puts.try_collect().await?;
        let fenced = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Fenced(_));
        Ok(outcomes.into_iter().find(fenced).unwrap_or(WriteOutcome::Done))
    }
}
