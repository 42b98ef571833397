//! What the harness shows of a function, and what a run on one thread does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Harness, paused, run};
use crate::connector::{Generator, MemorySink};
use crate::error::{Error, ErrorKind, Result};
use crate::operator::{Context, KeyedProcess};
use crate::runtime::Ended;
use crate::state::{
    ListDescriptor, ListState, MapDescriptor, MapKeys, MapState, Namespaced, States, Ttl,
    ValueDescriptor, ValueState,
};
use crate::stream::StreamEnvironment;

type Function = dyn Fn(u64, MapState<u64, u64>, &mut Context<'_, OfMap>) -> Result<()>;

/// A function of one map, as a test wants it.
struct OfMap {
    map: MapState<u64, u64>,
    function: Rc<Function>,
    is_named: bool,
}

impl KeyedProcess for OfMap {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> Result<()> {
        (self.function)(record, self.map, context)
    }

    fn map_keys(&self, record: &u64, keys: &mut MapKeys<'_, u64>) {
        if self.is_named {
            keys.map(self.map, *record);
        }
    }
}

fn of_map(
    is_named: bool,
    function: impl Fn(u64, MapState<u64, u64>, &mut Context<'_, OfMap>) -> Result<()> + 'static,
) -> Harness<OfMap> {
    let function: Rc<Function> = Rc::new(function);
    let new = move |states: &mut States| OfMap {
        map: states.map(MapDescriptor::new("map")),
        function: Rc::clone(&function),
        is_named,
    };
    Harness::new(new).unwrap()
}

/// Counts each record's entry.
fn count(record: u64, map: MapState<u64, u64>, context: &mut Context<'_, OfMap>) -> Result<()> {
    let count = context.map(map).get(&record)?.copied().unwrap_or(0) + 1;
    context.map(map).put(record, count);
    context.emit(count);
    Ok(())
}

/// In a short job over memory no item is ever sent, so nothing used to suspend it.
#[test]
fn a_function_that_cannot_bear_being_repeated_is_seen_with_its_first_record() {
    let seen = Cell::new(0);
    let mut harness = of_map(false, move |record, map, context| {
        seen.set(seen.get() + 1);
        let _stored = context.map(map).get(&record)?;
        context.emit(seen.get());
        Ok(())
    });
    assert_eq!(harness.push(1, 1).unwrap(), [2], "called twice");
    assert_eq!(harness.push(1, 1).unwrap(), [4]);
}

#[test]
fn what_a_function_does_before_it_is_suspended_is_undone() {
    let mut harness = of_map(false, |record, map, context| {
        context.emit(0);
        context.map(map).put(100, record);
        let count = context.map(map).get(&record)?.copied().unwrap_or(0) + 1;
        context.map(map).put(record, count);
        context.emit(count);
        Ok(())
    });
    assert_eq!(harness.push(1, 1).unwrap(), [0, 1]);
    assert_eq!(harness.push(1, 1).unwrap(), [0, 2]);
    assert_eq!(harness.suspensions(), 2);
    let entries = harness.look(1, |function, context| {
        Ok(context.map(function.map).iter()?.map(|(key, value)| (*key, *value)).collect::<Vec<_>>())
    });
    assert_eq!(entries.unwrap(), [(1, 2), (100, 1)]);
}

#[test]
fn a_function_that_hides_the_error_is_called_again_all_the_same() {
    let mut harness = of_map(false, |record, map, context| {
        let count = context.map(map).get(&record).ok().flatten().copied().unwrap_or(0) + 1;
        context.map(map).put(record, count);
        context.emit(count);
        Ok(())
    });
    assert_eq!(harness.push(1, 1).unwrap(), [1]);
    assert_eq!(harness.push(1, 1).unwrap(), [2]);
    assert_eq!(harness.suspensions(), 2);
}

#[test]
fn what_is_named_ahead_suspends_nothing() {
    let mut harness = of_map(true, count);
    assert_eq!(harness.push(1, 7).unwrap(), [1]);
    assert_eq!(harness.push(1, 7).unwrap(), [2]);
    assert_eq!(harness.push(2, 7).unwrap(), [1], "another key");
    assert_eq!(harness.suspensions(), 0);
}

#[test]
fn a_function_that_is_never_through_is_an_error_that_says_why() {
    let calls = Cell::new(0);
    let mut harness = of_map(false, move |_, map, context| {
        calls.set(calls.get() + 1);
        let _stored = context.map(map).get(&calls.get())?;
        Ok(())
    });
    let error = harness.push(1, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("each time asked for an entry"), "{error}");
}

#[test]
fn an_error_leaves_nothing_of_its_record_and_all_of_those_before() {
    let mut harness = of_map(true, |record, map, context| {
        let count = context.map(map).get(&record)?.copied().unwrap_or(0) + 1;
        context.map(map).put(record, count);
        context.emit(count);
        if count == 2 && record == 13 {
            return Err(Error::new(ErrorKind::User, "thirteen"));
        }
        Ok(())
    });
    harness.push(1, 13).unwrap();
    for _ in 0..2 {
        assert_eq!(harness.push(1, 13).unwrap_err().message(), "thirteen");
    }
    let stored = |function: &OfMap, context: &mut Context<'_, OfMap>| {
        Ok(context.map(function.map).get(&13)?.copied())
    };
    assert_eq!(harness.look(1, stored).unwrap(), Some(1));
    assert_eq!(harness.push(1, 5).unwrap(), [1]);
}

#[test]
fn a_restart_keeps_what_is_in_states_and_nothing_else() {
    struct Both {
        count: ValueState<u64>,
        field: Cell<u64>,
    }
    impl KeyedProcess for Both {
        type Key = u64;
        type In = ();
        type Out = (u64, u64);

        fn process(&self, (): (), context: &mut Context<'_, Self>) -> Result<()> {
            let count = context.get(self.count).copied().unwrap_or(0) + 1;
            context.set(self.count, count);
            self.field.set(self.field.get() + 1);
            context.emit((count, self.field.get()));
            Ok(())
        }
    }
    let new = |states: &mut States| Both {
        count: states.value(ValueDescriptor::new("count")),
        field: Cell::new(0),
    };
    let mut harness = Harness::new(new).unwrap();
    assert_eq!(harness.push(1, ()).unwrap(), [(1, 1)]);
    assert_eq!(harness.push(1, ()).unwrap(), [(2, 2)]);
    harness.restart().unwrap();
    assert_eq!(harness.push(1, ()).unwrap(), [(3, 1)]);
    assert_eq!(harness.suspensions(), 0, "a plain value is read before");
}

/// Keeps the greatest of what records have below a thousand, in a type of its version; above that is their time.
struct Greatest<V> {
    state: ValueState<V>,
    number: fn(&V) -> u64,
    value: fn(u64) -> V,
}

impl<V: crate::codec::Value> KeyedProcess for Greatest<V> {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let greatest = context.get(self.state).map_or(0, self.number).max(record % 1000);
        context.set(self.state, (self.value)(greatest));
        context.emit(greatest);
        Ok(())
    }

    fn event_time(&self, record: &u64) -> Option<u64> {
        Some(*record / 1000)
    }
}

fn small(descriptor: ValueDescriptor<u32>) -> impl Fn(&mut States) -> Greatest<u32> + Clone {
    move |states| Greatest {
        state: states.value(descriptor.clone()),
        number: |value| u64::from(*value),
        value: |number| number as u32,
    }
}

fn texts(descriptor: ValueDescriptor<String>) -> impl Fn(&mut States) -> Greatest<String> + Clone {
    move |states| Greatest {
        state: states.value(descriptor.clone()),
        number: |value| value.parse().unwrap(),
        value: |number| number.to_string(),
    }
}

#[test]
fn another_version_of_a_function_goes_on_with_what_it_migrates_or_is_refused() {
    let old = || {
        let mut old = Harness::new(small(ValueDescriptor::new("greatest"))).unwrap();
        assert_eq!(old.push(1, 7).unwrap(), [7]);
        old
    };
    let descriptor = ValueDescriptor::new("greatest").migrate_from::<u32>(|old| old.to_string());
    let mut new = old().upgrade(texts(descriptor)).unwrap();
    assert_eq!(new.push(1, 3).unwrap(), [7]);
    assert_eq!(new.push(1, 9).unwrap(), [9]);
    new.restart().unwrap();
    assert_eq!(new.push(1, 8).unwrap(), [9]);
    let refused = old().upgrade(texts(ValueDescriptor::new("greatest"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Graph);
    let gone = old().upgrade(texts(ValueDescriptor::new("other"))).unwrap_err();
    assert!(gone.to_string().contains("state greatest is stored"), "{gone}");
}

#[test]
fn values_expire_by_the_harness_clock_and_by_the_times_of_records() {
    let hour = Ttl::new(Duration::from_secs(3600));
    let descriptor = ValueDescriptor::new("greatest");
    let mut by_clock = Harness::new(small(descriptor.clone().with_ttl(hour))).unwrap();
    by_clock.push(1, 7).unwrap();
    by_clock.advance(Duration::from_secs(3599));
    assert_eq!(by_clock.push(1, 3).unwrap(), [7]);
    by_clock.advance(Duration::from_secs(3600));
    assert_eq!(by_clock.push(1, 3).unwrap(), [3]);

    let event_time = descriptor.with_ttl(hour.by_event_time(Duration::ZERO));
    let mut by_events = Harness::new(small(event_time)).unwrap();
    let mut at = |ms: u64, number| by_events.push(1, ms * 1000 + number).unwrap();
    assert_eq!(at(1_000, 7), [7]);
    assert_eq!(at(2_000, 3), [7]);
    assert_eq!(at(3_602_000, 3), [3], "an hour after the last write");
    by_events.advance(Duration::from_secs(1 << 20));
    let kept = by_events.look(1, |function, context| Ok(context.get(function.state).copied()));
    assert_eq!(kept.unwrap(), Some(3), "whatever the clock says");
}

/// A map, a list and a value of a namespace.
struct Every {
    map: MapState<u64, u64>,
    list: ListState<u64>,
    a_day: Namespaced<u64, ValueState<u64>>,
}

impl Every {
    fn new(states: &mut States) -> Self {
        Self {
            map: states.map(MapDescriptor::new("map")),
            list: states.list(ListDescriptor::new("list")),
            a_day: states.namespaced().value(ValueDescriptor::new("a-day")),
        }
    }
}

impl KeyedProcess for Every {
    type Key = u64;
    type In = u64;
    type Out = (u64, Vec<u64>, u64, usize);

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let (sub, day) = (record % 5, record % 3);
        let in_map = context.map(self.map).get(&sub)?.copied().unwrap_or(0) + record;
        context.map(self.map).put(sub, in_map);
        let list: Vec<u64> = context.list(self.list).get()?.copied().collect();
        context.list(self.list).add(record);
        let of_day = context.in_namespace(&day).get(self.a_day)?.copied().unwrap_or(0) + 1;
        context.in_namespace(&day).set(self.a_day, of_day);
        match record % 11 {
            0 => context.map(self.map).clear()?,
            1 => context.list(self.list).clear()?,
            2 => context.map(self.map).remove(&sub),
            _ => {}
        }
        let entries = context.map(self.map).iter()?.count();
        context.emit((in_map, list, of_day, entries));
        Ok(())
    }
}

#[test]
fn each_kind_of_call_is_suspended_once_from_the_first_record_on() {
    let mut harness = Harness::new(Every::new).unwrap();
    harness.push(1, 3).unwrap();
    assert_eq!(harness.suspensions(), 4, "an entry, the list, the namespace, the whole map");
    harness.push(1, 3).unwrap();
    assert_eq!(harness.suspensions(), 8);
}

#[test]
fn many_records_give_what_a_plain_model_gives_over_restarts() {
    #[derive(Default)]
    struct Model {
        map: BTreeMap<u64, u64>,
        list: Vec<u64>,
        a_day: BTreeMap<u64, u64>,
    }
    let mut harness = Harness::new(Every::new).unwrap();
    let mut models: [Model; 4] = Default::default();
    for n in 0..400u64 {
        let (key, record) = (n % 4, n * n % 101 + n % 7);
        let model = &mut models[key as usize];
        let in_map = model.map.entry(record % 5).and_modify(|sum| *sum += record).or_insert(record);
        let in_map = *in_map;
        let list = model.list.clone();
        model.list.push(record);
        let of_day = *model.a_day.entry(record % 3).and_modify(|n| *n += 1).or_insert(1);
        match record % 11 {
            0 => model.map.clear(),
            1 => model.list.clear(),
            2 => drop(model.map.remove(&(record % 5))),
            _ => {}
        }
        let expected = (in_map, list, of_day, model.map.len());
        assert_eq!(harness.push(key, record).unwrap(), [expected], "record {n}");
        if n % 97 == 0 {
            harness.restart().unwrap();
        }
    }
}

#[test]
fn a_job_runs_to_its_end_and_one_that_fails_is_not_tried_again() {
    let env = StreamEnvironment::new();
    let sums = MemorySink::new();
    env.source(Generator::new(10, |n| n)).key_by(|_| 0).reduce(|a, b| a + b).sink(sums.clone());
    assert_eq!(run(env.build().unwrap()).unwrap(), Ended::Finished);
    assert_eq!(sums.output().last(), Some(&45));

    let env = StreamEnvironment::new();
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    env.source(Generator::new(10, |n| n))
        .map(move |n| {
            counted.fetch_add(u64::from(n == 0), Ordering::Relaxed);
            assert!(n > 0, "the first one is wrong");
            n
        })
        .sink(MemorySink::new());
    let error = run(env.build().unwrap()).unwrap_err();
    assert!(error.to_string().contains("the first one is wrong"), "{error}");
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}

#[test]
fn a_run_within_another_runtime_is_refused_with_what_to_do() {
    let inner = paused(async { paused(async {}) }).unwrap();
    let error = inner.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("without #[tokio::test]"), "{error}");
}
