//! Requests for items and blocks: admitted, sent, and booked once they are answered.
//!
//! Owns the way from the queue to the meter. Calls that use none of the table's capacity (to make or
//! describe it) go by `call` alone.

use std::error::Error as StdError;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::ConsumedCapacity;

use super::call::{Caller, Refusal};
use super::pace::{Ask, Leave};
use super::retry::{Failure, Trouble, Verdict};

/// An answer that says what it has cost.
pub(super) trait Consumed {
    /// Units; `None` from a server that does not say.
    fn consumed(&self) -> Option<f64>;
}

macro_rules! consumed {
    ($($output:ty),*) => {$(
        impl Consumed for $output {
            fn consumed(&self) -> Option<f64> {
                sum(self.consumed_capacity())
            }
        }
    )*};
}

consumed!(
    BatchExecuteStatementOutput,
    BatchGetItemOutput,
    BatchWriteItemOutput,
    GetItemOutput,
    PutItemOutput,
    QueryOutput,
    UpdateItemOutput
);

fn sum<'a>(reported: impl IntoIterator<Item = &'a ConsumedCapacity>) -> Option<f64> {
    let all = reported.into_iter().filter_map(ConsumedCapacity::capacity_units);
    all.fold(None, |sum, units| Some(sum.unwrap_or(0.0) + units))
}

/// A request: when it may leave, and for which partition keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    pub(super) ask: Ask,
    /// Of a batch each entry's.
    pub(super) pks: &'a [&'a str],
}

/// An answer that is not booked with the pace yet, since parts of it may have been refused.
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub(super) answer: T,
    /// Units that it has cost, as it says.
    pub(super) units: f64,
    leave: Leave,
    reported: bool,
}

impl<T> Answered<T> {
    /// Books it; `refused` is the share of the request that was throttled, 0 to 1.
    pub(super) fn book(self, refused: f64) -> T {
        let taken = self.leave.taken();
        let passed = if self.reported { self.units } else { taken * (1.0 - refused) };
        self.leave.answered(passed, taken * refused);
        self.answer
    }
}

impl Caller {
    /// Waits until the request may leave, sends it once and meters it.
    ///
    /// # Cancel safety
    /// Before it is sent, dropping the future sends nothing; after that it may still take effect.
    pub(super) async fn try_send<T, E, F>(
        &self,
        errand: Errand<'_>,
        send: impl FnOnce() -> F,
    ) -> Result<Answered<T>, Refusal<E>>
    where
        T: Consumed,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let Ask { lane, purpose, .. } = errand.ask;
        let leave = self.pace().admit(errand.ask).await;
        match self.once(purpose, send()).await {
            Ok(answer) => {
                let reported = answer.consumed();
                let units = reported.unwrap_or(0.0);
                self.meter().charge(purpose, lane, units);
                Ok(Answered { answer, units, leave, reported: reported.is_some() })
            }
            Err(refusal) => {
                match refusal.verdict {
                    Verdict::Retry { trouble: Trouble::Throttled, .. } => {
                        let taken = leave.taken();
                        leave.answered(0.0, taken);
                        self.throttled(&refusal.failure, errand.pks);
                    }
                    // It may have been applied, and then it was paid for.
                    Verdict::Retry { .. } | Verdict::ConditionFailed => {
                        let taken = leave.taken();
                        leave.answered(taken, 0.0);
                    }
                    Verdict::Final(_) => leave.answered(0.0, 0.0),
                }
                Err(refusal)
            }
        }
    }

    /// Sends, and sends again as long as the verdict is to retry.
    pub(super) async fn send<T, E, F>(
        &self,
        errand: Errand<'_>,
        mut send: impl FnMut() -> F,
    ) -> Result<Answered<T>, Refusal<E>>
    where
        T: Consumed,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let mut retries = self.retries(errand.ask.rank);
        loop {
            let mut refusal = match self.try_send(errand, &mut send).await {
                Err(refusal) => refusal,
                answered => return answered,
            };
            refusal.verdict = retries.judge(refusal.verdict);
            if !matches!(refusal.verdict, Verdict::Retry { .. }) {
                return Err(refusal);
            }
            retries.wait(&refusal.failure).await;
        }
    }

    /// Counts a request, or a part of one, that was throttled, and tells of it now and then.
    pub(super) fn throttled(&self, failure: &Failure, pks: &[&str]) {
        if let Some(what) = self.throttles().count(failure.throttled_by(), pks, self.clock()) {
            tracing::warn!("{}: throttled, which only delays: {what}", self.place());
        }
    }
}
