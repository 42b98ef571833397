//! Heads in DynamoDB: one conditional `UpdateItem` a write, with the head it leaves as its answer.
//!
//! Owns what an answer, or the lack of one, is reported as. What to do then is `checkpoint::rules`'.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::call::{Caller, Refusal};
use super::head_item;
use super::item::{self, Attributes, ONLY};
use super::meter::{self, Purpose};
use super::pace::{Ask, Lane, Rank, Size};
use super::read::{self, Get};
use super::retry::Verdict;
use super::send::Errand;
use crate::checkpoint::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore};
use crate::error::Result;
use crate::ids::Name;

/// The heads of a table.
#[derive(Debug)]
pub(super) struct Heads {
    caller: Caller,
}

impl Heads {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller }
    }

    async fn update(
        &self,
        job: &Name,
        condition: &HeadCondition,
        change: &HeadChange,
    ) -> Result<HeadAnswer> {
        let update = head_item::update(condition, change);
        let mut retries = self.caller.retries(Rank::Head);
        loop {
            let request = self
                .caller
                .client()
                .update_item()
                .table_name(self.caller.table())
                .set_key(Some(key(job)))
                .update_expression(update.set.clone())
                .condition_expression(update.condition.clone())
                .set_expression_attribute_names(Some(update.names.clone()))
                .set_expression_attribute_values(Some(update.values.clone()))
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let ask = Ask { size: Size::Units(1.0), ..ask(Lane::Write) };
            let errand = Errand { ask, pks: &[job.as_str()] };
            match self.caller.try_send(errand, || request.send()).await {
                Ok(answered) => {
                    let attributes = answered.book(0.0).attributes.unwrap_or_default();
                    let head = head_item::read(job, &attributes)?;
                    return Ok(HeadAnswer::Applied(Box::new(head)));
                }
                Err(refusal) => match retries.judge(refusal.verdict) {
                    Verdict::ConditionFailed => {
                        self.meter_refused(&refusal);
                        return Ok(HeadAnswer::Refused);
                    }
                    Verdict::Retry { surely_not_applied: true, .. } => {
                        retries.wait(&refusal.failure).await;
                    }
                    Verdict::Retry { surely_not_applied: false, .. } => {
                        return Ok(HeadAnswer::Unknown);
                    }
                    Verdict::Final(_) => {
                        return Err(self.caller.error("UpdateItem of the head", &refusal));
                    }
                },
            }
        }
    }

    fn meter_refused(&self, refusal: &Refusal<UpdateItemError>) {
        let shown = match refusal.service.as_deref() {
            Some(UpdateItemError::ConditionalCheckFailedException(error)) => error.item(),
            _ => None,
        };
        let bytes = shown.map_or(0, item::size_of);
        let units = meter::write_units_of(bytes);
        self.caller.meter().charge(Purpose::Protocol, Lane::Write, units);
    }
}

/// Heads wait for nobody.
fn ask(lane: Lane) -> Ask {
    Ask { lane, purpose: Purpose::Protocol, rank: Rank::Head, size: Size::Items(1) }
}

fn key(job: &Name) -> Attributes {
    item::key_of(job.as_str().to_owned(), ONLY)
}

impl HeadStore for Heads {
    fn read(&self, job: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
        let job = job.clone();
        async move {
            let Ask { purpose, rank, .. } = ask(Lane::Read);
            let get = Get { purpose, rank, pk: job.as_str() };
            let (item, _) = read::get(&self.caller, get, key(&job)).await?;
            item.map(|item| head_item::read(&job, &item)).transpose()
        }
        .boxed()
    }

    fn write(
        &self,
        job: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>> {
        let job = job.clone();
        async move { self.update(&job, &condition, &change).await }.boxed()
    }
}
