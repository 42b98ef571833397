//! DynamoDB's reasons to throttle, and the exceptions that carry them.
//!
//! Owns the names and forms of the service's model: a reason is resource, operation and limit in one
//! word, and each exception spells the list of reasons in its own way.

use serde_json::{Value, json};

use super::answers::{self, Answer};
use super::dice::Dice;

/// A limit that a request was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Of one partition of the table.
    KeyRange,
    /// Of a table with provisioned capacity.
    Provisioned,
    /// Of the account, for one table.
    Account,
    /// The maximum that was configured for a table on demand.
    MaxOnDemand,
}

impl Limit {
    const ALL: [Self; 4] = [Self::KeyRange, Self::Provisioned, Self::Account, Self::MaxOnDemand];

    fn name(self) -> &'static str {
        match self {
            Self::KeyRange => "KeyRangeThroughputExceeded",
            Self::Provisioned => "ProvisionedThroughputExceeded",
            Self::Account => "AccountLimitExceeded",
            Self::MaxOnDemand => "MaxOnDemandThroughputExceeded",
        }
    }
}

/// Why a request is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// An index of the table, not the table itself.
    pub(super) index: bool,
    pub(super) write: bool,
    pub(super) limit: Limit,
}

impl Reason {
    /// Any of those that can strike reads, or writes.
    pub(super) fn any(write: bool, dice: &mut Dice) -> Self {
        let limit = dice.pick(&Limit::ALL).unwrap_or(Limit::KeyRange);
        Self { index: dice.chance(0.25), write, limit }
    }

    /// DynamoDB's word for it, such as `TableWriteKeyRangeThroughputExceeded`.
    pub(super) fn name(self) -> String {
        let resource = if self.index { "Index" } else { "Table" };
        let operation = if self.write { "Write" } else { "Read" };
        format!("{resource}{operation}{}", self.limit.name())
    }

    /// The exception for it, and the code of a statement in a batch.
    fn codes(self) -> (&'static str, &'static str) {
        match self.limit {
            Limit::KeyRange | Limit::MaxOnDemand => {
                ("com.amazon.coral.availability#ThrottlingException", "ThrottlingError")
            }
            Limit::Provisioned => (
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                "ProvisionedThroughputExceeded",
            ),
            Limit::Account => {
                ("com.amazonaws.dynamodb.v20120810#RequestLimitExceeded", "RequestLimitExceeded")
            }
        }
    }

    fn message(self) -> &'static str {
        match self.limit {
            Limit::KeyRange => {
                "Throughput exceeds the current capacity of your table or index. DynamoDB is \
                 automatically scaling your table or index so please try again shortly."
            }
            Limit::Provisioned => {
                "The level of configured provisioned throughput for the table was exceeded."
            }
            Limit::Account => "Throughput exceeds the current throughput limit for your account.",
            Limit::MaxOnDemand => {
                "Throughput exceeds the maximum OnDemandThroughput configured on table or index."
            }
        }
    }

    fn resource(self, table: &str) -> String {
        let index = if self.index { "/index/by-value" } else { "" };
        format!("arn:aws:dynamodb:eu-west-1:000000000000:table/{table}{index}")
    }

    /// The answer that refuses a whole request.
    pub(super) fn refusal(self, table: &str) -> Answer {
        let (code, _) = self.codes();
        let reasons = if code.ends_with("ThrottlingException") {
            "throttlingReasons"
        } else {
            "ThrottlingReasons"
        };
        let reason = json!({ "reason": self.name(), "resource": self.resource(table) });
        let message = self.message();
        answers::json(400, &json!({ "__type": code, "message": message, reasons: [reason] }))
    }

    /// What stands in for the answer to one statement.
    pub(super) fn statement(self) -> Value {
        let (_, code) = self.codes();
        json!({ "Error": { "Code": code, "Message": self.message() } })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_the_sixteen_reasons_of_the_documentation() {
        let mut dice = Dice::of(1, 1);
        let drawn = |n: usize| Reason::any(n.is_multiple_of(2), &mut dice).name();
        let names: BTreeSet<_> = (0..400).map(drawn).collect();
        assert_eq!(names.len(), 16, "{names:?}");
        assert!(names.contains("TableWriteKeyRangeThroughputExceeded"));
        assert!(names.contains("IndexReadMaxOnDemandThroughputExceeded"));
        assert!(names.contains("TableReadProvisionedThroughputExceeded"));
        assert!(names.contains("IndexWriteAccountLimitExceeded"));
    }
}
