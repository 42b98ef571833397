//! Tests of keyed state: against a plain model here in `world`, and promise by promise below.

mod acts;
mod cleaning;
mod clearing;
mod codecs;
mod compact;
mod estimates;
mod eviction;
mod expiry;
mod filter;
mod freezing;
mod handles;
mod job;
mod lifetimes;
mod lists;
mod maps;
mod migration;
mod model;
mod restoring;
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

/// Its state would be stored as another key's.
#[test]
#[should_panic(expected = "KeyOfHash is wrong for u64")]
fn a_key_told_from_a_hash_that_is_not_its_own_is_refused() {
    One::new().state.find_row(8u64.key_hash(), &7);
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
fn a_u64_key_and_value_take_less_than_64_bytes() {
    let mut one = One::new();
    for key in 0..1000 {
        one.set(key, key);
    }
    assert!(one.state.resident_bytes() <= 64 * 1000, "{}", one.state.resident_bytes());
}
