//! Random jobs of several subtasks, with every kind of state, against a plain model: what each barrier
//! saw, and nothing else.
//!
//! After every step, each retained checkpoint must be the fold of items and log (I2), and every item the
//! value of the checkpoint that it names, not newer than the oldest retained one (I1), and the hash of
//! each item that a restore would read must be in the filter that it would have.

use std::time::Duration;

use proptest::prelude::*;

use super::acts::Act;
use super::job::{LATENESS_MS, Step, check_job_of, step};
use super::*;
use crate::state::Ttl;

fn check_job(num_retained: usize, filter: bool, steps: &[Step], check_each: bool) {
    check_job_of(None, num_retained, filter, steps, check_each);
}

fn config_of(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config_of(300))]

    #[test]
    fn a_job_that_retains_one_checkpoint_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(1, filter, &steps, true);
    }

    #[test]
    fn a_job_that_retains_two_checkpoints_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(2, filter, &steps, true);
    }

    #[test]
    fn a_job_that_retains_three_checkpoints_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(3, filter, &steps, true);
    }
}

proptest! {
    // Ten thousand in all: two tests, for two threads.
    #![proptest_config(config_of(5_000))]

    /// What is wrong shows in what records see, or at the end.
    #[test]
    fn five_thousand_short_jobs_equal_the_model(
        ttl in prop::option::of(ttl()),
        num_retained in 1usize..4,
        steps in prop::collection::vec(step(), 1..18),
    ) {
        check_job_of(ttl, num_retained, false, &steps, false);
    }

    #[test]
    fn five_thousand_short_jobs_with_a_filter_equal_the_model(
        ttl in prop::option::of(ttl()),
        num_retained in 1usize..4,
        steps in prop::collection::vec(step(), 1..18),
    ) {
        check_job_of(ttl, num_retained, true, &steps, false);
    }
}

#[cfg(debug_assertions)]
#[test]
fn hashes_that_are_saved_late_are_found() {
    let steps = [Step::Batch(vec![(1, vec![Act::SetA(1)], 0)]), Step::Settle, Step::Settle];
    check_job(1, true, &steps, true);
    let late = || crate::teeth::with(Tooth::HashesLate, || check_job(1, true, &steps, true));
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
        let ttl = FIFTY.by_event_time(LATENESS);
        check_job_of(Some(ttl), num_retained, false, &steps, true);
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

proptest! {
    #![proptest_config(config_of(300))]

    /// By the clock and by the times of records, late ones too; begun by writes alone, and by reads.
    #[test]
    fn a_job_whose_values_expire_equals_the_model(
        ttl in ttl(),
        num_retained in 1usize..4,
        filter in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(Some(ttl), num_retained, filter, &steps, true);
    }
}
