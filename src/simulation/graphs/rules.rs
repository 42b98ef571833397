//! Operator state of each kind: an operator without keys holds records back in a list and counts what it has
//! read in a union list; behind it a keyed operator has a broadcast map of rules, whose versions stand in the
//! output. What is held back and what has been counted is together what was read, and versions never go back. At
//! the end of input what is still held goes on, with a line that tells how often that end has come.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Event, Kind, events};
use crate::connector::MemorySink;
use crate::error::Result;
use crate::ids::SubtaskId;
use crate::operator::{
    BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess, OperatorContext,
    OperatorProcess,
};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, Inlet, Input, Outlet};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, States, UnionListDescriptor, UnionListState,
    ValueDescriptor, ValueState,
};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "rules",
    share: 12,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        let mut split = || -> Vec<Rule> {
            let records = random.random_range(0..40);
            (0..records).map(|version| (random.random_range(0..RULES), version)).collect()
        };
        let rules = vec![split(), split()];
        Arc::new(Rules {
            events: Input::new(splits, last),
            rules: Input::new(rules, Vec::new()),
            sink: MemorySink::new(),
            mishap,
        })
    },
};

const RULES: u64 = 3;

/// The key of what the end of input gives out; its value is how often it has come.
const END: u64 = u64::MAX;

/// Which rule, and its version.
type Rule = (u64, u64);

/// The greatest version that has come, and how many have.
type Known = (u64, u64);

struct Rules {
    events: Input<Event>,
    rules: Input<Rule>,
    sink: MemorySink<Line>,
    mishap: Mishap,
}

/// What is given out for each record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    key: u64,
    value: u64,
    /// The key's records before it, and the sum of their values.
    before: (u64, u64),
    /// What was known of the key's rule.
    rule: Known,
}

/// Holds records back until one comes whose value is a multiple of four.
struct Hold {
    held: OperatorListState<Event>,
    /// How many records of each split: more than one element may be a split's.
    read: UnionListState<(u64, u64)>,
    /// One for each subtask that has come to its end.
    ends: OperatorListState<u64>,
    mishap: Mishap,
}

impl Hold {
    fn new(states: &mut OperatorStates, mishap: Mishap) -> Self {
        let own = |all: Vec<(u64, u64)>, subtask: SubtaskId| {
            let is_own =
                |split: u64| split % u64::from(subtask.parallelism) == u64::from(subtask.index);
            all.into_iter().filter(|(split, _)| is_own(*split)).collect()
        };
        Self {
            held: states.list(OperatorListDescriptor::new("held")),
            read: states.union_list(UnionListDescriptor::new("read"), own),
            ends: states.list(OperatorListDescriptor::new("ends")),
            mishap,
        }
    }

    fn let_go(&self, context: &mut OperatorContext<'_, Self>) {
        if !context.get(self.held).is_empty() {
            let held = std::mem::take(context.get_mut(self.held));
            held.into_iter().for_each(|event| context.emit(event));
        }
    }
}

impl OperatorProcess for Hold {
    type In = Positioned<Event>;
    type Out = Event;

    fn process(&self, record: Self::In, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let split: u64 = record.origin.split.parse().unwrap_or(u64::MAX);
        let read = context.get_mut(self.read);
        match read.iter_mut().find(|(of, _)| *of == split) {
            Some((_, number)) => *number += 1,
            None => read.push((split, 1)),
        }
        context.get_mut(self.held).push(record.value);
        if record.value.1.is_multiple_of(4) {
            self.let_go(context);
        }
        Ok(())
    }

    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        self.let_go(context);
        let ends = context.get_mut(self.ends);
        ends.push(1);
        let ends = ends.len() as u64;
        context.emit((END, ends));
        Ok(())
    }
}

/// Adds up, and tells what is known of the key's rule.
struct Watch {
    sums: ValueState<(u64, u64)>,
    rules: BroadcastState<u64, Known>,
    mishap: Mishap,
}

impl KeyedBroadcastProcess for Watch {
    type Key = u64;
    type In = Event;
    type Broadcast = Rule;
    type Out = Line;

    fn process(
        &self,
        (key, value): Event,
        context: &mut KeyedBroadcastContext<'_, '_, Self>,
    ) -> Result<()> {
        self.mishap.pass()?;
        let rule = context.broadcast(self.rules).get(&(key % RULES)).copied().unwrap_or_default();
        let before = context.get(self.sums).copied().unwrap_or_default();
        context.set(self.sums, (before.0 + 1, before.1 + value));
        context.emit(Line { key, value, before, rule });
        Ok(())
    }

    fn process_broadcast(
        &self,
        rule: Rule,
        context: &mut BroadcastContext<'_, Self>,
    ) -> Result<()> {
        self.mishap.pass()?;
        learn(context.get_mut(self.rules), rule);
        Ok(())
    }
}

/// The order of versions does not matter.
fn learn(rules: &mut BTreeMap<u64, Known>, (rule, version): Rule) {
    let known = rules.entry(rule).or_default();
    *known = (known.0.max(version), known.1 + 1);
}

impl Rules {
    /// Of each key, the records before `positions` and the sum of their values.
    fn sums(&self, positions: &Positions) -> BTreeMap<u64, (u64, u64)> {
        let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        self.events.before("events", positions).for_each(|event| add(&mut sums, *event));
        sums
    }

    fn known(&self, positions: &Positions) -> BTreeMap<u64, Known> {
        let mut known = BTreeMap::new();
        self.rules.before("rules", positions).for_each(|rule| learn(&mut known, *rule));
        known
    }
}

fn add(sums: &mut BTreeMap<u64, (u64, u64)>, (key, value): Event) {
    let (count, sum) = sums.entry(key).or_default();
    (*count, *sum) = (*count + 1, *sum + value);
}

impl Scenario for Rules {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let (holding, watching) = (self.mishap.clone(), self.mishap.clone());
        let rules = env.source(self.rules.source()).uid("rules").broadcast();
        env.source_with_origin(self.events.source())
            .uid("events")
            .process(move |states: &mut OperatorStates| Hold::new(states, holding.clone()))
            .uid("hold")
            .key_by(|(key, _)| *key)
            .connect(rules)
            .process(move |states: &mut States, maps: &mut BroadcastStates| Watch {
                sums: states.value(ValueDescriptor::new("sums")),
                rules: maps.map(BroadcastDescriptor::new("known")),
                mishap: watching.clone(),
            })
            .uid("watch")
            .sink(self.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        self
    }

    /// Order is that of the keyed operator: what is held back changes subtasks with a rescale.
    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.sink.commits().map_err(|e| e.to_string())?;
        let (mut sums, mut rules) = (BTreeMap::new(), BTreeMap::<u64, Known>::new());
        let known = self.known(positions);
        for line in commits.iter().flat_map(|n| &all[*n].records) {
            if line.key == END && line.value != 1 {
                return Err(format!("a subtask's input has ended {} times", line.value));
            }
            let before = sums.get(&line.key).copied().unwrap_or_default();
            if line.before != before {
                return Err(format!("{line:?}, the reference is {before:?}"));
            }
            add(&mut sums, (line.key, line.value));
            let last = rules.insert(line.key, line.rule).unwrap_or_default();
            let most = known.get(&(line.key % RULES)).copied().unwrap_or_default();
            if line.rule.0 < last.0 || line.rule.1 < last.1 || line.rule.1 > most.1 {
                return Err(format!("{line:?} after {last:?}, in the end {most:?}"));
            }
        }
        sums.remove(&END);
        let expected = self.sums(positions);
        if sums == expected { Ok(()) } else { Err(format!("{sums:?}, not {expected:?}")) }
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let mut read: BTreeMap<u64, u64> = BTreeMap::new();
        for (split, number) in state.elements::<(u64, u64)>("hold", "read")?.concat() {
            *read.entry(split).or_default() += number;
        }
        for split in 0..self.events.splits().len() {
            let number = read.remove(&(split as u64)).unwrap_or_default();
            let before = state.positions.before("events", split);
            if number != before {
                return Err(format!("hold.read has {number} of the {before} records of {split}"));
            }
        }
        let held = state.elements::<Event>("hold", "held")?.concat();
        let mut left = self.sums(state.positions);
        for (key, value) in held {
            let sums = left.entry(key).or_default();
            let less = sums.0.checked_sub(1).zip(sums.1.checked_sub(value));
            *sums = less.ok_or_else(|| format!("hold.held has {:?} too often", (key, value)))?;
        }
        left.retain(|_, sums| *sums != (0, 0));
        for ends in state.elements::<u64>("hold", "ends")?.concat() {
            add(&mut left, (END, ends));
        }
        state.compare("watch", "sums", left.iter().map(|(key, sums)| (key, *sums)))?;
        let (known, maps) = (self.known(state.positions), state.elements("watch", "known")?);
        let found: BTreeMap<u64, Known> = maps.concat().into_iter().collect();
        if found == known && maps.iter().filter(|map| !map.is_empty()).count() <= 1 {
            return Ok(());
        }
        Err(format!("watch.known is {maps:?}, not {known:?}"))
    }
}

impl Ends for Rules {
    fn inlets(&self) -> Vec<(&str, &dyn Inlet)> {
        vec![("rules", &self.rules), ("events", &self.events)]
    }

    fn outlets(&self) -> Vec<&dyn Outlet> {
        vec![&self.sink]
    }
}
