//! The room that one keyed subtask's state takes: told to the account of memory, and made where it is short.
//!
//! Owns when entries leave memory and when cleaning must go on so that they can. What leaves is `state`'s, the
//! bounds are `pressure`'s.
//!
//! A subtask whose state takes more than an even share of the target gives up the excess, and no more than
//! that: so one of small state loses nothing to one of large, and all together come down to the target.

use super::build::BuildContext;
use super::pressure::{MemoryUse, Pressure};
use crate::codec::Key;
use crate::ids::CheckpointId;
use crate::metrics::Metrics;
use crate::state::KeyedState;

/// Looks for what may leave between two batches, at rows and at each state's entries: some 50 µs where
/// none is found, and a batch brings no more rows than that.
const LOOKS: u32 = 4096;

/// An entry, or a range, of so many bytes is never too large: caches that are smaller still are those of tests.
const SMALL_ENTRY_BYTES: u64 = 16 << 10;

/// One subtask's part of the account.
#[derive(Debug)]
pub(super) struct Room {
    pressure: Pressure,
    metrics: Metrics,
    /// Keyed subtasks that share the memory.
    shares: u64,
    /// Memory of what was frozen for checkpoints that are under way.
    frozen: Vec<(CheckpointId, u64)>,
    /// Memory of what was frozen for such as were aborted: the next one commits it.
    left: u64,
    /// The newest one that was aborted.
    aborted: CheckpointId,
    /// Answers to reads that are not in the state yet.
    arriving: u64,
    /// What was last reported to the account.
    told: MemoryUse,
    /// Bytes that should leave, and may.
    excess: u64,
    wants_cleaning: bool,
}

impl Room {
    pub(super) fn new<K: Key>(context: &BuildContext, state: &mut KeyedState<K>) -> Self {
        // Not what filters leave of it: they grow, and what was taken once must be taken again.
        state.limit_entries(context.config.state.cache_bytes.max(SMALL_ENTRY_BYTES));
        let mut room = Self {
            pressure: context.pressure.clone(),
            metrics: context.metrics.clone(),
            shares: u64::from(context.subtask.parallelism) * context.keyed_operators.max(1),
            frozen: Vec::new(),
            left: 0,
            aborted: CheckpointId::default(),
            arriving: 0,
            told: MemoryUse::default(),
            excess: 0,
            wants_cleaning: false,
        };
        room.tell(state);
        room
    }

    /// Whether sources wait.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressure.stopped().is_some()
    }

    /// Whether [`Room::make`] has more to do.
    pub(super) fn is_short(&self) -> bool {
        self.excess > 0
    }

    /// Whether the log should be cleaned, however short it is, so that what it holds can leave.
    pub(super) fn wants_cleaning(&self) -> bool {
        self.wants_cleaning
    }

    /// What has changed is frozen for `checkpoint`.
    pub(super) fn freeze<K: Key>(&mut self, checkpoint: CheckpointId, state: &KeyedState<K>) {
        let bytes = std::mem::take(&mut self.left) + state.dirty_bytes();
        if checkpoint > self.aborted {
            self.frozen.push((checkpoint, bytes));
        } else {
            self.left = bytes;
        }
    }

    /// `checkpoint` was given up, whether its barrier has come or not: what was frozen for it waits for another one.
    pub(super) fn aborted<K: Key>(&mut self, checkpoint: CheckpointId, state: &KeyedState<K>) {
        self.aborted = checkpoint;
        let given_up = self.frozen.extract_if(.., |(of, _)| *of <= checkpoint);
        self.left += given_up.map(|(_, bytes)| bytes).sum::<u64>();
        self.tell(state);
    }

    /// The head names `checkpoint`: what was frozen up to it is committed.
    pub(super) fn completed<K: Key>(&mut self, checkpoint: CheckpointId, state: &KeyedState<K>) {
        self.frozen.retain(|(of, _)| *of > checkpoint);
        self.tell(state);
        self.pressure.completed();
    }

    /// Tells the account what the state takes, with `arriving` bytes of answers that are not in it yet, and, where
    /// that is too much in all, has some of it leave. To be called between any two steps.
    pub(super) fn make<K: Key>(&mut self, state: &mut KeyedState<K>, arriving: u64) {
        self.arriving = arriving;
        self.tell(state);
        self.excess = self.mine();
        self.wants_cleaning = false;
        if self.excess == 0 {
            if self.pressure.is_half_full() {
                state.track_recency();
            }
            state.cool();
            return;
        }
        let left = state.evict_bytes(self.excess, LOOKS);
        if left > 0 {
            self.metrics.add_entries_evicted(left.into());
            self.tell(state);
            self.excess = self.mine();
        }
        let exhausted = state.is_exhausted();
        self.wants_cleaning = self.excess > 0 && exhausted || state.is_mostly_pinned();
        if exhausted {
            self.excess = 0;
        }
    }

    /// How much of the excess is this subtask's.
    fn mine(&self) -> u64 {
        let excess = self.pressure.excess_bytes();
        let share = self.pressure.target_bytes() / self.shares;
        excess.min(self.told.resident_bytes.saturating_sub(share))
    }

    fn tell<K: Key>(&mut self, state: &KeyedState<K>) {
        let frozen: u64 = self.frozen.iter().map(|(_, bytes)| bytes).sum();
        let dirty = state.dirty_bytes();
        let now = MemoryUse {
            resident_bytes: state.resident_bytes() + self.arriving,
            fixed_bytes: state.filter_bytes(),
            pinned_bytes: state.pinned_bytes(),
            dirty_bytes: dirty + self.left + frozen,
            frozen_bytes: frozen,
            held_back: state.held_back(),
            uncleanable: u64::from(dirty > 0 && !state.can_clean()),
            rows: state.rows(),
        };
        self.pressure.moved(self.told, now);
        self.told = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{
        CleaningLimits, KeyedConfig, RestorePoint, States, ValueDescriptor, ValueState,
    };

    const KEYS: u64 = 1000;
    const EAGER: CleaningLimits =
        CleaningLimits { log_max_bytes: 0, read_units: 0, max_segments: 0, eager: true };

    fn state() -> (KeyedState<u64>, ValueState<u64>) {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::new("count"));
        let config = KeyedConfig::of_all_groups(1);
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config, columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        set(&mut state, count);
        (state, count)
    }

    fn set(state: &mut KeyedState<u64>, count: ValueState<u64>) {
        for key in 0..KEYS {
            let row = state.find_row(key.key_hash(), &key);
            state.set(count, row, key);
        }
        state.end_batch();
    }

    fn room(pressure: Pressure) -> Room {
        Room {
            pressure,
            metrics: Metrics::default(),
            shares: 1,
            frozen: Vec::new(),
            left: 0,
            aborted: CheckpointId::default(),
            told: MemoryUse::default(),
            excess: 0,
            wants_cleaning: false,
            arriving: 0,
        }
    }

    /// Nothing used to take over what each cleaning left, as long as nothing had to leave memory.
    #[test]
    fn what_was_cleaned_does_not_pile_up_while_all_fits() {
        let (mut state, count) = state();
        let bytes = state.resident_bytes();
        let pressure = Pressure::new(bytes / 2 * 3, bytes / 2);
        let mut room = room(pressure.clone());
        room.make(&mut state, 0);
        assert!(pressure.is_half_full());
        for checkpoint in (1..=20).map(CheckpointId) {
            set(&mut state, count);
            state.freeze(checkpoint).unwrap();
            assert!(state.serialise(usize::MAX).unwrap());
            state.completed(checkpoint);
            let rows = state.plan_cleaning(&EAGER).unwrap().compute();
            state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            state.cleaned(checkpoint).unwrap();
            state.cooled(rows);
            assert!(state.cooling() as u64 <= KEYS, "{} of {KEYS} keys", state.cooling());
            room.make(&mut state, 0);
            assert_eq!((room.is_short(), state.rows()), (false, KEYS));
        }
    }

    /// It used to be counted twice until it was serialised.
    #[test]
    fn what_a_barrier_freezes_is_counted_once() {
        let (mut state, count) = state();
        let pressure = Pressure::new(1 << 30, 1 << 29);
        let mut room = room(pressure.clone());
        room.make(&mut state, 0);
        let changed = pressure.memory().dirty_bytes;
        assert!(changed > 0);
        let checkpoint = CheckpointId(1);
        room.freeze(checkpoint, &state);
        state.freeze(checkpoint).unwrap();
        room.make(&mut state, 0);
        let memory = pressure.memory();
        assert_eq!((memory.dirty_bytes, memory.frozen_bytes), (changed, changed));
        assert!(state.serialise(usize::MAX).unwrap());
        set(&mut state, count);
        room.make(&mut state, 0);
        let memory = pressure.memory();
        assert!(memory.dirty_bytes > changed && memory.frozen_bytes == changed);
        state.completed(checkpoint);
        room.completed(checkpoint, &state);
        let memory = pressure.memory();
        assert!(memory.dirty_bytes > 0 && memory.frozen_bytes == 0);
    }

    /// It used to count as under way, so that sources which waited for it had none asked for but by the interval.
    #[test]
    fn what_was_frozen_for_an_aborted_checkpoint_asks_for_another_one() {
        let (mut state, _) = state();
        let pressure = Pressure::new(1 << 30, 1 << 29);
        let mut room = room(pressure.clone());
        room.make(&mut state, 0);
        let changed = pressure.memory().dirty_bytes;
        let seen = |pressure: &Pressure| {
            let memory = pressure.memory();
            (memory.dirty_bytes, memory.frozen_bytes)
        };
        let barrier = |room: &mut Room, state: &mut KeyedState<u64>, checkpoint| {
            room.freeze(checkpoint, state);
            state.freeze(checkpoint).unwrap();
            assert!(state.serialise(usize::MAX).unwrap());
            room.make(state, 0);
        };
        barrier(&mut room, &mut state, CheckpointId(1));
        assert_eq!(seen(&pressure), (changed, changed));
        room.aborted(CheckpointId(1), &state);
        assert_eq!(seen(&pressure), (changed, 0));
        // Before its barrier has come.
        room.aborted(CheckpointId(2), &state);
        barrier(&mut room, &mut state, CheckpointId(2));
        assert_eq!(seen(&pressure), (changed, 0));
        barrier(&mut room, &mut state, CheckpointId(3));
        assert_eq!(seen(&pressure), (changed, changed));
        room.completed(CheckpointId(3), &state);
        assert_eq!(seen(&pressure), (0, 0));
    }
}
