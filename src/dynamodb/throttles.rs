//! What a table has refused, by reason and place: for logs and status.
//!
//! Owns the counts and when the user is told. What is done about it is `limiter`'s.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Instant};

/// After the first time the user is told, and then so often.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Of the crate `metrics`, for whoever installs a recorder: one for each reason, its label.
const COUNTER: &str = "millpond_throttled_total";
/// Servers have a dozen reasons; one that makes them up shall not fill the memory.
const KINDS: usize = 64;

/// What was throttled up to now, and how fast requests may leave.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Throttling {
    /// How often, by DynamoDB's reason: `TableWriteKeyRangeThroughputExceeded`. A statement of a batch
    /// counts by itself, under its code.
    pub reasons: BTreeMap<String, u64>,
    /// The last one, with its place: `TableWriteKeyRangeThroughputExceeded on key group 17 of
    /// counts/total`.
    pub last: Option<String>,
    /// When that was, milliseconds since 1970.
    pub last_ms: Option<u64>,
    /// Write units a second that are sent at most; `None`: no limit.
    pub write_limit: Option<f64>,
    /// Read units a second that are sent at most; `None`: no limit.
    pub read_limit: Option<f64>,
    /// Requests that wait for that.
    pub waiting: u64,
}

/// The account of one connection.
#[derive(Debug, Default)]
pub(super) struct Throttles(Mutex<Account>);

#[derive(Debug, Default)]
struct Account {
    reasons: BTreeMap<String, u64>,
    /// The last one's reason and partition key; put into words when it is looked at.
    last: Option<(String, String, u64)>,
    told: Option<Instant>,
    since_told: u64,
}

impl Throttles {
    /// Counts one that was refused for `reason` under the partition key `pk`; gives what is to be told, if
    /// anything.
    pub(super) fn count(&self, reason: &str, pk: &str, clock: Clock) -> Option<String> {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = account.reasons.contains_key(reason) || account.reasons.len() < KINDS;
        let kind = if known { reason } else { "others" };
        *account.reasons.entry(kind.to_owned()).or_default() += 1;
        metrics::counter!(COUNTER, "reason" => kind.to_owned()).increment(1);
        account.last = Some((reason.to_owned(), pk.to_owned(), clock.wall_ms()));
        account.since_told += 1;
        let now = clock.now();
        if account.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return None;
        }
        let times = std::mem::take(&mut account.since_told);
        let first = account.told.replace(now).is_none();
        let others = if first || times < 2 { String::new() } else { format!(", {times} since") };
        Some(format!("{}{others}", in_words(reason, pk)))
    }

    /// What was counted; the rates are the caller's to fill in.
    pub(super) fn snapshot(&self) -> Throttling {
        let account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Throttling {
            reasons: account.reasons.clone(),
            last: account.last.as_ref().map(|(reason, pk, _)| in_words(reason, pk)),
            last_ms: account.last.as_ref().map(|(.., at)| *at),
            ..Throttling::default()
        }
    }
}

fn in_words(reason: &str, pk: &str) -> String {
    format!("{reason} on {}", place(pk))
}

/// What a partition key is for: `JOB/INCARNATION/s/OPERATOR/STATE#GROUP` and the others of `item`.
fn place(pk: &str) -> String {
    let mut parts = pk.splitn(4, '/').skip(2);
    match (parts.next(), parts.next()) {
        (Some("s"), Some(state)) => match state.rsplit_once('#') {
            Some((state, group)) => format!("key group {group} of {state}"),
            None => state.to_owned(),
        },
        (Some("log"), Some(slot)) => format!("log slot {slot}"),
        (Some("manifest"), Some(slot)) => format!("manifest slot {slot}"),
        _ => format!("the head of {pk}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    use super::*;

    #[test]
    fn places_are_told_in_the_user_s_words() {
        assert_eq!(place("job/3/s/counts/total#17"), "key group 17 of counts/total");
        assert_eq!(place("job/3/log/9"), "log slot 9");
        assert_eq!(place("job/3/manifest/1"), "manifest slot 1");
        assert_eq!(place("job"), "the head of job");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_then_a_count_every_30_seconds() {
        let (clock, throttles) = (Clock::starting_at(5), Throttles::default());
        let count = || throttles.count("ThrottlingError", "job/1/s/a/b#2", clock);
        assert_eq!(count().unwrap(), "ThrottlingError on key group 2 of a/b");
        assert_eq!(count(), None);
        clock.sleep(TELL_EVERY).await;
        assert_eq!(count().unwrap(), "ThrottlingError on key group 2 of a/b, 2 since");
        let seen = throttles.snapshot();
        assert_eq!(seen.reasons["ThrottlingError"], 3);
        assert_eq!(seen.last.unwrap(), "ThrottlingError on key group 2 of a/b");
        assert_eq!(seen.last_ms, Some(30_005));
    }

    /// Counters by name and reason.
    #[derive(Default)]
    struct Recorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> =
                key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn whoever_records_metrics_is_told_each_reason() {
        let (clock, throttles, recorder) =
            (Clock::starting_at(0), Throttles::default(), Recorder::default());
        metrics::with_local_recorder(&recorder, || {
            for reason in ["ThrottlingError", "RequestLimitExceeded", "ThrottlingError"] {
                let _said = throttles.count(reason, "job", clock);
            }
        });
        let told = recorder.0.into_inner().unwrap();
        let told: Vec<_> = told.iter().map(|(name, n)| (&**name, n.load(Relaxed))).collect();
        let expected = [
            ("millpond_throttled_total{reason=RequestLimitExceeded}", 1),
            ("millpond_throttled_total{reason=ThrottlingError}", 2),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn reasons_that_are_made_up_are_counted_together() {
        let (clock, throttles) = (Clock::starting_at(0), Throttles::default());
        (0..100).for_each(|n| drop(throttles.count(&n.to_string(), "job", clock)));
        let reasons = throttles.snapshot().reasons;
        assert_eq!((reasons.len(), reasons["others"]), (KINDS + 1, 36));
    }
}
