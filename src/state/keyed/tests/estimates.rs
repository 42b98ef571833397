//! What state is estimated at while it changes, between barriers too, against what it truly takes.

use super::*;
use crate::state::{ListDescriptor, ListState, MapDescriptor, MapState, Namespaced};

/// What a row, its value's slot and the lists of changes take, about.
const ROW: u64 = 100;

/// A state of texts, and how long they truly are.
struct Texts {
    state: KeyedState<u64>,
    text: ValueState<String>,
    lengths: HashMap<u64, u64>,
    checkpoint: u64,
}

impl Texts {
    fn new() -> Self {
        let mut states = States::new();
        let text = states.value(ValueDescriptor::new("text").with_default(String::new));
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config(1), columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        Self { state, text, lengths: HashMap::new(), checkpoint: 0 }
    }

    /// A batch of a record for each of `keys`.
    fn batch(&mut self, keys: &[u64], record: impl Fn(&mut KeyedState<u64>, Row, u64)) {
        let mut rows = Vec::new();
        self.state.find_rows(keys.iter().map(|key| (key.key_hash(), key)), &mut rows);
        for (key, row) in keys.iter().zip(rows) {
            record(&mut self.state, row, *key);
            let length = self.state.get(self.text, row).map_or(0, |text| text.len() as u64);
            self.lengths.insert(*key, length);
        }
        self.state.end_batch();
        self.check();
    }

    /// Gives each of `keys` a value, some at a time.
    fn set(&mut self, keys: std::ops::Range<u64>, length: impl Fn(u64) -> usize) {
        let text = self.text;
        for keys in keys.collect::<Vec<_>>().chunks(200) {
            self.batch(keys, |state, row, key| state.set(text, row, "x".repeat(length(key))));
        }
    }

    fn true_bytes(&self) -> u64 {
        self.lengths.values().map(|length| length + ROW).sum()
    }

    fn check(&self) {
        near("in memory", self.state.resident_bytes(), self.true_bytes());
    }

    /// Barrier, completion and cleaning.
    fn clean(&mut self) {
        self.commit();
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            self.state.cleaned(plan.checkpoint()).unwrap();
        }
        self.check();
    }

    fn commit(&mut self) {
        self.checkpoint += 1;
        self.state.freeze(CheckpointId(self.checkpoint)).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        self.state.completed(CheckpointId(self.checkpoint));
        self.check();
    }
}

/// Within half as much again of the truth; what a few values take is nobody's business.
fn near(what: &str, estimate: u64, truth: u64) {
    let slack = 100_000;
    let is_near = estimate < truth + truth / 2 + slack && truth < estimate + estimate / 2 + slack;
    assert!(is_near, "{what}: {estimate} instead of {truth}");
}

/// They used to be estimated by the mean of all values that were ever serialised: of 10 bytes, here.
#[test]
fn values_that_suddenly_grow_are_seen_before_any_barrier() {
    let mut texts = Texts::new();
    texts.set(0..20_000, |_| 10);
    texts.clean();
    texts.set(0..2000, |_| 20_000);
    texts.set(30_000..31_000, |_| 20_000);
    assert!(texts.true_bytes() > 60_000_000);
    near("dirty", texts.state.dirty_bytes(), 3000 * (20_000 + ROW));
    // And that they have shrunk.
    texts.set(0..2000, |_| 10);
    texts.set(30_000..31_000, |_| 10);
    near("dirty", texts.state.dirty_bytes(), 3000 * (10 + ROW));
}

#[test]
fn values_of_very_different_sizes_are_seen() {
    let mut texts = Texts::new();
    // One in 50 is large; which one, changes.
    for round in 0..4 {
        let mixed = |key: u64| (key + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        texts.set(0..10_000, |key| if mixed(key) % 50 == 0 { 100_000 } else { 10 });
    }
    assert!(texts.true_bytes() > 10_000_000);
    texts.commit();
    near("pinned", texts.state.pinned_bytes(), texts.true_bytes());
}

/// While all is as was thought one value in eight is looked at: so many of a few large ones are missed, and no more.
#[test]
fn a_few_large_values_among_small_ones_are_noticed_soon() {
    let mut texts = Texts::new();
    texts.set(0..20_000, |_| 10);
    let before = texts.state.resident_bytes();
    let text = texts.text;
    let is_large = |key: u64| key % 100 == 7;
    for keys in (20_000..40_000).collect::<Vec<_>>().chunks(200) {
        let mut rows = Vec::new();
        texts.state.find_rows(keys.iter().map(|key| (key.key_hash(), key)), &mut rows);
        for (key, row) in keys.iter().zip(rows) {
            let length = if is_large(*key) { 1_000_000 } else { 10 };
            texts.state.set(text, row, "x".repeat(length));
        }
        texts.state.end_batch();
    }
    let found = (texts.state.resident_bytes() - before) / 1_000_000;
    assert!((160..=205).contains(&found), "{found} of 200");
}

#[test]
fn values_that_grow_in_place_are_seen() {
    let mut texts = Texts::new();
    let text = texts.text;
    let keys: Vec<u64> = (0..500).collect();
    for round in 0..200 {
        texts.batch(&keys, |state, row, key| {
            if let Some(value) = state.get_mut(text, row) {
                value.push_str(&"x".repeat(if key % 2 == 0 { 500 } else { round }));
            }
        });
    }
    assert!(texts.true_bytes() > 25_000_000, "{}", texts.true_bytes());
}

#[test]
fn what_is_dirty_and_what_only_the_log_has_is_not_taken_to_be_like_all_else() {
    let mut texts = Texts::new();
    texts.set(0..2000, |_| 20_000);
    texts.clean();
    near("pinned", texts.state.pinned_bytes(), 0);
    texts.set(10_000..20_000, |_| 10);
    near("dirty", texts.state.dirty_bytes(), 10_000 * (10 + ROW));
    texts.commit();
    near("dirty", texts.state.dirty_bytes(), 0);
    near("pinned", texts.state.pinned_bytes(), 10_000 * (10 + ROW));
    texts.set(0..100, |_| 20_000);
    texts.commit();
    near("pinned", texts.state.pinned_bytes(), 10_000 * (10 + ROW) + 100 * 20_000);
    // These are replaced in the log.
    texts.set(0..100, |_| 10);
    near("pinned", texts.state.pinned_bytes(), 10_100 * (10 + ROW));
    texts.clean();
    near("pinned", texts.state.pinned_bytes(), 0);
    assert_eq!(texts.state.log.heap(), 0, "nothing of what is cleaned is left");
}

/// It is looked at how long values are now and then only, and each time where they are not as was thought.
#[test]
fn entries_of_maps_that_grow_are_seen() {
    let mut states = States::new();
    let map: MapState<u64, String> = states.map(MapDescriptor::new("map"));
    let mut state =
        KeyedState::new(config(1), states.finish().unwrap(), RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let mut truth = HashMap::new();
    for round in 0..40u64 {
        let row = state.find_row(7u64.key_hash(), &7u64);
        for entry in 0..100 {
            let length = if round < 20 { 10 } else { 10_000 };
            if round % 2 == 0 {
                state.map(map, row).put(round / 4 * 100 + entry, "x".repeat(length));
                truth.insert(round / 4 * 100 + entry, length as u64);
            } else if let Some(value) = state.map(map, row).get_mut(&entry).unwrap() {
                value.push_str(&"x".repeat(length));
                *truth.get_mut(&entry).unwrap() += length as u64;
            }
        }
        state.end_batch();
        let truth: u64 = truth.values().map(|length| length + ROW).sum();
        near("a map", state.resident_bytes(), truth);
    }
    assert!(state.dirty_bytes() > 10_000_000);
}

/// Keys used to count once they were serialised at a barrier: not after a restore, nor where all is only read.
#[test]
fn keys_count_when_they_are_replayed_and_when_they_are_read() {
    let of_strings = |at: RestorePoint| {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::<u64>::new("count"));
        let map: MapState<String, u64> = states.map(MapDescriptor::new("map"));
        let state = KeyedState::<String>::new(config(1), states.finish().unwrap(), at).unwrap();
        (state, count, map)
    };
    let key = |n: u64| format!("{n:01000}");
    let (mut state, count, map) = of_strings(RestorePoint::default());
    state.finish_restore().unwrap();
    for n in 0..50 {
        let row = state.find_row(key(n).key_hash(), &key(n));
        state.set(count, row, n);
        state.map(map, row).put(key(n), n);
    }
    state.freeze(CheckpointId(1)).unwrap();
    assert!(state.serialise(usize::MAX).unwrap());
    let at = |items_sent| RestorePoint {
        checkpoint: CheckpointId(1),
        oldest_retained: CheckpointId(1),
        items_sent,
        ..RestorePoint::default()
    };
    let (mut restored, ..) = of_strings(at(false));
    for raw in state.take_segments() {
        restored.replay(&stored(&raw, 1)).unwrap();
    }
    restored.finish_restore().unwrap();
    near("restored", restored.resident_bytes(), 50 * 2 * (1000 + ROW));
    assert!(restored.resident_bytes() > 90_000, "{}", restored.resident_bytes());

    let (mut read, ..) = of_strings(at(true));
    read.finish_restore().unwrap();
    for n in 0..50 {
        read.find_row(key(n).key_hash(), &key(n));
    }
    assert_eq!(read.take_reads().len(), 50);
    assert!((50_000..70_000).contains(&read.resident_bytes()), "{}", read.resident_bytes());
}

/// Where nothing is read nobody encoded a new key before the barrier: until then memory had no bound.
#[test]
fn long_keys_and_sub_keys_count_as_soon_as_they_are_there() {
    let long = |n: u64| format!("{n:010}").repeat(100_000);
    let check = |what: &str, act: &dyn Fn(u64, &mut KeyedState<String>, &Handles)| {
        let mut states = States::new();
        let of = Handles {
            count: states.value(ValueDescriptor::new("count")),
            map: states.map(MapDescriptor::new("map")),
            list: states.namespaced().list(ListDescriptor::new("list")),
        };
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config(1), columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        (0..100).for_each(|n| act(n, &mut state, &of));
        near(what, state.resident_bytes(), 100_000_000);
        near(what, state.dirty_bytes(), 100_000_000);
    };
    struct Handles {
        count: ValueState<u64>,
        map: MapState<String, u64>,
        list: Namespaced<String, ListState<u64>>,
    }
    let row = |state: &mut KeyedState<String>, key: &String| state.find_row(key.key_hash(), key);
    check("keys", &|n, state, of| {
        let row = row(state, &long(n));
        state.set(of.count, row, n);
    });
    check("map keys", &|n, state, of| {
        let row = row(state, &"one".to_owned());
        state.map(of.map, row).put(long(n), n);
    });
    check("namespaces", &|n, state, of| {
        let row = row(state, &"one".to_owned());
        state.in_namespace(&long(n), row).list(of.list).add(n);
    });
}

/// Marks, and the lists of a cleaning, used to be in no account: some 14 bytes an entry, and 8 more where it was deleted.
#[test]
fn what_is_remembered_of_entries_counts() {
    const KEYS: u64 = 10_000;
    let of = |tracked: bool| {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::<u64>::new("count"));
        let map: MapState<u64, u64> = states.map(MapDescriptor::new("map"));
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config(1), columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        if tracked {
            state.track_recency();
        }
        for key in 0..KEYS {
            let row = state.find_row(key.key_hash(), &key);
            state.set(count, row, key);
            state.map(map, row).put(key, key);
        }
        state.end_batch();
        (state, count, map)
    };
    let (mut state, count, map) = of(true);
    let marks = state.resident_bytes() - of(false).0.resident_bytes();
    assert!((4 * 2 * KEYS..=9 * 2 * KEYS).contains(&marks), "{marks}");

    let complete = |state: &mut KeyedState<u64>, n| {
        state.freeze(CheckpointId(n)).unwrap();
        assert!(state.serialise(usize::MAX).unwrap());
        state.completed(CheckpointId(n));
    };
    complete(&mut state, 1);
    // Two entries a key: in the log four bytes each, in a cleaning's lists eight.
    let (listed, planned) = (4 * 2 * KEYS, 8 * 2 * KEYS);
    let before = state.resident_bytes();
    let plan = state.plan_cleaning(&EAGER).unwrap();
    let rows = plan.compute();
    assert_eq!(state.resident_bytes(), before + planned);
    state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
    state.cleaned(plan.checkpoint()).unwrap();
    state.cooled(rows);
    assert_eq!(state.resident_bytes(), before - listed + planned);
    (0..6).for_each(|_| state.cool());
    assert_eq!(state.resident_bytes(), before - listed);

    for key in 0..KEYS {
        let row = state.find_row(key.key_hash(), &key);
        state.clear(count, row);
        state.map(map, row).remove(&key);
    }
    state.end_batch();
    complete(&mut state, 2);
    let before = state.resident_bytes();
    let plan = state.plan_cleaning(&EAGER).unwrap();
    let rows = plan.compute();
    state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
    assert!(state.resident_bytes() >= before + 2 * planned, "planned, and deleted");
    state.cleaned(plan.checkpoint()).unwrap();
    assert!(state.resident_bytes() >= before - listed + planned, "may be gone");
    while state.has_leaving() {
        state.end_batch();
    }
    assert_eq!((state.rows(), state.resident_bytes()), (0, 0));
}
