//! Puts of one item under rule V.
//!
//! Owns the condition, and what its failure means. Of which items an entry consists is `whole`'s.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};

use super::call::{Caller, Refusal};
use super::item::{self, Attributes, PK, SK, number};
use super::meter::{self, Purpose};
use super::pace::{Ask, Lane, Rank, Size};
use super::read::{self, Get};
use super::retry::Verdict;
use super::send::Errand;
use crate::error::Result;
use crate::ids::Version;
use crate::state::WriteOutcome;
use crate::teeth::{Tooth, bites};

/// Why one item is put, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put<'a> {
    pub(super) purpose: Purpose,
    pub(super) rank: Rank,
    pub(super) pk: &'a str,
    /// By weight.
    pub(super) owners: &'a [(String, f64)],
    pub(super) version: Version,
    /// By which the condition on the version is left out.
    pub(super) unconditional: Tooth,
}

impl Put<'_> {
    /// Divides `units`, which were charged.
    fn divide(&self, caller: &Caller, units: f64) {
        let owners = self.owners.iter().map(|(owner, share)| (owner.as_str(), *share));
        caller.meter().divide(self.purpose, Lane::Write, units, owners);
    }
}

/// Rule V: what the version that is there must be below.
pub(super) fn below(mine: Version, unconditional: Tooth) -> AttributeValue {
    number(if bites(unconditional) { u64::MAX } else { mine.to_number() })
}

/// What an item that is there must be besides, for a put to take effect: words, and their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) words: &'static str,
    pub(super) values: HashMap<String, AttributeValue>,
}

/// What became of a put.
#[derive(Debug)]
pub(super) enum Answer {
    Applied,
    /// By what is there, if anything is any more.
    Refused(Option<Attributes>),
}

/// Puts `attributes` unless as great a version is there. One `PutItem`, retried until it is answered.
pub(super) async fn put_item(
    caller: &Caller,
    put: Put<'_>,
    attributes: Attributes,
) -> Result<WriteOutcome> {
    loop {
        match put_if(caller, put, &attributes, &Condition::default()).await? {
            Answer::Applied => return Ok(WriteOutcome::Done),
            Answer::Refused(there) => {
                let there = there.as_ref().map(item::read_version).transpose()?;
                if let Some(outcome) = WriteOutcome::settled(there, put.version) {
                    return Ok(outcome);
                }
            }
        }
    }
}

/// Puts `attributes` where nothing is, or something of a smaller version that meets `condition`. One
/// `PutItem`, retried until it is answered.
pub(super) async fn put_if(
    caller: &Caller,
    put: Put<'_>,
    attributes: &Attributes,
    condition: &Condition,
) -> Result<Answer> {
    let mut values = condition.values.clone();
    values.insert(":c".to_owned(), below(put.version, put.unconditional));
    let words = format!("attribute_not_exists(c) OR (c < :c{})", condition.words);
    let size = Size::Units(meter::write_units_of(item::size_of(attributes)));
    let ask = Ask { lane: Lane::Write, purpose: put.purpose, rank: put.rank, size };
    let send = || {
        caller
            .client()
            .put_item()
            .table_name(caller.table())
            .set_item(Some(attributes.clone()))
            .condition_expression(words.clone())
            .set_expression_attribute_values(Some(values.clone()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
    };
    if bites(Tooth::LostAnswerIsSuccess)
        && let Err(refusal) = caller.once(put.purpose, send()).await
        && matches!(refusal.verdict, Verdict::Retry { surely_not_applied: false, .. })
    {
        return Ok(Answer::Applied);
    }
    match caller.send(Errand { ask, pks: &[put.pk] }, send).await {
        Ok(answered) => {
            put.divide(caller, answered.units);
            answered.book(0.0);
            Ok(Answer::Applied)
        }
        Err(refusal) if refusal.verdict == Verdict::ConditionFailed => {
            shown(caller, put, &refusal, attributes).await.map(Answer::Refused)
        }
        Err(refusal) => Err(caller.error("PutItem", &refusal)),
    }
}

/// The item because of which a put was refused: as the refusal shows it, else read.
async fn shown(
    caller: &Caller,
    put: Put<'_>,
    refusal: &Refusal<PutItemError>,
    attributes: &Attributes,
) -> Result<Option<Attributes>> {
    let shown = match refusal.service.as_deref() {
        Some(PutItemError::ConditionalCheckFailedException(error)) => error.item(),
        _ => None,
    };
    let units = meter::write_units_of(shown.map_or(0, item::size_of));
    caller.meter().charge(put.purpose, Lane::Write, units);
    put.divide(caller, units);
    if let Some(item) = shown {
        return Ok(Some(item.clone()));
    }
    let key = attributes.iter().filter(|(name, _)| [PK, SK].contains(&name.as_str()));
    let key = key.map(|(name, value)| (name.clone(), value.clone())).collect();
    let get = Get { purpose: put.purpose, rank: put.rank, pk: put.pk };
    Ok(read::get(caller, get, key).await?.0)
}
