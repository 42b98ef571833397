//! What becomes of a call: decided when it begins, from the plan and its own dice. Pure.

use std::time::Duration;

use super::dice::Dice;
use super::plan::{Fault, Plan};
use super::request;

/// The faults that end a call, in the order in which the dice are thrown.
const ENDINGS: [Fault; 16] = [
    Fault::Unreachable,
    Fault::ResetBefore,
    Fault::TimedOut,
    Fault::Late,
    Fault::Throttled,
    Fault::StatementsThrottled,
    Fault::StatementsFailed,
    Fault::Unprocessed,
    Fault::InternalError,
    Fault::InternalErrorApplied,
    Fault::AnswerLost,
    Fault::ResetAfter,
    Fault::Truncated,
    Fault::Twice,
    Fault::Redelivered,
    Fault::Stale,
];

/// The course of one call.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    /// From the client to the server.
    pub(super) there: Duration,
    /// From the server to the client.
    pub(super) back: Duration,
    /// How it ends; `None` is well.
    pub(super) ending: Option<Fault>,
    /// Held back so long before it gets to the server.
    pub(super) held_back: Option<Duration>,
    /// So much longer under way back.
    pub(super) slow: Option<Duration>,
    /// Applied so long after its caller has given up, if that happens before it got there.
    pub(super) if_abandoned: Option<Duration>,
    /// When a late copy is applied, from when the call's own course is over.
    pub(super) later: Duration,
    /// For what is chosen on the way.
    pub(super) dice: Dice,
}

/// Decides about a call of `operation`.
pub(super) fn decide(plan: &Plan, operation: &str, mut dice: Dice) -> Fate {
    let latency = plan.latency.draw(&mut dice);
    let mut strikes = |fault| dice.chance(plan.rate(fault));
    // All dice are thrown, whatever comes of it: another rate of one kind leaves the others alone.
    let endings = ENDINGS.map(|fault| (fault, strikes(fault)));
    let (slow, overtaken, abandoned) =
        (strikes(Fault::Slow), strikes(Fault::Overtaken), strikes(Fault::Abandoned));
    let slow_for = dice.between(plan.slow.0, plan.slow.1);
    let held_back_for = dice.between(Duration::ZERO, plan.overtaken);
    let later = dice.between(plan.late.0, plan.late.1);
    let strikes_here = |(fault, strikes): &(Fault, bool)| *strikes && suits(*fault, operation);
    Fate {
        there: latency / 2,
        back: latency - latency / 2,
        ending: endings.iter().find(|ending| strikes_here(ending)).map(|(fault, _)| *fault),
        held_back: overtaken.then_some(held_back_for),
        slow: slow.then_some(slow_for),
        if_abandoned: (abandoned && request::writes(operation)).then_some(later),
        later,
        dice,
    }
}

/// Whether `fault` can strike an `operation`.
fn suits(fault: Fault, operation: &str) -> bool {
    match fault {
        Fault::StatementsThrottled | Fault::StatementsFailed => {
            operation == "BatchExecuteStatement"
        }
        Fault::Unprocessed => matches!(operation, "BatchGetItem" | "BatchWriteItem"),
        // A read that is applied late, or twice, shows to nobody.
        Fault::Late | Fault::Twice | Fault::Redelivered => request::writes(operation),
        Fault::Stale => matches!(operation, "GetItem" | "BatchGetItem" | "Query"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endings(plan: &Plan, operation: &str) -> Vec<Option<Fault>> {
        (0..1_000).map(|n| decide(plan, operation, Dice::of(5, n)).ending).collect()
    }

    #[test]
    fn every_ending_strikes_where_it_can_and_nowhere_else() {
        let operations = ["BatchExecuteStatement", "PutItem", "BatchGetItem", "DescribeTable"];
        let found = operations.map(|operation| endings(&Plan::rough(0.05), operation));
        for fault in ENDINGS {
            for (operation, found) in operations.iter().zip(&found) {
                let suits = suits(fault, operation);
                assert_eq!(found.contains(&Some(fault)), suits, "{fault:?} {operation}");
            }
            assert!(operations.iter().any(|operation| suits(fault, operation)), "{fault:?}");
        }
        assert_eq!(endings(&Plan::calm(), "PutItem"), vec![None; 1_000]);
    }

    #[test]
    fn a_rate_of_one_kind_leaves_the_others_alone() {
        let rough = Plan::rough(0.05);
        let without = rough.clone().with(Fault::Twice, 0.0);
        for (with, without) in endings(&rough, "PutItem").iter().zip(endings(&without, "PutItem")) {
            assert!(*with == without || *with == Some(Fault::Twice));
        }
    }
}
