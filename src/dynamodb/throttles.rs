//! What a table has refused, by reason and place: for logs and status.
//!
//! Owns the counts and when they are logged. What is done about it is `limiter`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Instant};

/// The first refusal is logged at once, further ones so often.
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
    /// counts/total`; of a batch that was refused whole, with all of its places, shortened.
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
    /// The last one in words, and when it was.
    last: Option<(String, u64)>,
    told: Option<Instant>,
    since_told: u64,
}

impl Throttles {
    /// Counts one that was refused for `reason` under the partition keys `pks`; gives what is to be told, if
    /// anything.
    pub(super) fn count(&self, reason: &str, pks: &[&str], clock: Clock) -> Option<String> {
        let words = format!("{reason} on {}", places(pks));
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = account.reasons.contains_key(reason) || account.reasons.len() < KINDS;
        let kind = if known { reason } else { "others" };
        *account.reasons.entry(kind.to_owned()).or_default() += 1;
        metrics::counter!(COUNTER, "reason" => kind.to_owned()).increment(1);
        account.last = Some((words.clone(), clock.wall_ms()));
        account.since_told += 1;
        let now = clock.now();
        if account.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            return None;
        }
        let times = std::mem::take(&mut account.since_told);
        let first = account.told.replace(now).is_none();
        let others = if first || times < 2 { String::new() } else { format!(", {times} since") };
        Some(format!("{words}{others}"))
    }

    /// What was counted; the rates are the caller's to fill in.
    pub(super) fn snapshot(&self) -> Throttling {
        let account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Throttling {
            reasons: account.reasons.clone(),
            last: account.last.as_ref().map(|(words, _)| words.clone()),
            last_ms: account.last.as_ref().map(|(_, at)| *at),
            ..Throttling::default()
        }
    }
}

/// So many of a batch's key groups, or states, are named.
const NAMED: usize = 2;

/// What partition keys are for: `JOB/INCARNATION/s/OPERATOR/STATE#GROUP` and the others of `item`.
fn places(pks: &[&str]) -> String {
    let mut states: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut others: BTreeSet<String> = BTreeSet::new();
    for pk in pks {
        let mut parts = pk.splitn(4, '/').skip(2);
        match (parts.next(), parts.next()) {
            (Some("s"), Some(state)) => {
                let (state, group) = state.rsplit_once('#').unwrap_or((state, "?"));
                states.entry(state).or_default().insert(group);
            }
            (Some("log"), Some(slot)) => drop(others.insert(format!("log slot {slot}"))),
            (Some("manifest"), Some(slot)) => drop(others.insert(format!("manifest slot {slot}"))),
            _ => drop(others.insert(format!("the head of {pk}"))),
        }
    }
    let of_state = |(state, groups): (&str, BTreeSet<&str>)| {
        let mut groups: Vec<&str> = groups.into_iter().collect();
        groups.sort_by_key(|group| (group.len(), *group));
        let many = if groups.len() > 1 { "s" } else { "" };
        format!("key group{many} {} of {state}", shortened(&groups, ""))
    };
    let all: Vec<String> = states.into_iter().map(of_state).chain(others).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    shortened(&all, " places")
}

/// `3, 17 and 9 more`.
fn shortened(all: &[&str], what: &str) -> String {
    // One more takes no more room than saying that there is one.
    match all.len() {
        0..=1 => all.concat(),
        many if many <= NAMED + 1 => {
            format!("{} and {}", all[..many - 1].join(", "), all[many - 1])
        }
        many => format!("{} and {} more{what}", all[..NAMED].join(", "), many - NAMED),
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
        assert_eq!(places(&["job/3/s/counts/total#17"]), "key group 17 of counts/total");
        assert_eq!(places(&["job/3/log/9"]), "log slot 9");
        assert_eq!(places(&["job/3/manifest/1"]), "manifest slot 1");
        assert_eq!(places(&["job"]), "the head of job");
    }

    /// Of a batch the first entry's alone used to be told.
    #[test]
    fn all_places_of_a_batch_are_told_shortened() {
        let groups =
            |all: &[u32]| all.iter().map(|g| format!("job/1/s/a/b#{g}")).collect::<Vec<_>>();
        let told = |pks: &[String]| places(&pks.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(told(&groups(&[17, 3, 17])), "key groups 3 and 17 of a/b");
        assert_eq!(told(&groups(&[17, 3, 120])), "key groups 3, 17 and 120 of a/b");
        assert_eq!(told(&groups(&[17, 3, 120, 5])), "key groups 3, 5 and 2 more of a/b");
        let mut both = groups(&[3]);
        both.push("job/1/s/a/c#9".to_owned());
        assert_eq!(told(&both), "key group 3 of a/b and key group 9 of a/c");
        both.extend(["d", "e"].map(|state| format!("job/1/s/a/{state}#1")));
        assert_eq!(told(&both), "key group 3 of a/b, key group 9 of a/c and 2 more places");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_and_then_a_count_every_30_seconds() {
        let (clock, throttles) = (Clock::starting_at(5), Throttles::default());
        let count = || throttles.count("ThrottlingError", &["job/1/s/a/b#2"], clock);
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
                let _said = throttles.count(reason, &["job"], clock);
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
        (0..100).for_each(|n| drop(throttles.count(&n.to_string(), &["job"], clock)));
        let reasons = throttles.snapshot().reasons;
        assert_eq!((reasons.len(), reasons["others"]), (KINDS + 1, 36));
    }
}
