//! What happens to the items behind: what they cost, and what they were a moment ago.
//!
//! Owns the accounts and the memory of replaced values, both only where the plan asks for them. What
//! is in the table it takes from `server`, which looks.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use super::dice::Dice;
use super::limits::Buckets;
use super::plan::{Fault, Plan};
use super::request::{Part, Place};
use super::size;
use super::throttling::Reason;
use crate::clock::Instant;

/// Units that were consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Write units.
    pub write_units: f64,
    /// Read units.
    pub read_units: f64,
}

/// The accounts, and the memory.
#[derive(Debug)]
pub(super) struct Ledger {
    buckets: Option<Buckets>,
    consumed: Consumed,
    /// Values that were replaced, and when; the oldest first.
    past: VecDeque<(Instant, Place, Value)>,
    /// For how long they are kept; `None` keeps none.
    memory: Option<Duration>,
}

impl Ledger {
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        let mut ledger = Self {
            buckets: None,
            consumed: Consumed::default(),
            past: VecDeque::new(),
            memory: None,
        };
        ledger.set(plan, now);
        ledger
    }

    /// Goes by another plan. Buckets with the same limits keep what is in them.
    pub(super) fn set(&mut self, plan: &Plan, now: Instant) {
        if self.buckets.as_ref().map(Buckets::limits) != plan.limits {
            self.buckets = plan.limits.map(|limits| Buckets::new(limits, now));
        }
        self.memory = (plan.rate(Fault::Stale) > 0.0).then_some(plan.stale);
        if self.memory.is_none() {
            self.past.clear();
        }
    }

    /// Whether it has to be told what happens.
    pub(super) fn looks(&self) -> bool {
        self.buckets.is_some() || self.memory.is_some()
    }

    pub(super) fn consumed(&self) -> Consumed {
        self.consumed
    }

    /// Why each of `parts` is throttled at `now`, where it is.
    pub(super) fn refuse(
        &mut self,
        parts: &[Part],
        write: bool,
        now: Instant,
    ) -> Vec<Option<Reason>> {
        let Some(buckets) = &mut self.buckets else { return vec![None; parts.len()] };
        parts.iter().map(|part| buckets.refuse(&part.table, part.pk(), write, now)).collect()
    }

    /// Whether there are limits.
    pub(super) fn limits(&self) -> bool {
        self.buckets.is_some()
    }

    /// A write of `part` has left `after` where `before` was, null for no item; a transaction counts
    /// each unit twice.
    pub(super) fn wrote(
        &mut self,
        part: &Part,
        before: &Value,
        after: &Value,
        transaction: bool,
        now: Instant,
    ) {
        if let Some(buckets) = &mut self.buckets {
            let units = size::write_units(size::of_item(before), size::of_item(after));
            let units = if transaction { 2.0 * units } else { units };
            buckets.charge(&part.table, part.pk(), true, units, now);
            self.consumed.write_units += units;
        }
        if let (Some(memory), Some(place)) = (self.memory, part.place()) {
            let forgotten =
                |(at, ..): &mut (Instant, _, _)| now.saturating_duration_since(*at) >= memory;
            while self.past.pop_front_if(forgotten).is_some() {}
            if before != after {
                self.past.push_back((now, place, before.clone()));
            }
        }
    }

    /// A read under `pk`, or of a whole table, has cost `units`.
    pub(super) fn read(&mut self, table: &str, pk: Option<&str>, units: f64, now: Instant) {
        if let Some(buckets) = &mut self.buckets {
            buckets.charge(table, pk, false, units, now);
            self.consumed.read_units += units;
        }
    }

    /// One of the values that the item at `place` had within the memory, null for none; `None` where it
    /// was not changed.
    pub(super) fn older(&self, place: &Place, dice: &mut Dice, now: Instant) -> Option<Value> {
        let memory = self.memory?;
        let recent = |at: &Instant| now.saturating_duration_since(*at) < memory;
        let of_place = |(at, of, _): &&(_, Place, _)| of == place && recent(at);
        let values: Vec<&Value> = self.past.iter().filter(of_place).map(|(.., v)| v).collect();
        dice.pick(&values).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Clock;
    use crate::hostile::Limits;
    use crate::hostile::request::parts;

    fn item(n: usize) -> Value {
        json!({ "pk": { "S": "a" }, "sk": { "B": "AA==" }, "v": { "S": "x".repeat(n) } })
    }

    #[test]
    fn only_what_was_replaced_a_moment_ago_is_stale() {
        let start = Clock::starting_at(0).now();
        let mut ledger = Ledger::new(&Plan::calm().with(Fault::Stale, 0.5), start);
        let part = &parts("PutItem", &json!({ "TableName": "t", "Item": item(1) }))[0];
        let at = |ms| start + Duration::from_millis(ms);
        ledger.wrote(part, &Value::Null, &item(1), false, at(0));
        ledger.wrote(part, &item(1), &item(2), false, at(3_000));
        ledger.wrote(part, &item(2), &item(2), false, at(3_000));
        let place = part.place().unwrap();
        let older = |ms| -> Vec<_> {
            (0..20).filter_map(|n| ledger.older(&place, &mut Dice::of(1, n), at(ms))).collect()
        };
        assert!(older(4_000).contains(&Value::Null) && older(4_000).contains(&item(1)));
        assert!(older(6_000).iter().all(|value| *value == item(1)));
        assert!(older(8_000).is_empty());
    }

    #[test]
    fn units_are_those_of_the_larger_image() {
        let now = Clock::starting_at(0).now();
        let mut ledger = Ledger::new(&Plan::calm().limited(Limits::new_table()), now);
        let part = &parts("PutItem", &json!({ "TableName": "t", "Item": item(1) }))[0];
        ledger.wrote(part, &item(5_000), &item(10), false, now);
        assert_eq!(ledger.consumed().write_units, 5.0);
        ledger.wrote(part, &Value::Null, &Value::Null, true, now);
        assert_eq!(ledger.consumed().write_units, 7.0);
        ledger.read("t", None, size::read_units(5_000, false), now);
        assert_eq!(ledger.consumed().read_units, 1.0);
    }
}
