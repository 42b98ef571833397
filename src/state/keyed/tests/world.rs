//! Random jobs of several subtasks, with every kind of state, against a plain model: what each barrier
//! saw, and nothing else.
//!
//! After every step, each retained checkpoint must be the fold of items and log (I2), and every item the
//! value of the checkpoint that it names, not newer than the oldest retained one (I1), and the hash of
//! each item that a restore would read must be in the filter that it would have.

use std::time::Duration;

use proptest::prelude::*;

use super::acts::Act;
use super::job::{LATENESS_MS, Setting, Step, check_job_of, step};
use crate::state::Ttl;

/// Of values that do not expire.
fn lasting(num_retained: usize) -> impl Strategy<Value = Setting> {
    let ttls = Setting::always(None);
    let setting = move |(filter, native)| Setting { num_retained, filter, native, ttls };
    any::<(bool, bool)>().prop_map(setting)
}

fn setting(
    filter: impl Strategy<Value = bool>,
    ttls: impl Strategy<Value = [Option<Ttl>; 4]>,
) -> impl Strategy<Value = Setting> {
    let setting =
        |(num_retained, filter, native, ttls)| Setting { num_retained, filter, native, ttls };
    (1usize..4, filter, any::<bool>(), ttls).prop_map(setting)
}

fn config_of(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config_of(300))]

    #[test]
    fn a_job_that_retains_one_checkpoint_equals_the_model(
        setting in lasting(1),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(setting, &steps, true);
    }

    #[test]
    fn a_job_that_retains_two_checkpoints_equals_the_model(
        setting in lasting(2),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(setting, &steps, true);
    }

    #[test]
    fn a_job_that_retains_three_checkpoints_equals_the_model(
        setting in lasting(3),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(setting, &steps, true);
    }
}

proptest! {
    // Ten thousand in all: two tests, for two threads.
    #![proptest_config(config_of(5_000))]

    /// What is wrong shows in what records see, or at the end.
    #[test]
    fn five_thousand_short_jobs_equal_the_model(
        setting in setting(Just(false), ttls()),
        steps in prop::collection::vec(step(), 1..18),
    ) {
        check_job_of(setting, &steps, false);
    }

    #[test]
    fn five_thousand_short_jobs_with_a_filter_equal_the_model(
        setting in setting(Just(true), ttls()),
        steps in prop::collection::vec(step(), 1..18),
    ) {
        check_job_of(setting, &steps, false);
    }
}

#[cfg(debug_assertions)]
#[test]
fn hashes_that_are_saved_late_are_found() {
    let steps = [Step::Batch(vec![(1, vec![Act::SetA(1)], 0)]), Step::Settle, Step::Settle];
    let ttls = Setting::always(None);
    let setting = Setting { num_retained: 1, filter: true, native: false, ttls };
    let check = || check_job_of(setting, &steps, true);
    check();
    let late = || crate::teeth::with(crate::teeth::Tooth::HashesLate, check);
    assert!(std::panic::catch_unwind(late).is_err());
}

const FIFTY: Ttl = Ttl::new(Duration::from_millis(50));
const LATENESS: Duration = Duration::from_millis(LATENESS_MS);

/// Found by the jobs below: that it shortened no life was so only while the old value was in memory.
#[test]
fn what_a_late_record_puts_expires_the_same_whether_the_old_value_is_in_memory_or_not() {
    use super::acts::OfNumber::Add;
    let steps = [
        Step::Batch(vec![(10, vec![Act::Value(1, Add(1))], 0)]),
        Step::Settle,
        Step::Batch([12, 0, 5].map(|key| (key, vec![Act::SetA(1)], 0)).into()),
        Step::Batch(vec![(10, vec![Act::Value(1, Add(1))], 1)]),
    ];
    for num_retained in 1..3 {
        let ttls = Setting::always(Some(FIFTY.by_event_time(LATENESS)));
        let setting = Setting { num_retained, filter: false, native: false, ttls };
        check_job_of(setting, &steps, true);
    }
}

fn ttl() -> impl Strategy<Value = Ttl> {
    let by_events = FIFTY.by_event_time(LATENESS);
    prop_oneof![
        Just(FIFTY),
        Just(FIFTY.on_read_and_write()),
        Just(by_events),
        Just(by_events.on_read_and_write()),
    ]
}

/// The same in all attempts, or another one in each: turned on and off, judged by another time, longer and shorter.
fn ttls() -> impl Strategy<Value = [Option<Ttl>; 4]> {
    let short = Ttl { after: Duration::from_millis(15), ..FIFTY };
    let any = move || {
        prop_oneof![
            3 => Just(None),
            3 => ttl().prop_map(Some),
            1 => Just(Some(short)),
            1 => Just(Some(short.by_event_time(LATENESS))),
        ]
    };
    let same = prop::option::of(ttl()).prop_map(Setting::always);
    prop_oneof![same, [any(), any(), any(), any()]]
}

proptest! {
    #![proptest_config(config_of(300))]

    /// By the clock and by the times of records, late ones too; begun by writes alone, and by reads.
    #[test]
    fn a_job_whose_values_expire_equals_the_model(
        setting in setting(any::<bool>(), ttl().prop_map(|ttl| Setting::always(Some(ttl)))),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(setting, &steps, true);
    }

    /// What had expired when a time to live ended is gone, all else lives on.
    #[test]
    fn a_job_whose_time_to_live_changes_equals_the_model(
        setting in setting(any::<bool>(), ttls()),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(setting, &steps, true);
    }
}
