//! One keyed operator whose states expire by the times of records, some of which come late, or by the clock: a value
//! and a list that live from their writing, and a map whose entries live from their reading too. Each record writes
//! and gives something out before it asks for what may have to be read first.
//!
//! Each split has keys of its own, so that the order of a key's records, and with it what expires, is known.
//! Memory is cleaned of what has expired where there is one split alone: several are read at any pace, so
//! that one's records may be later than another's by any time.
//!
//! By the clock a record that comes again finds something else. But each line tells when the clock was looked at for
//! it, and all processes have one clock: so the lines that were committed say when each value was written, and what
//! each record must have found. Of a state without them it is only known what may be there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::Kind;
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{
    ListDescriptor, ListState, MapDescriptor, MapState, States, Ttl, ValueDescriptor, ValueState,
};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "expiring",
    share: 12,
    draw: |random: &mut StdRng, mishap| drawn(random, mishap, false),
};

/// The same by the clock. No seed draws it, so that those that are written down stay what they are.
pub(super) const BY_CLOCK: Kind = Kind {
    name: "lapsing",
    share: 0,
    draw: |random: &mut StdRng, mishap| drawn(random, mishap, true),
};

fn drawn(random: &mut StdRng, mishap: Mishap, by_clock: bool) -> Arc<dyn Scenario> {
    let number = if random.random_bool(0.4) { 1 } else { random.random_range(2..=4) };
    let splits = (0..number).map(|split| records(random, split * 100)).collect();
    let lateness_ms = if number == 1 { LATE_MS } else { 1_000_000 };
    let ends = MemoryEnds::new(splits, vec![]);
    Arc::new(Expiring { ends, mishap, lateness_ms, by_clock })
}

/// For how long values live. Two records of a split are `STEP_MS` apart.
const AFTER_MS: u64 = 80;
const STEP_MS: u64 = 4;
/// No record of a split is later than this.
const LATE_MS: u64 = 30;

/// What happened.
#[derive(Clone, Copy, Debug)]
struct Event {
    key: u64,
    time: u64,
    value: u64,
}

/// What was found of a key at a time: how often it came before, or a number made of map and list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    key: u64,
    time: u64,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Count(u64),
    Found(u64),
}

/// The records of one split; each key comes once more at the end, and looks at everything.
fn records(random: &mut StdRng, first_key: u64) -> Vec<Event> {
    let keys = random.random_range(1..=8);
    let number = random.random_range(0..160u64);
    let mut records: Vec<Event> = (0..number)
        .map(|i| {
            let late = if random.random_bool(0.3) { random.random_range(0..LATE_MS) } else { 0 };
            let key = first_key + random.random_range(0..keys);
            let time = 1000 + (i * STEP_MS).saturating_sub(late);
            Event { key, time, value: random.random_range(0..100) }
        })
        .collect();
    let last = 1000 + number * STEP_MS;
    records.extend((0..keys).map(|key| Event { key: first_key + key, time: last, value: LOOK }));
    records
}

/// The value of a record that looks at everything.
const LOOK: u64 = 7 * 8 * 5 - 1;

/// What a record does with its key's map.
enum Act {
    Mark(u64),
    /// Without having looked.
    Put(u64),
    Look(u64),
    LookAtAll,
}

fn act(value: u64) -> Act {
    match value % 4 {
        0 if value % 8 == 4 => Act::Put(value % 3),
        0 => Act::Mark(value % 3),
        1 | 2 => Act::Look(value % 3),
        _ => Act::LookAtAll,
    }
}

fn counts(value: u64) -> bool {
    value % 5 < 2
}

fn sum_up<'e>(entries: impl Iterator<Item = (&'e u64, &'e u64)>) -> u64 {
    entries.fold(1, |sum, (mark, count)| sum * 31 % 1_000_003 + mark + count)
}

fn read_on(found: u64, elements: impl Iterator<Item = u64>) -> u64 {
    elements.fold(found, |sum, element| sum * 37 % 1_000_003 + element)
}

struct Process {
    count: ValueState<u64>,
    marks: MapState<u64, u64>,
    notes: ListState<u64>,
    mishap: Mishap,
    by_clock: bool,
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Event;
    type Out = Line;

    fn process(&self, event: Event, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let Event { key, mut time, value } = event;
        if self.by_clock {
            time = context.processing_time_ms();
        }
        let count = context.get(self.count).copied().unwrap_or(0);
        if counts(value) {
            context.set(self.count, count + 1);
        }
        context.emit(Line { key, time, told: Told::Count(count) });
        if value % 3 == 0 {
            context.list(self.notes).add(value);
        }
        let mut marks = context.map(self.marks);
        let mut found = match act(value) {
            Act::Mark(mark) => {
                let count = marks.get(&mark)?.copied().unwrap_or(0);
                marks.put(mark, count + 1);
                count
            }
            Act::Put(mark) => {
                marks.put(mark, value);
                0
            }
            Act::Look(mark) => marks.get(&mark)?.copied().unwrap_or(0),
            Act::LookAtAll => sum_up(marks.iter()?),
        };
        if value % 7 == 6 {
            found = read_on(found, context.list(self.notes).get()?.copied());
        }
        context.emit(Line { key, time, told: Told::Found(found) });
        Ok(())
    }

    fn event_time(&self, event: &Event) -> Option<u64> {
        Some(event.time)
    }
}

/// A value and when it expires.
type Lasting = (u64, u64);

/// A key's states.
#[derive(Clone, Debug, Default)]
struct OfKey {
    count: Option<Lasting>,
    marks: BTreeMap<u64, Lasting>,
    notes: Vec<Lasting>,
}

impl OfKey {
    fn apply(&mut self, Event { key, time, value }: Event, lines: &mut Vec<Line>) {
        let lives = |(_, expires): &Lasting| *expires > time;
        let count = self.count.filter(lives).map_or(0, |(count, _)| count);
        if counts(value) {
            self.count = Some((count + 1, time + AFTER_MS));
        }
        lines.push(Line { key, time, told: Told::Count(count) });
        if value % 3 == 0 {
            self.notes.push((value, time + AFTER_MS));
        }
        let is_read = |mark: u64| match act(value) {
            Act::Mark(this) | Act::Look(this) => mark == this,
            Act::Put(_) => false,
            Act::LookAtAll => true,
        };
        let mut read = BTreeMap::new();
        for (mark, lasting) in &mut self.marks {
            if lives(lasting) && is_read(*mark) {
                lasting.1 = lasting.1.max(time + AFTER_MS);
                read.insert(*mark, lasting.0);
            }
        }
        let mut found = match act(value) {
            Act::Mark(mark) | Act::Look(mark) => read.get(&mark).copied().unwrap_or(0),
            Act::Put(_) => 0,
            Act::LookAtAll => sum_up(read.iter()),
        };
        match act(value) {
            Act::Mark(mark) => drop(self.marks.insert(mark, (found + 1, time + AFTER_MS))),
            Act::Put(mark) => drop(self.marks.insert(mark, (value, time + AFTER_MS))),
            Act::Look(_) | Act::LookAtAll => {}
        }
        if value % 7 == 6 {
            let notes = self.notes.iter().filter(|note| lives(note)).map(|(note, _)| *note);
            found = read_on(found, notes);
        }
        lines.push(Line { key, time, told: Told::Found(found) });
    }
}

struct Expiring {
    ends: MemoryEnds<Event, Line>,
    mishap: Mishap,
    lateness_ms: u64,
    by_clock: bool,
}

impl Expiring {
    /// What a loop over the records before `positions` leaves of each key, and gives out, by their own times or by those
    /// of the lines that were `found`.
    fn reference(
        &self,
        positions: &Positions,
        found: &BTreeMap<u64, Vec<Line>>,
    ) -> BTreeMap<u64, (OfKey, Vec<Line>)> {
        let mut keys: BTreeMap<u64, (OfKey, Vec<Line>)> = BTreeMap::new();
        for event in self.ends.input.before("events", positions) {
            let (of_key, lines) = keys.entry(event.key).or_default();
            let mut event = *event;
            if self.by_clock {
                let line = found.get(&event.key).and_then(|found| found.get(lines.len()));
                event.time = line.map_or(0, |line| line.time);
            }
            of_key.apply(event, lines);
        }
        keys
    }

    /// Whether a state may be that of some times: by the clock nothing tells which.
    fn check_possible(&self, state: &StateView<'_>) -> Verdict {
        let (mut counted, mut noted) = (BTreeMap::new(), BTreeMap::<u64, Vec<Lasting>>::new());
        for event in self.ends.input.before("events", state.positions) {
            *counted.entry(event.key).or_insert(0) += u64::from(counts(event.value));
            if event.value % 3 == 0 {
                noted.entry(event.key).or_default().push((event.value, 0));
            }
        }
        for (key, most) in counted {
            let found = state.value::<u64>("expiring", "count", &key)?;
            if found.is_some_and(|found| found == 0 || found > most) {
                return Err(format!("expiring.count of {key} is {found:?}, and at most {most}"));
            }
        }
        for (key, found) in state.lists::<u64, u64>("expiring", "notes")? {
            if !noted.get(&key).is_some_and(|noted| is_left(&found, noted, u64::MAX)) {
                return Err(format!("expiring.notes of {key} is {found:?}, of {noted:?}"));
            }
        }
        Ok(())
    }
}

impl Scenario for Expiring {
    fn name(&self) -> &'static str {
        if self.by_clock { BY_CLOCK.name } else { KIND.name }
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        let by_clock = self.by_clock;
        let mut ttl = Ttl::new(Duration::from_millis(AFTER_MS));
        if !by_clock {
            ttl = ttl.by_event_time(Duration::from_millis(self.lateness_ms));
        }
        env.source(self.ends.input.source())
            .uid("events")
            .key_by(|event| event.key)
            .process(move |states: &mut States| Process {
                count: states.value(ValueDescriptor::new("count").with_ttl(ttl)),
                marks: states.map(MapDescriptor::new("marks").with_ttl(ttl.on_read_and_write())),
                notes: states.list(ListDescriptor::new("notes").with_ttl(ttl)),
                mishap: mishap.clone(),
                by_clock,
            })
            .uid("expiring")
            .sink(self.ends.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.ends.sink.commits().map_err(|e| e.to_string())?;
        let mut found: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
        for line in commits.iter().flat_map(|n| &all[*n].records) {
            found.entry(line.key).or_default().push(*line);
        }
        let expected = self.reference(positions, &found);
        for (key, (_, expected)) in &expected {
            let found = found.remove(key).unwrap_or_default();
            let differs = |(found, expected): &(&Line, &Line)| found != expected;
            if let Some((found, expected)) = found.iter().zip(expected).find(differs) {
                return Err(format!("{found:?}, the reference is {expected:?}"));
            }
            if found.len() != expected.len() {
                let (found, expected) = (found.len(), expected.len());
                return Err(format!("key {key} gave {found} lines, not {expected}"));
            }
        }
        match found.into_values().flatten().next() {
            Some(line) => Err(format!("{line:?} comes too early")),
            None => Ok(()),
        }
    }

    fn key_bytes(&self, _: &str, _: &str, _: &[u8]) -> usize {
        size_of::<u64>()
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        if self.by_clock {
            return self.check_possible(state);
        }
        let seen = self.ends.input.before("events", state.positions).map(|event| event.time).max();
        let gone = seen.unwrap_or(0).saturating_sub(self.lateness_ms);
        let keys = self.reference(state.positions, &BTreeMap::new());
        let counts = keys.iter().filter_map(|(key, (of_key, _))| Some((*key, of_key.count?)));
        compare(state, "count", gone, counts)?;
        let of_key = |(key, (of_key, _)): (&u64, &(OfKey, Vec<Line>))| {
            let key = *key;
            let marks = of_key.marks.clone().into_iter();
            marks.map(move |(mark, lasting)| ((key, mark), lasting))
        };
        compare(state, "marks", gone, keys.iter().flat_map(of_key))?;
        let mut notes = state.lists::<u64, u64>("expiring", "notes")?;
        for (key, (of_key, _)) in &keys {
            let found = notes.remove(key).unwrap_or_default();
            if !is_left(&found, &of_key.notes, gone) {
                let expected = &of_key.notes;
                return Err(format!(
                    "expiring.notes of {key} is {found:?}, not {expected:?} at {gone}"
                ));
            }
        }
        match notes.pop_first() {
            Some((key, found)) => {
                Err(format!("expiring.notes of {key} is {found:?}, and it has none"))
            }
            None => Ok(()),
        }
    }
}

/// Whether `found` is `elements` without some of those that expire by `gone`.
fn is_left(found: &[u64], elements: &[Lasting], gone: u64) -> bool {
    // How many of `found` can be what is left of the elements so far.
    let mut taken = vec![true];
    taken.resize(found.len() + 1, false);
    for &(element, expires) in elements {
        for n in (0..=found.len()).rev() {
            let follows = n > 0 && taken[n - 1] && found[n - 1] == element;
            taken[n] = follows || taken[n] && expires <= gone;
        }
    }
    taken[found.len()]
}

/// As [`StateView::compare`]; what expires by `gone` may be there or not.
fn compare<K: crate::codec::Key>(
    state: &StateView<'_>,
    name: &str,
    gone: u64,
    expected: impl Iterator<Item = (K, Lasting)>,
) -> Verdict {
    let mut number = 0;
    for (key, (value, expires)) in expected {
        let found = state.value::<u64>("expiring", name, &key)?;
        if found != Some(value) && (found.is_some() || expires > gone) {
            return Err(format!("expiring.{name} of {key:?} is {found:?}, not {value}"));
        }
        number += usize::from(found.is_some());
    }
    match state.count("expiring", name) {
        found if found == number => Ok(()),
        found => Err(format!("expiring.{name} has {found} keys, not {number}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_only_what_expires_may_be_gone() {
        let elements = [(3, 9), (1, 5), (3, 5), (2, 9)];
        for left in [&[3, 1, 3, 2][..], &[3, 3, 2], &[3, 1, 2], &[3, 2]] {
            assert!(is_left(left, &elements, 5), "{left:?}");
        }
        for wrong in [&[3, 1, 3][..], &[1, 3, 2], &[3, 2, 1], &[3, 2, 2], &[]] {
            assert!(!is_left(wrong, &elements, 5), "{wrong:?}");
        }
        assert!(!is_left(&[3, 2], &elements, 4) && is_left(&[], &elements, 9));
    }
}
