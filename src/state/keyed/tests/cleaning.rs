//! When the log is cleaned, what is written for it, and the horizon that passes then.

use super::*;

#[test]
fn what_is_created_and_deleted_between_two_cleanings_writes_nothing() {
    let mut one = One::new();
    one.set(1, 1);
    one.complete(1);
    one.clear(1);
    one.complete(2);
    assert!(one.clean_all().is_empty());
    assert!(!one.state.items_sent());
    assert_eq!(one.state.horizon(), CheckpointId(2));
    assert_eq!(one.state.stats(), Stats::default());
}

/// A million deletions at once would hold the worker up for a tenth of a second.
#[test]
fn rows_that_a_cleaning_empties_are_given_away_in_slices() {
    let mut one = One::new();
    (0..3000).for_each(|key| one.set(key, 1));
    one.complete(1);
    (0..3000).for_each(|key| one.clear(key));
    one.complete(2);
    one.clean_all();
    assert_eq!(one.state.stats().rows, 3000 - 1024);
    one.state.end_batch();
    one.state.end_batch();
    assert_eq!(one.state.stats().rows, 0);
}

/// They used to pile up where records deleted more than a batch gave away.
#[test]
fn the_more_is_left_with_nothing_the_more_leaves_at_once() {
    let mut one = One::new();
    let keys = 100_000;
    for checkpoint in [1, 2] {
        for key in 0..keys {
            let row = one.row(key);
            match checkpoint {
                1 => one.state.set(one.count, row, key),
                _ => one.state.clear(one.count, row),
            }
        }
        one.state.end_batch();
        one.complete(checkpoint);
    }
    one.clean_all();
    assert_eq!(one.state.stats().rows, keys - keys / 32);
    let mut times = 0;
    while one.state.has_leaving() {
        one.state.leave_some();
        times += 1;
    }
    assert_eq!(one.state.stats().rows, 0);
    assert!(times < 97, "{times}");
}

#[test]
fn the_deletion_of_an_entry_with_an_item_writes_a_tombstone() {
    let mut one = One::new();
    one.set(1, 1);
    one.complete(1);
    let writes = one.clean_all();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].presence, Presence::Absent);
    one.clear(1);
    one.complete(2);
    let writes = one.clean_all();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].item.value, None);
    assert_eq!(writes[0].presence, Presence::Possible);
}

/// Protocol mistake x: an item that was sent but not answered counts.
#[test]
fn an_item_counts_as_soon_as_its_write_is_handed_out() {
    let mut one = One::new();
    one.set(1, 1);
    one.complete(1);
    let (checkpoint, collected) = one.collect().unwrap();
    assert_eq!(collected.writes.len(), 1);
    assert!(one.state.items_sent());
    one.clear(1);
    one.complete(2);
    one.state.cleaned(checkpoint).unwrap();
    assert_eq!(one.clean_all().len(), 1, "a tombstone");
}

/// Protocol mistake q: an earlier attempt may have sent a put of a pinned entry.
#[test]
fn the_deletion_of_a_restored_entry_writes_a_tombstone() {
    let mut first = One::new();
    first.set(1, 1);
    let segments = first.complete(1);
    let at = RestorePoint {
        checkpoint: CheckpointId(1),
        oldest_retained: CheckpointId(1),
        ..RestorePoint::default()
    };
    let mut one = One::at(2, at);
    one.state.reserve(1);
    one.state.replay(&stored(&segments[0], 1)).unwrap();
    one.state.finish_restore().unwrap();
    one.clear(1);
    one.complete(2);
    let writes = one.clean_all();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].item.value, None);
    assert_eq!(writes[0].item.version.attempt, Attempt(2));
}

/// Protocol mistakes n and p: nothing newer than the oldest retained checkpoint is written.
#[test]
fn only_values_as_of_the_oldest_retained_checkpoint_are_written() {
    let mut one = One::new();
    one.set(1, 1);
    one.set(2, 1);
    one.complete(1);
    one.set(1, 2);
    let (_, _) = one.barrier(2);
    one.set(2, 3);
    let (_, collected) = one.collect().unwrap();
    assert!(collected.writes.is_empty(), "both have changed since");
    assert_eq!(collected.missing.len(), 2);
}

#[test]
fn values_that_have_changed_since_are_read_back_from_segments() {
    let mut one = One::new();
    one.set(1, 5);
    one.set(2, 6);
    let segments = one.complete(1);
    one.set(1, 50);
    let (checkpoint, collected) = one.collect().unwrap();
    assert_eq!((collected.writes.len(), collected.missing.len()), (1, 1));
    let segments: Vec<_> = segments.iter().map(|raw| stored(raw, 1)).collect();
    let found = find_values(&segments, collected.missing.clone()).unwrap();
    let writes: Vec<_> = one.state.found(found).into_iter().map(PendingWrite::into_write).collect();
    assert_eq!(writes[0].item.value.as_deref(), Some(&[5][..]));
    one.state.cleaned(checkpoint).unwrap();
    assert_eq!(one.state.horizon(), checkpoint);
    assert_eq!(one.state.stats().pinned_entries, 1);
}

/// It used to be let go when the next checkpoint replaced all of it, and its segments' slots with it.
#[test]
fn a_checkpoint_is_kept_while_it_is_being_cleaned() {
    let mut one = One::new();
    one.set(1, 5);
    one.complete(1);
    one.set(1, 6);
    let (checkpoint, collected) = one.collect().unwrap();
    assert_eq!(collected.missing.len(), 1);
    one.complete(2);
    assert_eq!(one.state.horizon(), CheckpointId::NONE);
    one.state.cleaned(checkpoint).unwrap();
    assert_eq!(one.state.horizon(), CheckpointId(1));
}

#[test]
fn a_missing_value_that_is_in_no_segment_is_an_error_if_it_was_logged() {
    let mut one = One::new();
    one.set(1, 5);
    one.complete(1);
    one.clean_all();
    one.set(1, 6);
    one.complete(2);
    one.set(1, 7);
    let (_, collected) = one.collect().unwrap();
    let error = find_values(&[], collected.missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// Protocol mistake g, and: what an acknowledgement says is fixed at the barrier.
#[test]
fn the_horizon_waits_for_answers_and_is_fixed_at_the_barrier() {
    let mut one = One::new();
    one.set(1, 1);
    one.complete(1);
    let (checkpoint, _) = one.collect().unwrap();
    one.set(2, 2);
    let (barrier, _) = one.barrier(2);
    assert_eq!(barrier.horizons, [(config(1).range, CheckpointId::NONE)]);
    assert!(barrier.items_sent);
    assert_eq!(one.state.horizon(), CheckpointId::NONE);
    one.state.cleaned(checkpoint).unwrap();
    assert_eq!(one.state.horizon(), CheckpointId(1));
}

#[test]
fn keys_that_change_in_every_checkpoint_cost_no_item() {
    let mut one = One::new();
    for n in 1..=50 {
        (0..10).for_each(|key| one.set(key, n));
        one.complete(n);
        assert_eq!(one.state.stats().checkpoints, 1);
        assert_eq!(one.state.stats().pinned_entries, 10);
        assert_eq!(one.state.horizon(), CheckpointId(n - 1));
    }
    assert!(!one.state.items_sent());
}

#[test]
fn the_log_is_cleaned_when_it_exceeds_a_limit_and_not_before() {
    let mut one = One::new();
    one.set(1, 1);
    one.complete(1);
    one.state.logged(CheckpointId(1), 1000);
    let limits = |log_max_bytes, max_segments| {
        let read_units = 2;
        CleaningLimits { log_max_bytes, read_units, max_segments, eager: false }
    };
    assert!(one.state.plan_cleaning(&limits(1000, 1)).is_none());
    assert!(one.state.plan_cleaning(&limits(999, 1)).is_some());
    assert!(one.state.plan_cleaning(&limits(999, 1)).is_none(), "one at a time");
    one.state.cleaned(CheckpointId(1)).unwrap();
    one.set(1, 2);
    one.complete(2);
    one.state.logged(CheckpointId(2), 1);
    assert!(one.state.plan_cleaning(&limits(1000, 1)).is_none());
    assert!(one.state.plan_cleaning(&limits(1000, 0)).is_some());
    one.state.cleaned(CheckpointId(2)).unwrap();
    one.set(1, 3);
    one.complete(3);
    one.state.logged(CheckpointId(3), 4096);
    assert!(one.state.plan_cleaning(&limits(9000, 9)).is_none());
    // A segment of a byte is read for one unit, as one of 4 KiB is.
    one.state.logged(CheckpointId(3), 1);
    assert!(one.state.plan_cleaning(&limits(9000, 9)).is_some());
}

#[test]
fn the_deletion_of_a_loaded_entry_is_logged_and_writes_a_tombstone() {
    let mut one = One::at(1, RestorePoint { items_sent: true, ..RestorePoint::default() });
    one.state.finish_restore().unwrap();
    one.row(1);
    let read = one.state.take_reads().remove(0);
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(0) };
    let item = Item::new(version, Some(vec![9].into()));
    one.state.loaded(&read, Some(&item)).unwrap();
    one.clear(1);
    assert_eq!(one.complete(1).len(), 1);
    assert_eq!(one.clean_all().len(), 1);
}
