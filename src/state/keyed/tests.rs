//! Tests of keyed state: against a plain model here in `world`, and promise by promise below.

mod acts;
mod codecs;
mod compact;
mod estimates;
mod eviction;
mod expiry;
mod filter;
mod handles;
mod job;
mod lifetimes;
mod lists;
mod maps;
mod migration;
mod model;
mod suspension;
mod world;

use super::*;
use crate::error::ErrorKind;
use crate::key_group::KeyGroup;
use crate::state::{
    Barrier, CleaningLimits, Collected, Finder, Found, Item, ItemWrite, Missing, PendingWrite,
    Presence, RawSegment, States, Stats, ValueDescriptor, segment,
};

const EAGER: CleaningLimits =
    CleaningLimits { log_max_bytes: 0, read_units: 0, max_segments: 0, eager: true };

struct One {
    state: KeyedState<u64>,
    count: ValueState<u64>,
}

fn config(attempt: u64) -> KeyedConfig {
    KeyedConfig::of_all_groups(attempt)
}

impl One {
    fn at(attempt: u64, at: RestorePoint) -> Self {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::new("count"));
        let state = KeyedState::new(config(attempt), states.finish().unwrap(), at).unwrap();
        Self { state, count }
    }

    fn new() -> Self {
        let mut one = Self::at(1, RestorePoint::default());
        one.state.finish_restore().unwrap();
        one
    }

    fn row(&mut self, key: u64) -> Row {
        self.state.find_row(key.key_hash(), &key)
    }

    fn set(&mut self, key: u64, value: u64) {
        let row = self.row(key);
        self.state.set(self.count, row, value);
        self.state.end_batch();
    }

    fn clear(&mut self, key: u64) {
        let row = self.row(key);
        self.state.clear(self.count, row);
        self.state.end_batch();
    }

    /// Barrier n, and all of it serialised.
    fn barrier(&mut self, n: u64) -> (Barrier, Vec<RawSegment>) {
        let barrier = self.state.freeze(CheckpointId(n)).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        (barrier, self.state.take_segments())
    }

    fn complete(&mut self, n: u64) -> Vec<RawSegment> {
        let (_, segments) = self.barrier(n);
        self.state.completed(CheckpointId(n));
        segments
    }

    fn collect(&mut self) -> Option<(CheckpointId, Collected)> {
        let plan = self.state.plan_cleaning(&EAGER)?;
        let rows = plan.compute();
        Some((plan.checkpoint(), self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap()))
    }

    fn clean_all(&mut self) -> Vec<ItemWrite> {
        let mut writes = Vec::new();
        while let Some((checkpoint, collected)) = self.collect() {
            assert!(collected.missing.is_empty());
            writes.extend(collected.writes.into_iter().map(PendingWrite::into_write));
            self.state.cleaned(checkpoint).unwrap();
        }
        self.state.end_batch();
        writes
    }
}

fn stored(raw: &RawSegment, attempt: u64) -> segment::Segment {
    let version = crate::ids::Version { attempt: Attempt(attempt), checkpoint: raw.checkpoint };
    let bytes = segment::encode(raw, version, &config(1).operator, config(1).range).unwrap();
    segment::decode(&bytes).unwrap()
}

/// Looks up missing values in all segments, in any order, of their checkpoint and operator.
fn find_values(segments: &[segment::Segment], missing: Vec<Missing>) -> Result<Vec<Found>> {
    let mut ordered: Vec<_> = segments.iter().collect();
    ordered.sort_by_key(|segment| (segment.range.first, segment.sequence));
    let mut finder = Finder::new(missing);
    ordered.into_iter().try_for_each(|segment| finder.look(segment))?;
    finder.finish()
}

impl<K: Key> KeyedState<K> {
    /// Whether `segment` may hold entries of this operator and subtask, after its horizon.
    fn wants(&self, segment: &segment::Segment) -> bool {
        segment.operator == self.config.operator
            && segment.range.intersects(self.config.range)
            && segment.version.checkpoint > self.horizon()
    }
}

#[test]
fn a_value_is_kept_by_key_and_deleted_by_clear() {
    let mut one = One::new();
    one.set(7, 1);
    let row = one.row(7);
    assert_eq!(one.state.get(one.count, row), Some(&1));
    *one.state.get_mut(one.count, row).unwrap() += 1;
    assert_eq!(one.state.get(one.count, row), Some(&2));
    assert_eq!(one.state.key(row), &7);
    one.state.clear(one.count, row);
    assert_eq!(one.state.get(one.count, row), None);
    assert!(one.state.get_mut(one.count, row).is_none());
}

#[test]
fn each_key_of_many_batches_keeps_a_row_of_its_own() {
    let mut one = One::new();
    let mut rows = Vec::new();
    for batch in 0..40u64 {
        // Half of each batch's keys are new, and each occurs twice.
        let keys: Vec<u64> = (batch * 100..batch * 100 + 200).flat_map(|key| [key, key]).collect();
        rows.clear();
        one.state.find_rows(keys.iter().map(|key| (key.key_hash(), key)), &mut rows);
        assert_eq!(rows.len(), keys.len());
        for (key, row) in keys.iter().zip(&rows) {
            assert_eq!(one.state.key(*row), key);
            let times = one.state.get(one.count, *row).copied().unwrap_or(0);
            one.state.set(one.count, *row, times + 1);
        }
        one.state.end_batch();
    }
    assert_eq!(one.state.stats().rows, 4100);
    let row = one.row(150);
    assert_eq!(one.state.get(one.count, row), Some(&4));
}

#[test]
fn freezing_copies_what_changes_before_its_turn() {
    let mut one = One::new();
    one.set(1, 10);
    one.set(2, 20);
    one.state.freeze(CheckpointId(1)).unwrap();
    one.set(2, 21);
    one.clear(1);
    assert!(one.state.serialise(usize::MAX).unwrap());
    let mut values = Vec::new();
    for raw in one.state.take_segments() {
        stored(&raw, 1)
            .each(&mut segment::Carry::default(), |entry| {
                values.push(entry.value.map(<[u8]>::to_vec));
                Ok(())
            })
            .unwrap();
    }
    values.sort();
    assert_eq!(values, [Some(vec![10]), Some(vec![20])]);
}

#[test]
fn an_unchanged_interval_makes_no_segment() {
    let mut one = One::new();
    one.set(1, 1);
    assert_eq!(one.complete(1).len(), 1);
    let (barrier, segments) = one.barrier(2);
    assert_eq!((barrier.entries, segments.len()), (0, 0));
}

#[test]
fn what_is_created_and_deleted_between_two_barriers_leaves_no_trace() {
    let mut one = One::new();
    one.set(1, 1);
    one.clear(1);
    assert!(one.complete(1).is_empty());
    assert!(one.clean_all().is_empty());
    assert_eq!(one.state.stats().rows, 0);
}

/// They used to stay until the checkpoint was cleaned, with their keys.
#[test]
fn keys_that_are_set_and_cleared_in_one_interval_leave_memory_with_the_barrier() {
    let mut one = One::new();
    for key in [1, 2, 3, 4] {
        one.set(key, key);
    }
    one.clear(1);
    one.clear(3);
    let (_, segments) = one.barrier(1);
    assert_eq!(segments[0].entries, 2);
    let stats = one.state.stats();
    assert_eq!((stats.rows, stats.pinned_entries), (2, 2));
    // What comes after them takes their rows, and none of what they did.
    one.set(5, 5);
    one.set(1, 6);
    one.clear(2);
    assert_eq!(one.complete(2)[0].entries, 3);
    let writes = one.clean_all();
    assert_eq!(writes.len(), 3, "1, 4 and 5; nobody has an item of 2");
    assert_eq!(one.state.stats().rows, 3);
}

#[test]
fn a_value_that_comes_and_goes_in_one_interval_leaves_the_others_of_its_key() {
    let mut states = States::new();
    let [lasting, passing] =
        ["lasting", "passing"].map(|name| states.value(ValueDescriptor::<u64>::new(name)));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let mut barrier = |n, values: [Option<u64>; 2]| {
        let row = state.find_row(1u64.key_hash(), &1);
        state.set(lasting, row, n);
        for value in values {
            match value {
                Some(value) => state.set(passing, row, value),
                None => state.clear(passing, row),
            }
        }
        state.end_batch();
        state.freeze(CheckpointId(n)).unwrap();
        assert!(state.serialise(usize::MAX).unwrap());
        let row = state.find_row(1u64.key_hash(), &1);
        assert_eq!(state.get(lasting, row), Some(&n));
        assert_eq!(state.get(passing, row), values[1].as_ref());
        let logged: u32 = state.take_segments().iter().map(|raw| raw.entries).sum();
        (logged, state.stats().pinned_entries)
    };
    assert_eq!(barrier(1, [Some(5), None]), (1, 1));
    assert_eq!(barrier(2, [None, Some(6)]), (2, 2));
    assert_eq!(barrier(3, [Some(7), None]), (2, 2), "the log has 6");
}

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

/// Key groups 0 to 63 are cleaned up to checkpoint 1 and no further than that, the others up to 2; a
/// segment of both, written before they were parted, is still named for the sake of the first. What it
/// says of the others is older than their items, also after one more restore.
#[test]
fn parts_of_a_range_keep_their_own_horizons_until_all_are_passed() {
    let (mut low, mut high) = (0, 0);
    let half = |last| KeyGroupRange {
        first: KeyGroup(if last > 63 { 64 } else { 0 }),
        last: KeyGroup(last),
    };
    for key in 0..100u64 {
        let group = config(1).max_parallelism.group_of(key.key_hash());
        if half(63).contains(group) { low = key } else { high = key }
    }
    let mut wide = One::new();
    wide.set(low, 1);
    wide.set(high, 1);
    let segment = stored(&wide.complete(1)[0], 1);
    wide.set(high, 2);
    let passed = stored(&wide.complete(2)[0], 1);
    let mut at = RestorePoint {
        checkpoint: CheckpointId(2),
        oldest_retained: CheckpointId(2),
        horizons: vec![(half(63), CheckpointId(0)), (half(127), CheckpointId(2))],
        items_sent: true,
        ..RestorePoint::default()
    };
    for attempt in 2..4 {
        let mut one = One::at(attempt, at.clone());
        assert!(one.state.replay(&segment).unwrap(), "it holds an entry that the horizon left");
        assert!(!one.state.replay(&passed).unwrap(), "it is let go before this subtask's log is");
        one.state.finish_restore().unwrap();
        let row = one.row(low);
        assert_eq!(one.state.get(one.count, row), Some(&1));
        assert!(!one.state.is_loading(row));
        let row = one.row(high);
        assert!(one.state.is_loading(row), "its item is newer than the segment");
        at.checkpoint = at.checkpoint.next();
        at.horizons = one.state.freeze(at.checkpoint).unwrap().horizons;
        assert_eq!(at.horizons[1], (half(127), CheckpointId(2)));
        if attempt == 3 {
            one.clean_all();
            let next = at.checkpoint.next();
            one.state.completed(at.checkpoint);
            let horizons = one.state.freeze(next).unwrap().horizons;
            assert_eq!(horizons, [(config(1).range, at.checkpoint)]);
        }
    }
}

#[test]
fn an_absent_key_is_read_only_where_items_may_exist() {
    let mut fresh = One::new();
    let row = fresh.row(1);
    assert!(!fresh.state.is_loading(row) && fresh.state.take_reads().is_empty());
    fresh.state.end_batch();
    assert_eq!(fresh.state.stats().rows, 0, "given away unused");

    let mut one = One::at(1, RestorePoint { items_sent: true, ..RestorePoint::default() });
    one.state.finish_restore().unwrap();
    let row = one.row(1);
    assert_eq!(one.row(1), row, "found again while loading");
    let reads = one.state.take_reads();
    assert_eq!(reads.len(), 1);
    assert!(one.state.is_loading(row));
    one.state.end_batch();
    assert_eq!(one.state.stats().rows, 1, "kept while loading");
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(3) };
    let item = Item::new(version, Some(vec![9].into()));
    assert!(one.state.loaded(&reads[0], Some(&item)).unwrap());
    assert_eq!(one.state.get(one.count, row), Some(&9));
    one.state.end_batch();
    assert_eq!(one.state.stats().pinned_entries, 0);
}

#[test]
fn clean_rows_are_evicted_and_changed_ones_are_not() {
    let mut one = One::new();
    one.set(1, 1);
    one.set(2, 2);
    one.complete(1);
    assert_eq!(one.state.evict(100), 0);
    one.clean_all();
    one.set(2, 3);
    assert_eq!(one.state.evict(100), 1);
    assert_eq!(one.state.stats().rows, 1);
    let row = one.row(1);
    assert!(one.state.is_loading(row), "its item is read");
}

#[test]
fn a_damaged_item_names_the_state() {
    let mut one = One::at(1, RestorePoint { items_sent: true, ..RestorePoint::default() });
    one.state.finish_restore().unwrap();
    one.row(1);
    let read = one.state.take_reads().remove(0);
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(3) };
    let item = Item::new(version, Some(vec![1, 2, 3].into()));
    let error = one.state.loaded(&read, Some(&item)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("count"), "{error}");
}

/// They used to say "segment" and no more.
#[test]
fn damage_in_the_log_names_segment_and_state() {
    let segments = |limit, key: &[u8], value: &[u8]| {
        let mut writer = Writer::new(limit, [Name::new("count").unwrap()].into(), [false].into());
        writer.begin(CheckpointId(7));
        let append = |out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok(true)
        };
        writer.entry(0, false, |out| out.extend_from_slice(key), append).unwrap();
        writer.finish();
        writer.take()
    };
    let restored = || {
        let checkpoint = CheckpointId(7);
        let at =
            RestorePoint { checkpoint, oldest_retained: checkpoint, ..RestorePoint::default() };
        One::at(2, at).state
    };
    let first = "segment 0 of operator counts, checkpoint 7, attempt 1: ";
    for (key, value, what) in [
        (&[1, 2, 3][..], &[1][..], "a key of state count: "),
        (&[0; 9], &[1], "a key of state count: "),
        (&[0; 8], &[251], "state count: "),
    ] {
        let error = restored().replay(&stored(&segments(4096, key, value)[0], 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().starts_with(&format!("{first}{what}")), "{error}");
    }
    let segments = segments(16, &[0; 8], &[0; 99]);
    let mut state = restored();
    state.replay(&stored(&segments[0], 1)).unwrap();
    let error = state.finish_restore().unwrap_err();
    assert!(error.to_string().starts_with(&first.replace('0', "1")), "{error}");
    let error = restored().replay(&stored(&segments[1], 1)).unwrap_err();
    assert!(error.to_string().starts_with(&first.replace('0', "1")), "{error}");
}

#[test]
fn a_u64_key_and_value_take_less_than_64_bytes() {
    let mut one = One::new();
    for key in 0..1000 {
        one.set(key, key);
    }
    assert!(one.state.resident_bytes() <= 64 * 1000, "{}", one.state.resident_bytes());
}

#[test]
fn a_barrier_number_is_never_used_twice() {
    let mut one = One::new();
    one.state.freeze(CheckpointId(3)).unwrap();
    assert_eq!(one.state.freeze(CheckpointId(3)).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn a_value_that_cannot_be_serialised_is_the_users_error() {
    #[derive(serde::Deserialize)]
    struct Broken;
    impl serde::Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let mut states = States::new();
    let broken = states.value(ValueDescriptor::<Broken>::new("broken"));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    let row = state.find_row(1u64.key_hash(), &1);
    state.set(broken, row, Broken);
    state.freeze(CheckpointId(1)).unwrap();
    state.set(broken, row, Broken);
    let error = state.serialise(usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.message().contains("broken"), "{error}");
}
