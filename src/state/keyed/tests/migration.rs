//! A state whose type changes from one program to the next, over log, items and roll-backs.

use std::collections::BTreeMap;

use super::{EAGER, config, find_values, stored};
use crate::codec::{Codec, DecodeError, Key, Value};
use crate::config::ValueFormat;
use crate::error::{ErrorKind, Result};
use crate::ids::CheckpointId;
use crate::state::segment::Segment;
use crate::state::{
    AggregatingDescriptor, Barrier, Item, ItemKey, KeyedState, ListDescriptor, PendingWrite,
    ReducingDescriptor, RestorePoint, StateFormats, StateLifetimes, States, ValueDescriptor,
    ValueState,
};

const TOTAL: &str = "total";

/// What a program leaves.
#[derive(Default)]
pub(super) struct Table {
    pub(super) items: BTreeMap<ItemKey, Item>,
    pub(super) log: Vec<Segment>,
    manifests: BTreeMap<u64, (Barrier, Recorded)>,
}

/// What a manifest says of states.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    formats: Vec<StateFormats>,
    lifetimes: Vec<StateLifetimes>,
}

impl Table {
    fn is_native(&self, key: u64) -> bool {
        self.items.iter().any(|(at, item)| at.sort_key[..] == key.to_be_bytes() && item.native)
    }
}

/// A program whose state is of `V`s.
pub(super) struct Program<V> {
    pub(super) state: KeyedState<u64>,
    pub(super) total: ValueState<V>,
    recorded: Recorded,
    attempt: u64,
}

impl Table {
    /// Restores checkpoint `at`, the only one that is retained.
    pub(super) fn start<V: Value>(
        &self,
        attempt: u64,
        at: u64,
        descriptor: ValueDescriptor<V>,
    ) -> Result<Program<V>> {
        self.start_at(0, attempt, at, descriptor)
    }

    /// The same, when the clock shows `now_ms`.
    pub(super) fn start_at<V: Value>(
        &self,
        now_ms: u64,
        attempt: u64,
        at: u64,
        descriptor: ValueDescriptor<V>,
    ) -> Result<Program<V>> {
        let declare = |states: &mut States| (states.value(descriptor), ());
        self.start_with(now_ms, attempt, at, declare).map(|(program, ())| program)
    }

    /// The same, of a program that has other states too.
    pub(super) fn start_with<V: Value, H>(
        &self,
        now_ms: u64,
        attempt: u64,
        at: u64,
        declare: impl FnOnce(&mut States) -> (ValueState<V>, H),
    ) -> Result<(Program<V>, H)> {
        let (state, (total, others), recorded) = self.open(now_ms, attempt, at, declare)?;
        Ok((Program { state, total, recorded, attempt }, others))
    }

    /// The same, of any states.
    fn open<H>(
        &self,
        now_ms: u64,
        attempt: u64,
        at: u64,
        declare: impl FnOnce(&mut States) -> H,
    ) -> Result<(KeyedState<u64>, H, Recorded)> {
        let restored = self.manifests.get(&at);
        let recorded = restored.map_or_else(Recorded::default, |(_, recorded)| recorded.clone());
        let mut states = States::new();
        let handle = declare(&mut states);
        let mut columns = states.finish()?;
        let operator = config(1).operator;
        let formats = columns.settle(&operator, &recorded.formats, CheckpointId(at))?;
        let since = (CheckpointId(at), now_ms);
        let lifetimes = columns.lifetimes(&operator, &recorded.lifetimes, since);
        let horizons = restored.map_or(Vec::new(), |(barrier, _)| barrier.horizons.clone());
        let point = RestorePoint {
            checkpoint: CheckpointId(at),
            oldest_retained: CheckpointId(at),
            horizons,
            items_sent: restored.is_some_and(|(barrier, _)| barrier.items_sent),
            formats: recorded.formats,
            lifetimes: lifetimes.clone(),
            unfiltered: restored.is_some_and(|(barrier, _)| barrier.unfiltered),
            now_ms,
        };
        let mut state = KeyedState::new(config(attempt), columns, point)?;
        for segment in self.log.iter().filter(|s| s.version.checkpoint.0 <= at) {
            if state.wants(segment) {
                state.replay(segment)?;
            }
        }
        state.finish_restore()?;
        Ok((state, handle, Recorded { formats, lifetimes }))
    }

    /// All of checkpoint `at` is in items alone.
    pub(super) fn forget_log(&mut self, at: u64) {
        self.log.clear();
        let (barrier, _) = self.manifests.get_mut(&at).unwrap();
        barrier.horizons = vec![(config(1).range, CheckpointId(at))];
        barrier.items_sent = true;
    }

    /// The bytes of key's item.
    fn bytes(&self, key: u64) -> Option<Vec<u8>> {
        let found = self.items.iter().find(|(at, _)| at.sort_key[..] == key.to_be_bytes());
        found.and_then(|(_, item)| item.value.as_ref().map(|v| v.to_vec()))
    }
}

impl<V: Value + Clone> Program<V> {
    pub(super) fn row(&mut self, table: &Table, key: u64) -> Result<super::Row> {
        let row = self.state.find_row(key.key_hash(), &key);
        for read in self.state.take_reads() {
            self.state.loaded(&read, table.items.get(&read.key))?;
        }
        Ok(row)
    }

    fn get(&mut self, table: &Table, key: u64) -> Result<Option<V>> {
        let row = self.row(table, key)?;
        let value = self.state.get(self.total, row).cloned();
        self.state.end_batch();
        Ok(value)
    }

    fn set(&mut self, table: &Table, key: u64, value: V) {
        let row = self.row(table, key).unwrap();
        self.state.set(self.total, row, value);
        self.state.end_batch();
    }

    /// Checkpoint n, completed and the only one that is retained then.
    pub(super) fn complete(&mut self, table: &mut Table, n: u64) {
        let barrier = self.state.freeze(CheckpointId(n)).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        let segments = self.state.take_segments();
        table.log.extend(segments.iter().map(|raw| stored(raw, self.attempt)));
        table.manifests.insert(n, (barrier, self.recorded.clone()));
        self.state.completed(CheckpointId(n));
    }

    /// Materialises all that is completed, and evicts it.
    pub(super) fn materialise(&mut self, table: &mut Table) {
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            let mut collected = self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            let of_plan = |s: &&Segment| s.version.checkpoint == plan.checkpoint();
            let segments: Vec<Segment> = table.log.iter().filter(of_plan).cloned().collect();
            if !collected.missing.is_empty() {
                let found = find_values(&segments, collected.missing).unwrap();
                collected.writes.extend(self.state.found(found));
            }
            for write in collected.writes.into_iter().map(PendingWrite::into_write) {
                let there = table.items.get(&write.key).map(|item| item.version);
                if there.is_none_or(|there| there < write.item.version) {
                    table.items.insert(write.key, write.item);
                }
            }
            self.state.cleaned(plan.checkpoint()).unwrap();
        }
        self.state.evict(1000);
    }
}

const fn of<V: Value>() -> ValueDescriptor<V> {
    ValueDescriptor::new(TOTAL)
}

fn text_of_number() -> ValueDescriptor<String> {
    of::<String>().migrate_from::<u64>(|old| format!("was {old}"))
}

#[test]
fn entries_of_the_log_are_migrated_and_their_items_stay_as_their_checkpoint_was() {
    let mut table = Table::default();
    let mut first = table.start(1, 0, of::<u64>()).unwrap();
    for key in 1..=3 {
        first.set(&table, key, key * 100);
    }
    first.complete(&mut table, 1);

    let mut second = table.start(2, 1, text_of_number()).unwrap();
    assert_eq!(second.get(&table, 1).unwrap().as_deref(), Some("was 100"));
    second.set(&table, 2, "new".to_owned());
    second.complete(&mut table, 2);
    second.materialise(&mut table);
    // 1 and 3 were not changed: copied from the log as they were. 2 is the new program's.
    let number = |n: u64| {
        let mut bytes = Vec::new();
        crate::codec::Bincode::encode(&n, &mut bytes).unwrap();
        Some(bytes)
    };
    assert_eq!((table.bytes(1), table.bytes(3)), (number(100), number(300)));
    assert_eq!(table.bytes(2), Some(b"\x03new".to_vec()));

    // Evicted: each is read from its item, and migrated by what its version says.
    for mut program in [second, table.start(3, 2, text_of_number()).unwrap()] {
        assert_eq!(program.get(&table, 1).unwrap().as_deref(), Some("was 100"));
        assert_eq!(program.get(&table, 2).unwrap().as_deref(), Some("new"));
        assert_eq!(program.get(&table, 3).unwrap().as_deref(), Some("was 300"));
        assert_eq!(program.get(&table, 4).unwrap(), None);
    }
}

#[test]
fn items_may_stay_in_each_of_several_former_encodings_for_ever() {
    let mut table = Table::default();
    let mut first = table.start(1, 0, of::<u64>()).unwrap();
    (1..=4).for_each(|key| first.set(&table, key, key));
    first.complete(&mut table, 1);
    first.materialise(&mut table);
    let mut second = table.start(2, 1, text_of_number()).unwrap();
    second.set(&table, 2, "two".to_owned());
    second.set(&table, 3, "three".to_owned());
    second.complete(&mut table, 2);
    second.materialise(&mut table);

    let third = || {
        of::<(bool, u8)>()
            .migrate_from::<String>(|old| (false, old.len() as u8))
            .migrate_from::<u64>(|old| (true, old as u8))
    };
    // Without the oldest, it is not even begun: some item may still be of it.
    let without = of::<(bool, u8)>().migrate_from::<String>(|old| (false, old.len() as u8));
    assert_eq!(table.start(3, 2, without).err().unwrap().kind(), ErrorKind::Graph);
    let mut program = table.start(3, 2, third()).unwrap();
    program.set(&table, 3, (true, 33));
    program.complete(&mut table, 5);
    program.materialise(&mut table);
    let mut last = table.start(4, 5, third()).unwrap();
    for mut program in [program, table.start(4, 5, third()).unwrap()] {
        let found: Vec<_> = (1..=4).map(|key| program.get(&table, key).unwrap().unwrap()).collect();
        assert_eq!(found, [(true, 1), (false, 3), (true, 33), (true, 4)]);
    }
    // What has been read and is not changed is not written.
    last.get(&table, 1).unwrap();
    last.complete(&mut table, 6);
    last.materialise(&mut table);
    assert_eq!(table.bytes(1), Some(vec![1]));
}

#[test]
fn a_roll_back_to_before_a_migration_finds_nothing_newer() {
    let mut table = Table::default();
    let mut first = table.start(1, 0, of::<u64>()).unwrap();
    (1..=3).for_each(|key| first.set(&table, key, key));
    first.complete(&mut table, 1);
    // The migrated program cleans the log up to 1, the oldest retained checkpoint, and goes on to 2.
    let mut second = table.start(2, 1, text_of_number()).unwrap();
    second.set(&table, 2, "two".to_owned());
    second.materialise(&mut table);
    assert_eq!(table.items.len(), 3);
    let barrier = second.state.freeze(CheckpointId(2)).unwrap();
    table.manifests.insert(2, (barrier, second.recorded.clone()));

    // Back at 1, with the former program and with the migrated one.
    let mut back = table.start(3, 1, of::<u64>()).unwrap();
    assert_eq!(back.recorded.formats, first.recorded.formats);
    let mut again = table.start(3, 1, text_of_number()).unwrap();
    for key in 1..=3 {
        assert_eq!(back.get(&table, key).unwrap(), Some(key));
        assert_eq!(again.get(&table, key).unwrap(), Some(format!("was {key}")));
    }
    // Items alone, without the log.
    table.forget_log(1);
    let mut back = table.start(3, 1, of::<u64>()).unwrap();
    let mut again = table.start(3, 1, text_of_number()).unwrap();
    for key in 1..=3 {
        assert_eq!(back.get(&table, key).unwrap(), Some(key));
        assert_eq!(again.get(&table, key).unwrap(), Some(format!("was {key}")));
    }
}

#[test]
fn a_deleted_entry_of_a_former_encoding_leaves_its_tombstone() {
    let mut table = Table::default();
    let mut first = table.start(1, 0, of::<u64>()).unwrap();
    first.set(&table, 1, 1);
    first.complete(&mut table, 1);
    first.materialise(&mut table);
    first.set(&table, 1, 2);
    first.complete(&mut table, 2);
    let row = first.row(&table, 1).unwrap();
    first.state.clear(first.total, row);
    first.complete(&mut table, 3);
    let mut second = table.start(2, 3, text_of_number()).unwrap();
    second.materialise(&mut table);
    assert_eq!(table.bytes(1), None);
    assert_eq!(table.items.len(), 1);
    assert_eq!(second.get(&table, 1).unwrap(), None);
}

#[test]
fn native_items_are_read_back_whatever_is_set_and_migrated() {
    let mut table = Table::default();
    let mut first = table.start(1, 0, of::<u64>()).unwrap();
    first.state.config.value_format = ValueFormat::Native;
    (1..=2).for_each(|key| first.set(&table, key, key * 100));
    first.complete(&mut table, 1);
    first.materialise(&mut table);
    assert_eq!(table.bytes(1), Some(br#"{"N":"100"}"#.to_vec()));
    first.complete(&mut table, 2);

    // Written as bytes from now on; the migrated one of the log stays a number.
    first.set(&table, 2, 222);
    first.complete(&mut table, 3);
    let mut second = table.start(2, 3, text_of_number()).unwrap();
    assert_eq!(second.get(&table, 1).unwrap().as_deref(), Some("was 100"));
    second.materialise(&mut table);
    assert!(table.is_native(1) && !table.is_native(2));
    second.set(&table, 1, "new".to_owned());
    second.complete(&mut table, 4);
    second.complete(&mut table, 5);

    let mut third = table.start(3, 5, text_of_number()).unwrap();
    third.state.config.value_format = ValueFormat::Native;
    assert_eq!(third.get(&table, 2).unwrap().as_deref(), Some("was 222"));
    third.materialise(&mut table);
    assert_eq!(table.bytes(1), Some(br#"{"S":"new"}"#.to_vec()));
    // A former value from the log, as an attribute of its own type.
    let mut fourth = table.start(4, 3, text_of_number()).unwrap();
    fourth.state.config.value_format = ValueFormat::Native;
    table.items.clear();
    fourth.materialise(&mut table);
    assert_eq!(table.bytes(2), Some(br#"{"N":"222"}"#.to_vec()));
    fourth.state.evict(100);
    assert_eq!(fourth.get(&table, 2).unwrap().as_deref(), Some("was 222"));
}

#[test]
fn a_value_that_is_no_attribute_is_written_as_bytes_beside_others_that_are() {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of::<f64>()).unwrap();
    program.state.config.value_format = ValueFormat::Native;
    program.set(&table, 1, f64::NAN);
    program.set(&table, 2, 0.5);
    program.complete(&mut table, 1);
    program.materialise(&mut table);
    assert!(!table.is_native(1) && table.is_native(2));
    assert!(program.get(&table, 1).unwrap().unwrap().is_nan());
    assert_eq!(program.get(&table, 2).unwrap(), Some(0.5));
}

/// Text, in a codec of the user's own.
struct Decimal;

impl Codec<u64> for Decimal {
    const ID: &'static str = "decimal";
    const VERSION: u32 = 3;

    fn encode(value: &u64, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        out.extend_from_slice(value.to_string().as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> std::result::Result<u64, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(DecodeError::new)?;
        text.parse().map_err(DecodeError::new)
    }
}

#[test]
fn a_codec_of_ones_own_writes_the_values_and_another_one_is_another_encoding() {
    const DECIMAL: ValueDescriptor<u64> = of::<u64>().with_codec::<Decimal>();
    let mut table = Table::default();
    let mut first = table.start(1, 0, DECIMAL).unwrap();
    first.set(&table, 7, 1234);
    first.complete(&mut table, 1);
    first.materialise(&mut table);
    assert_eq!(table.bytes(7), Some(b"1234".to_vec()));
    assert_eq!(table.start(2, 1, DECIMAL).unwrap().get(&table, 7).unwrap(), Some(1234));

    let error = table.start(2, 1, of::<u64>()).err().unwrap();
    for part in ["counts", "total", "u64 in decimal 3", "u64 in bincode 1"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let to_bincode = of::<u64>().migrate_from_codec::<u64, Decimal>(|old| old);
    let mut second = table.start(2, 1, to_bincode).unwrap();
    assert_eq!(second.get(&table, 7).unwrap(), Some(1234));
    second.set(&table, 7, 1235);
    second.complete(&mut table, 2);
    second.materialise(&mut table);
    assert_eq!(table.bytes(7), Some(vec![251, 211, 4]));
}

#[test]
fn what_is_reduced_or_aggregated_is_migrated_too_and_written_by_a_codec_of_ones_own() {
    type Sum = (u64, u64);
    let mean = |sum: &Sum| sum.0 / sum.1;
    let add = |sum: &mut Sum, n: u64| *sum = (sum.0 + n, sum.1 + 1);
    let mut table = Table::default();
    let (mut state, (most, sum), recorded) = table
        .open(0, 1, 0, |states| {
            let most = ReducingDescriptor::<u32>::new("most", |a, b| b.max(*a));
            let sum =
                AggregatingDescriptor::new("sum", || 0, |sum: &mut u64, n: u64| *sum += n, |s| *s);
            (states.reducing(most), states.aggregating(sum))
        })
        .unwrap();
    let row = state.find_row(7u64.key_hash(), &7);
    state.reducing(most, row).add(30).unwrap();
    state.aggregating(sum, row).add(40).unwrap();
    let barrier = state.freeze(CheckpointId(1)).unwrap();
    assert!(state.serialise(usize::MAX).unwrap());
    table.log.extend(state.take_segments().iter().map(|raw| stored(raw, 1)));
    table.manifests.insert(1, (barrier, recorded));

    let changed = table.open(0, 2, 1, |states| {
        states.reducing(ReducingDescriptor::<u64>::new("most", |a, b| b.max(*a)))
    });
    let error = changed.err().unwrap();
    for part in ["state most", "u32 in bincode 1", "u64 in bincode 1"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let (mut state, (most, sum), _) = table
        .open(0, 2, 1, |states| {
            let most = ReducingDescriptor::<u64>::new("most", |a, b| b.max(*a))
                .with_codec::<Decimal>()
                .migrate_from::<u32>(u64::from);
            let sum = AggregatingDescriptor::<u64, Sum, u64>::new("sum", || (0, 0), add, mean)
                .migrate_from::<u64>(|sum| (sum, 1));
            (states.reducing(most), states.aggregating(sum))
        })
        .unwrap();
    let row = state.find_row(7u64.key_hash(), &7);
    state.reducing(most, row).add(31).unwrap();
    state.aggregating(sum, row).add(60).unwrap();
    assert_eq!(state.reducing(most, row).get().unwrap(), Some(&31));
    assert_eq!(state.aggregating(sum, row).get().unwrap(), Some(50));
}

/// Words between commas, in a codec of the user's own.
struct Words;

impl Codec<Vec<u64>> for Words {
    const ID: &'static str = "words";
    const VERSION: u32 = 1;

    fn encode(value: &Vec<u64>, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        let words: Vec<_> = value.iter().map(u64::to_string).collect();
        out.extend_from_slice(words.join(",").as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Vec<u64>, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(DecodeError::new)?;
        text.split(',').map(|word| word.parse().map_err(DecodeError::new)).collect()
    }
}

#[test]
fn a_list_is_written_by_a_codec_of_ones_own_and_migrated_from_it() {
    let mut table = Table::default();
    let (mut state, pages, recorded) = table
        .open(0, 1, 0, |states| states.list(ListDescriptor::new("pages").with_codec::<Words>()))
        .unwrap();
    let row = state.find_row(7u64.key_hash(), &7);
    state.list(pages, row).add_all([11, 22, 33]);
    let barrier = state.freeze(CheckpointId(1)).unwrap();
    assert!(state.serialise(usize::MAX).unwrap());
    let raw = state.take_segments();
    assert!(raw[0].bytes.windows(8).any(|bytes| bytes == b"11,22,33"));
    table.log.extend(raw.iter().map(|raw| stored(raw, 1)));
    table.manifests.insert(1, (barrier, recorded));

    let bincode = || ListDescriptor::<u64>::new("pages");
    let error = table.open(0, 2, 1, |states| states.list(bincode())).err().unwrap();
    for part in ["state pages", "in words 1", "in bincode 1"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let migrated = bincode().migrate_from_codec::<u64, Words>(|page| page + 1);
    let (mut state, pages, _) = table.open(0, 2, 1, |states| states.list(migrated)).unwrap();
    let row = state.find_row(7u64.key_hash(), &7);
    state.list(pages, row).add(44);
    let found: Vec<u64> = state.list(pages, row).get().unwrap().copied().collect();
    assert_eq!(found, [12, 23, 34, 44]);
}

#[test]
fn what_cannot_be_read_names_operator_and_state() {
    let mut table = Table::default();
    let mut first = table.start(1, 0, of::<u64>().with_codec::<Decimal>()).unwrap();
    first.set(&table, 7, 1);
    first.complete(&mut table, 1);
    first.materialise(&mut table);
    // The manifest that says so.
    first.complete(&mut table, 2);
    let item = table.items.values_mut().next().unwrap();
    item.value = Some(b"x".to_vec().into());
    let mut program = table.start(2, 2, of::<u64>().with_codec::<Decimal>()).unwrap();
    let error = program.get(&table, 7).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("operator counts, item of state total"), "{error}");
}
