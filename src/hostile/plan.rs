//! What goes wrong, and how often: the weather.

use std::time::Duration;

use super::latency::Latency;
use super::limits::Limits;

/// A kind of fault. A call has at most one of those that end it; [`Fault::Slow`], [`Fault::Overtaken`]
/// and [`Fault::Abandoned`] may come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// No connection: the request never leaves.
    Unreachable,
    /// The connection is reset before the server has the request: never applied.
    ResetBefore,
    /// No answer in time ([`Plan::timeout`]), and never applied.
    TimedOut,
    /// No answer in time, and applied [`Plan::late`] afterwards.
    Late,
    /// Refused whole, with one of DynamoDB's throttling exceptions and reasons.
    Throttled,
    /// Some statements of a `BatchExecuteStatement` are throttled, inside an answer 200; the others
    /// are executed.
    StatementsThrottled,
    /// Some statements of a `BatchExecuteStatement` say `InternalServerError`, inside an answer 200,
    /// though half of them are executed, as are all others.
    StatementsFailed,
    /// A part of a `BatchGetItem` or `BatchWriteItem` comes back as `UnprocessedKeys` or
    /// `UnprocessedItems`.
    Unprocessed,
    /// Error 500 or 503, not applied.
    InternalError,
    /// Error 500, though applied.
    InternalErrorApplied,
    /// Applied; no answer in time.
    AnswerLost,
    /// Applied; the connection is reset before the answer.
    ResetAfter,
    /// Applied; the answer is cut short.
    Truncated,
    /// Applied twice: at once, and once more [`Plan::late`] afterwards.
    Twice,
    /// Applied twice at once, and answered as the second copy was.
    Redelivered,
    /// A `GetItem` or `BatchGetItem` without `ConsistentRead` shows what items were before they were
    /// changed, up to [`Plan::stale`] ago.
    Stale,
    /// [`Plan::slow`] longer under way.
    Slow,
    /// Up to [`Plan::overtaken`] longer under way to the server: later calls get there before.
    Overtaken,
    /// A caller that gives up while its request is under way: applied [`Plan::late`] afterwards.
    Abandoned,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::Unreachable,
        Self::ResetBefore,
        Self::TimedOut,
        Self::Late,
        Self::Throttled,
        Self::StatementsThrottled,
        Self::StatementsFailed,
        Self::Unprocessed,
        Self::InternalError,
        Self::InternalErrorApplied,
        Self::AnswerLost,
        Self::ResetAfter,
        Self::Truncated,
        Self::Twice,
        Self::Redelivered,
        Self::Stale,
        Self::Slow,
        Self::Overtaken,
        Self::Abandoned,
    ];

    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::ResetBefore => "reset-before",
            Self::TimedOut => "timed-out",
            Self::Late => "late",
            Self::Throttled => "throttled",
            Self::StatementsThrottled => "statements-throttled",
            Self::StatementsFailed => "statements-failed",
            Self::Unprocessed => "unprocessed",
            Self::InternalError => "internal-error",
            Self::InternalErrorApplied => "internal-error-applied",
            Self::AnswerLost => "answer-lost",
            Self::ResetAfter => "reset-after",
            Self::Truncated => "truncated",
            Self::Twice => "twice",
            Self::Redelivered => "redelivered",
            Self::Stale => "stale",
            Self::Slow => "slow",
            Self::Overtaken => "overtaken",
            Self::Abandoned => "abandoned",
        }
    }
}

/// How often each kind of fault strikes, 0 to 1. None at all by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates([f64; Fault::ALL.len()]);

impl Rates {
    /// The same `rate` of every kind.
    #[must_use]
    pub const fn all(rate: f64) -> Self {
        Self([rate; Fault::ALL.len()])
    }

    /// How often `fault` strikes.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> f64 {
        self.0[fault as usize]
    }

    /// The same, with another rate of `fault`.
    #[must_use]
    pub const fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.0[fault as usize] = rate;
        self
    }
}

/// The weather: how often each kind of fault strikes, and how long calls take.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How often each kind of fault strikes.
    pub rates: Rates,
    /// Of each call, there and back. Default 4 ms in the median, 12 ms at the 99th percentile.
    pub latency: Latency,
    /// After which a call without an answer is an error. Default 8 s, as the client of a server has it.
    pub timeout: Duration,
    /// How much longer slow calls take, from and to. Default 100 ms to 5 s.
    pub slow: (Duration, Duration),
    /// For how long an overtaken request is held back at most. Default 100 ms.
    pub overtaken: Duration,
    /// How long after its caller has given up a late request is applied, from and to. Default 1 ms to
    /// 10 min.
    pub late: (Duration, Duration),
    /// How old a stale value may be. Default 5 s.
    pub stale: Duration,
    /// Bytes a second that each call's request and answer take on their way. Default `None`: they take no time
    /// beyond the latency. What is not there after [`Plan::timeout`] is lost.
    pub line: Option<u64>,
    /// What the table takes. Default `None`: anything. Each write then costs the server two reads more,
    /// which nobody is charged for.
    pub limits: Option<Limits>,
}

impl Default for Plan {
    fn default() -> Self {
        Self::calm()
    }
}

impl Plan {
    /// Nothing goes wrong; calls take their time.
    #[must_use]
    pub fn calm() -> Self {
        let ms = Duration::from_millis;
        Self {
            rates: Rates::default(),
            latency: Latency::micros(4_000, 12_000),
            timeout: ms(8_000),
            slow: (ms(100), ms(5_000)),
            overtaken: ms(100),
            late: (ms(1), ms(600_000)),
            stale: ms(5_000),
            line: None,
            limits: None,
        }
    }

    /// Every kind of fault at the same `rate`.
    #[must_use]
    pub fn rough(rate: f64) -> Self {
        Self { rates: Rates::all(rate), ..Self::calm() }
    }

    /// Nothing can be reached.
    #[must_use]
    pub fn outage() -> Self {
        Self::calm().with(Fault::Unreachable, 1.0)
    }

    /// Of a hundred calls, `percent` are throttled.
    #[must_use]
    pub fn storm(percent: u8) -> Self {
        let rate = f64::from(percent.min(100)) / 100.0;
        Self::calm().with(Fault::Throttled, rate).with(Fault::StatementsThrottled, rate)
    }

    /// The same plan, for a table that takes no more than `limits`.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The same plan with another rate of `fault`, 0 to 1.
    #[must_use]
    pub fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.rates = self.rates.with(fault, rate);
        self
    }

    /// How often `fault` strikes, 0 to 1.
    #[must_use]
    pub fn rate(&self, fault: Fault) -> f64 {
        self.rates.of(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_and_a_name_of_its_own() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
        }
        let names: std::collections::BTreeSet<_> = Fault::ALL.map(Fault::name).into();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
