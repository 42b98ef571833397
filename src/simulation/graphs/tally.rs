//! One keyed operator with a count, a sum, a state that comes and goes, and one whose values are long
//! now and then. Each record's output tells what the states were, so a wrong one shows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;

use super::{Event, Kind, events};
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{States, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "tally",
    share: 18,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        of(splits, last, mishap)
    },
};

/// A tally of these events.
pub(super) fn of(splits: Vec<Vec<Event>>, last: Vec<Event>, mishap: Mishap) -> Arc<dyn Scenario> {
    Arc::new(Tally { ends: MemoryEnds::new(splits, last), mishap })
}

struct Tally {
    ends: MemoryEnds<Event, Line>,
    mishap: Mishap,
}

/// What is given out for each record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    key: u64,
    split: Arc<str>,
    position: u64,
    value: u64,
    sums: Sums,
}

/// What a key's states hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    count: u64,
    sum: u64,
    /// There after each odd record.
    odd: bool,
    /// The length of a text that is as long as the sum says.
    text: usize,
}

impl Sums {
    fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum += value;
        self.odd = self.count % 2 == 1;
        self.text = text_length(self.sum);
    }
}

/// One in eight is longer than a small segment.
fn text_length(sum: u64) -> usize {
    if sum.is_multiple_of(8) { 700 } else { (sum % 5) as usize }
}

struct Process {
    count: ValueState<u64>,
    sum: ValueState<u64>,
    odd: ValueState<bool>,
    text: ValueState<String>,
    mishap: Mishap,
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Positioned<Event>;
    type Out = Line;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let Positioned { origin, value: (key, value) } = record;
        let mut sums = Sums {
            count: context.get(self.count).copied().unwrap_or_default(),
            sum: context.get(self.sum).copied().unwrap_or_default(),
            odd: context.get(self.odd).is_some(),
            text: context.get(self.text).map_or(0, String::len),
        };
        let line =
            Line { key, split: origin.split, position: origin.position, value, sums: sums.clone() };
        sums.add(value);
        context.set(self.count, sums.count);
        context.set(self.sum, sums.sum);
        if sums.odd {
            context.set(self.odd, true);
        } else {
            context.clear(self.odd);
        }
        if sums.text == 0 {
            context.clear(self.text);
        } else {
            context.set(self.text, "x".repeat(sums.text));
        }
        context.emit(line);
        Ok(())
    }
}

impl Scenario for Tally {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn memory_of_a_key(&self) -> u64 {
        // Most of it the text.
        1200
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        env.source_with_origin(self.ends.input.source())
            .uid("events")
            .key_by(|record| record.value.0)
            .process(move |states: &mut States| Process {
                count: states.value(ValueDescriptor::new("count")),
                sum: states.value(ValueDescriptor::new("sum")),
                odd: states.value(ValueDescriptor::new("odd")),
                text: states.value(ValueDescriptor::new("text")),
                mishap: mishap.clone(),
            })
            .uid("tally")
            .sink(self.ends.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.ends.sink.commits().map_err(|e| e.to_string())?;
        let lines = commits.iter().flat_map(|n| &all[*n].records);
        let mut keys: HashMap<u64, Sums> = HashMap::new();
        let mut last: HashMap<(u64, Arc<str>), u64> = HashMap::new();
        let mut number = 0;
        for line in lines {
            number += 1;
            let split: usize = line.split.parse().map_err(|e| format!("{e}"))?;
            let given =
                self.ends.input.splits().get(split).and_then(|s| s.get(line.position as usize));
            if given != Some(&(line.key, line.value)) {
                return Err(format!("{line:?} was never given"));
            }
            let sums = keys.entry(line.key).or_default();
            if line.sums != *sums {
                return Err(format!("{line:?}, the reference is {sums:?}"));
            }
            sums.add(line.value);
            let before = last.insert((line.key, Arc::clone(&line.split)), line.position);
            if before.is_some_and(|before| before >= line.position) {
                return Err(format!("{line:?} comes after position {before:?}"));
            }
        }
        // No two are of one position, so as many as there are records is each of them.
        let records = self.ends.input.before("events", positions).count();
        if number == records { Ok(()) } else { Err(format!("{number} of {records} records")) }
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let mut keys: BTreeMap<u64, Sums> = BTreeMap::new();
        for (key, value) in self.ends.input.before("events", state.positions) {
            keys.entry(*key).or_default().add(*value);
        }
        let odd = keys.iter().filter(|(_, sums)| sums.odd).map(|(key, _)| (key, true));
        let text = keys.iter().filter(|(_, sums)| sums.text > 0);
        state.compare("tally", "count", keys.iter().map(|(key, sums)| (key, sums.count)))?;
        state.compare("tally", "sum", keys.iter().map(|(key, sums)| (key, sums.sum)))?;
        state.compare("tally", "odd", odd)?;
        state.compare("tally", "text", text.map(|(key, sums)| (key, "x".repeat(sums.text))))
    }
}
