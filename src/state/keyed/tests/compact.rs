//! Memory that is given back once most of what there was has left.

use std::collections::BTreeMap;

use super::*;
use crate::state::{ItemKey, MapDescriptor, MapState, Ttl};

/// Keys, one in ten of which changes after all were cleaned; each with as many entries of a map.
const KEYS: u64 = 1000;

struct Sparse {
    state: KeyedState<String>,
    count: ValueState<u64>,
    text: ValueState<String>,
    map: MapState<String, u64>,
    items: BTreeMap<ItemKey, Item>,
    next: u64,
}

/// Some keys are long: they count by themselves.
fn key(n: u64) -> String {
    format!("{n:04}").repeat(if n.is_multiple_of(20) { 2000 } else { 1 })
}

impl Sparse {
    fn new() -> Self {
        let mut states = States::new();
        let ttl = Ttl::new(std::time::Duration::from_secs(1_000_000));
        let count = states.value(ValueDescriptor::new("count").with_ttl(ttl));
        let text = states.value(ValueDescriptor::new("text"));
        let map = states.map(MapDescriptor::new("map"));
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config(1), columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        state.track_recency();
        let mut this = Self { state, count, text, map, items: BTreeMap::new(), next: 1 };
        (0..KEYS).for_each(|n| this.set(n, n));
        this.complete();
        this.clean();
        this
    }

    fn row(&mut self, n: u64) -> Row {
        self.state.find_row(key(n).key_hash(), &key(n))
    }

    /// Gives a key that is in memory, or was never stored, a value of each kind.
    fn set(&mut self, n: u64, value: u64) {
        let row = self.row(n);
        assert!(!self.state.is_loading(row));
        self.state.set(self.count, row, value);
        self.state.set(self.text, row, key(value));
        self.state.map(self.map, row).put(key(n), value);
        self.state.map(self.map, row).put("other".to_owned(), value);
        self.state.end_batch();
    }

    /// What a key has, where all of it is in memory.
    fn found(&mut self, n: u64) -> [Option<u64>; 3] {
        let row = self.row(n);
        let value = |text: &String| text[..4].parse().unwrap();
        [
            self.state.get(self.count, row).copied(),
            self.state.get(self.text, row).map(value),
            self.state.map(self.map, row).get(&key(n)).unwrap().copied(),
        ]
    }

    fn complete(&mut self) {
        let checkpoint = CheckpointId(self.next);
        self.next += 1;
        self.state.freeze(checkpoint).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        self.state.completed(checkpoint);
    }

    fn clean(&mut self) {
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            let collected = self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            assert!(collected.missing.is_empty());
            let writes = collected.writes.into_iter().map(PendingWrite::into_write);
            self.items.extend(writes.map(|write| (write.key, write.item)));
            self.state.cleaned(plan.checkpoint()).unwrap();
            self.state.cooled(rows);
        }
        self.state.end_batch();
    }

    fn evict(&mut self) {
        while self.state.evict(u32::MAX) > 0 {}
    }

    /// Answers every read; what is read is not needed.
    fn answer(&mut self) {
        for read in self.state.take_reads() {
            self.state.loaded(&read, self.items.get(&read.key)).unwrap();
        }
        self.state.end_batch();
    }

    /// For how many rows and entries of the map there is room.
    fn ends(&self) -> [u32; 2] {
        [self.state.rows.end(), self.state.columns[self.map.column.index()].end()]
    }
}

fn changed() -> impl Iterator<Item = u64> {
    (3..KEYS).step_by(10).chain([0, 20, 40])
}

/// What empty rows held used to be kept for ever, and to come on top of the bound.
#[test]
fn what_is_left_moves_together_and_all_of_it_goes_on() {
    let mut sparse = Sparse::new();
    assert_eq!(sparse.ends(), [1000, 2000]);
    // A third of them is in the log, the others are dirty: the lists name them.
    for (i, n) in changed().enumerate() {
        sparse.set(n, n + 1);
        if i == 30 {
            sparse.complete();
        }
    }
    let left = changed().count() as u32;
    sparse.evict();
    sparse.state.cool();
    assert_eq!(sparse.ends(), [left, 2 * left]);
    for n in changed() {
        assert_eq!(sparse.found(n), [Some(n + 1); 3]);
    }
    assert_eq!(sparse.state.take_reads(), [], "none had left");
    // What changes now comes after them, and what has changed is written where it belongs.
    changed().skip(50).for_each(|n| sparse.set(n, n + 2));
    sparse.complete();
    sparse.clean();
    let expected = |n| if changed().skip(50).any(|other| other == n) { n + 2 } else { n + 1 };
    for n in changed() {
        let at = |(at, _): &(&ItemKey, &Item)| at.sort_key[..].starts_with(&encoded(&key(n)));
        let items: Vec<_> = sparse.items.iter().filter(at).collect();
        assert_eq!(items.len(), 4, "{n}");
        assert!(items.iter().all(|(_, item)| item.version.checkpoint > CheckpointId(1)));
    }
    // All that was long is gone, and counts no more.
    sparse.evict();
    sparse.state.cool();
    assert_eq!(sparse.ends(), [0, 0]);
    assert!(sparse.state.resident_bytes() < 1000, "{}", sparse.state.resident_bytes());
    for n in changed() {
        sparse.row(n);
        sparse.answer();
        let row = sparse.row(n);
        assert_eq!(sparse.state.get(sparse.count, row), Some(&expected(n)));
    }
}

fn encoded(key: &String) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}

#[test]
fn nothing_moves_while_a_number_is_held() {
    let mut sparse = Sparse::new();
    sparse.set(5, 6);
    let all = sparse.ends();
    sparse.state.evict(u32::MAX);
    assert_eq!((sparse.state.rows(), sparse.ends()), (1, all));
    // By a read: the subtask is asked to wait for it.
    let row = sparse.row(7);
    assert!(sparse.state.is_loading(row) && sparse.state.wants_quiet());
    sparse.state.end_batch();
    sparse.state.cool();
    assert_eq!(sparse.ends()[0], all[0]);
    sparse.answer();
    assert!(!sparse.state.wants_quiet());
    // By a barrier that is not serialised.
    sparse.state.freeze(CheckpointId(2)).unwrap();
    sparse.state.cool();
    assert_eq!(sparse.ends()[0], all[0]);
    assert!(sparse.state.serialise(usize::MAX).unwrap());
    sparse.state.completed(CheckpointId(2));
    // By a cleaning.
    let plan = sparse.state.plan_cleaning(&EAGER).unwrap();
    sparse.state.cool();
    assert_eq!(sparse.ends()[0], all[0]);
    sparse.state.cleaned(plan.checkpoint()).unwrap();
    sparse.state.cool();
    assert!(sparse.ends()[0] < 3);
    assert_eq!(sparse.found(5)[0], Some(6));
}
