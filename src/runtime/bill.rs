//! What a run costs by AWS's prices, and what it does to cost less.
//!
//! Owns the arithmetic and the decision, which are pure: units, records and `now` are given. The levers
//! are `cost_control`'s; units come from the backend.
//!
//! A judgement is made once two checkpoints fit in what was seen since the last one, so that it sees
//! what it has brought about: first values are materialised lazily, then the interval is doubled, up to
//! ten minutes; once a doubled bill would be well below the bound, it is halved again.

use std::collections::VecDeque;
use std::time::Duration;

use super::status::{Billing, CapacityUnits, Cost, PricedShare};
use crate::clock::Instant;
use crate::config::{Config, CostSettings, Location, Materialize};
use crate::cost_control::CostControl;
use crate::dynamodb::Share;

/// Dollars an hour are those of so long.
const SHOWN: Duration = Duration::from_secs(60);
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A judgement sees at least so much.
const JUDGED: Duration = Duration::from_secs(30);
/// To which the checkpoint interval is lengthened at most.
const LONGEST: Duration = Duration::from_secs(600);
/// Below this share of the bound the interval is halved again: twice the bill would be below it.
const CHEAP: f64 = 0.4;

/// The bill of one run.
#[derive(Debug)]
pub(super) struct Bill {
    prices: CostSettings,
    /// (read, write) units a second that are paid for, used or not.
    provisioned: Option<(u64, u64)>,
    on_aws: bool,
    began: Instant,
    /// The newest last, no more than one each [`EVERY`].
    seen: VecDeque<(Instant, f64)>,
    economy: Option<Economy>,
    cost_control: CostControl,
    interval: Duration,
}

/// What is done about a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Lazy,
    Longer,
    Shorter,
    /// There is nothing left to do.
    Helpless,
}

/// Facts in, step out.
#[derive(Debug)]
struct Economy {
    limit: f64,
    interval: Duration,
    /// Whether values are materialised eagerly still.
    eager: bool,
    stretch: u32,
    /// When and at what bill the last judgement was made.
    judged: (Instant, f64),
    helpless: bool,
}

impl Economy {
    fn judge(&mut self, usd: f64, now: Instant) -> Option<(Step, f64)> {
        let seen = now.saturating_duration_since(self.judged.0);
        if seen < JUDGED.max(2 * self.interval.saturating_mul(self.stretch)) {
            return None;
        }
        let an_hour = (usd - self.judged.1) / seen.as_secs_f64() * 3600.0;
        self.judged = (now, usd);
        let doubled = self.interval.saturating_mul(self.stretch.saturating_mul(2));
        let step = if an_hour > self.limit {
            if std::mem::take(&mut self.eager) {
                Step::Lazy
            } else if doubled <= LONGEST {
                self.stretch *= 2;
                Step::Longer
            } else if std::mem::replace(&mut self.helpless, true) {
                return None;
            } else {
                Step::Helpless
            }
        } else if an_hour < self.limit * CHEAP && self.stretch > 1 {
            self.stretch /= 2;
            self.helpless = false;
            Step::Shorter
        } else {
            return None;
        };
        Some((step, an_hour))
    }
}

impl Bill {
    /// Of a table with `provisioned` (read, write) units a second, or on demand.
    pub(super) fn new(
        config: &Config,
        provisioned: Option<(u64, u64)>,
        cost_control: CostControl,
        now: Instant,
    ) -> Self {
        let prices = config.cost.clone();
        let interval = config.checkpointing.interval;
        let economy = |limit| Economy {
            limit,
            interval,
            eager: config.state.materialize == Materialize::Eager,
            stretch: 1,
            judged: (now, 0.0),
            helpless: false,
        };
        let on_demand = provisioned.is_none();
        let bill = Self {
            economy: prices.max_usd_per_hour.filter(|_| on_demand).map(economy),
            prices,
            provisioned,
            on_aws: matches!(config.store.location, Location::Remote { endpoint: None, .. }),
            began: now,
            seen: VecDeque::from([(now, 0.0)]),
            cost_control,
            interval,
        };
        if let (Some(fixed), Some(limit)) =
            (bill.provisioned_an_hour(), bill.prices.max_usd_per_hour)
            && fixed > limit
        {
            tracing::warn!(
                "the provisioned capacity alone costs ${fixed:.4} an hour, more than \
                 cost.max-usd-per-hour ({limit}); nothing that the job does changes it"
            );
        }
        bill
    }

    fn provisioned_an_hour(&self) -> Option<f64> {
        let (read, write) = self.provisioned?;
        let prices = &self.prices;
        let read = read as f64 * prices.provisioned_read_usd_per_hour;
        Some(read + write as f64 * prices.provisioned_write_usd_per_hour)
    }

    /// Of read and write units on demand.
    fn priced(&self, read: f64, write: f64) -> f64 {
        (read * self.prices.read_usd_per_million + write * self.prices.write_usd_per_million) / 1e6
    }

    /// Whether it is time for [`Bill::look`].
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let last = self.seen.back().map_or(self.began, |(at, _)| *at);
        now.saturating_duration_since(last) >= EVERY
    }

    /// Brings the bill up to date, and moves the levers if it must.
    pub(super) fn look(
        &mut self,
        units: &CapacityUnits,
        shares: Vec<Share>,
        records: u64,
        now: Instant,
    ) -> Cost {
        let usd = match self.provisioned_an_hour() {
            Some(an_hour) => {
                an_hour * now.saturating_duration_since(self.began).as_secs_f64() / 3600.0
            }
            None => self.priced(units.read, units.write.total()),
        };
        if self.is_due(now) {
            self.seen.push_back((now, usd));
        }
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SHOWN) {
            self.seen.pop_front();
        }
        if let Some((step, an_hour)) = self.economy.as_mut().and_then(|e| e.judge(usd, now)) {
            self.take(step, an_hour);
        }
        let (at, before) = self.seen.front().copied().unwrap_or((self.began, 0.0));
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        let on_demand = self.provisioned.is_none();
        let priced = |share: Share| PricedShare {
            usd: on_demand.then(|| self.priced(share.read_units, share.write_units)),
            share,
        };
        Cost {
            billing: if on_demand { Billing::OnDemand } else { Billing::Provisioned },
            on_aws: self.on_aws,
            usd,
            usd_per_hour: if seconds > 0.0 { (usd - before) / seconds * 3600.0 } else { 0.0 },
            usd_per_million_records: (records > 0).then(|| usd / records as f64 * 1e6),
            max_usd_per_hour: self.prices.max_usd_per_hour,
            saving: self.saving(),
            shares: shares.into_iter().map(priced).collect(),
        }
    }

    /// What is done so as to cost less, in words.
    fn saving(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.cost_control.stretch() > 1 {
            let interval = self.cost_control.interval(self.interval);
            parts
                .push(format!("checkpoints are {interval:?} apart instead of {:?}", self.interval));
        }
        if self.cost_control.is_lazy() {
            parts.push("values are materialised lazily".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn take(&self, step: Step, an_hour: f64) {
        let Some(economy) = &self.economy else { return };
        if step == Step::Lazy {
            self.cost_control.set(self.cost_control.stretch(), true);
        }
        self.cost_control.set(economy.stretch, self.cost_control.is_lazy());
        let limit = economy.limit;
        let over = format!("${an_hour:.4} an hour is more than cost.max-usd-per-hour ({limit})");
        let interval = self.cost_control.interval(self.interval);
        match step {
            Step::Lazy => tracing::warn!(
                "{over}: values are materialised lazily from now on; who reads the table sees them late"
            ),
            Step::Longer => {
                tracing::warn!("{over}: checkpoints are {interval:?} apart from now on")
            }
            Step::Helpless => tracing::warn!("{over}, and nothing can be lengthened any more"),
            Step::Shorter => {
                tracing::info!("${an_hour:.4} an hour: checkpoints are {interval:?} apart again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::dynamodb::Purpose;
    use crate::runtime::WriteUnits;

    const SECOND: Duration = Duration::from_secs(1);

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    fn units(read: f64, write: f64) -> CapacityUnits {
        CapacityUnits { read, write: WriteUnits { log: write, items: 0.0, protocol: 0.0 } }
    }

    #[test]
    fn on_demand_units_have_their_price_by_the_hour_and_by_the_million_records() {
        let start = Clock::starting_at(0).now();
        let mut bill = Bill::new(&config(|_| {}), None, CostControl::default(), start);
        let share = Share {
            operator: "counts".to_owned(),
            state: None,
            purpose: Purpose::Log,
            read_units: 0.0,
            write_units: 2e6,
        };
        let cost = bill.look(&units(8e6, 2e6), vec![share], 1_000_000, start + 60 * SECOND);
        assert_eq!((cost.usd, cost.usd_per_hour), (2.25, 135.0));
        assert_eq!(cost.usd_per_million_records, Some(2.25));
        assert_eq!(cost.shares[0].usd, Some(1.25));
        assert!(!cost.on_aws);
        // Only the last minute counts for the hour.
        for second in 61..=121 {
            let cost = bill.look(&units(8e6, 2e6), vec![], 1_000_000, start + second * SECOND);
            assert_eq!(cost.usd_per_hour == 0.0, second >= 120, "{second}");
        }
    }

    #[test]
    fn provisioned_capacity_costs_the_same_whatever_is_used() {
        let start = Clock::starting_at(0).now();
        let mut bill = Bill::new(&config(|_| {}), Some((100, 1000)), CostControl::default(), start);
        let cost = bill.look(&units(1e9, 1e9), vec![], 0, start + 3600 * SECOND);
        assert!((cost.usd - 0.663).abs() < 1e-9, "{cost:?}");
        assert_eq!((cost.billing, cost.usd_per_million_records), (Billing::Provisioned, None));
    }

    #[test]
    fn a_bill_over_the_bound_lengthens_what_can_be_lengthened_and_back() {
        let start = Clock::starting_at(0).now();
        let cost_control = CostControl::default();
        let config = config(|c| {
            c.cost.max_usd_per_hour = Some(1.0);
            c.state.materialize = Materialize::Eager;
            c.checkpointing.interval = 100 * SECOND;
        });
        let mut bill = Bill::new(&config, None, cost_control.clone(), start);
        let (mut now, mut spent) = (start, 0.0);
        let mut pass = |seconds: u32, usd_per_hour: f64| {
            for _ in 0..seconds {
                now += SECOND;
                spent += usd_per_hour / 3600.0 / 0.625e-6;
                bill.look(&units(0.0, spent), vec![], 0, now);
            }
            (cost_control.stretch(), cost_control.is_lazy())
        };
        assert_eq!(pass(199, 2.0), (1, false), "two checkpoints are not seen yet");
        assert_eq!(pass(1, 2.0), (1, true));
        assert_eq!(pass(200, 2.0), (2, true));
        assert_eq!(pass(400, 2.0), (4, true));
        assert_eq!(pass(1600, 2.0), (4, true), "ten minutes are the most");
        assert_eq!(pass(1600, 0.5), (4, true), "twice that is on the bound");
        assert_eq!(pass(800, 0.3), (2, true));
        assert_eq!(pass(400, 0.3), (1, true));
        assert_eq!(pass(1000, 0.0), (1, true));
    }

    #[test]
    fn without_a_bound_nothing_is_moved() {
        let start = Clock::starting_at(0).now();
        let cost_control = CostControl::default();
        let mut bill = Bill::new(&config(|_| {}), None, cost_control.clone(), start);
        for second in 1..1000 {
            bill.look(&units(0.0, f64::from(second) * 1e9), vec![], 0, start + second * SECOND);
        }
        assert_eq!((cost_control.stretch(), cost_control.is_lazy()), (1, false));
    }
}
