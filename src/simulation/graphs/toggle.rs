//! One keyed operator with one state, which each second record of a key deletes: then nothing is left
//! of the key, neither in memory nor, once its tombstone has gone, in the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;

use super::{Event, Kind, events};
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{States, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "toggle",
    share: 18,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        Arc::new(Toggle { ends: MemoryEnds::new(splits, last), mishap })
    },
};

struct Toggle {
    ends: MemoryEnds<Event, Line>,
    mishap: Mishap,
}

/// A key, and whether its state was there.
type Line = (u64, bool);

struct Process {
    on: ValueState<bool>,
    mishap: Mishap,
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Event;
    type Out = Line;

    fn process(&self, (key, _): Event, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let on = context.get(self.on).is_some();
        if on {
            context.clear(self.on);
        } else {
            context.set(self.on, true);
        }
        context.emit((key, on));
        Ok(())
    }
}

impl Toggle {
    /// How many records each key has before `positions`.
    fn counts(&self, positions: &Positions) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for (key, _) in self.ends.input.before("events", positions) {
            *counts.entry(*key).or_default() += 1;
        }
        counts
    }
}

impl Scenario for Toggle {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        env.source(self.ends.input.source())
            .uid("events")
            .key_by(|(key, _)| *key)
            .process(move |states: &mut States| Process {
                on: states.value(ValueDescriptor::new("on")),
                mishap: mishap.clone(),
            })
            .uid("toggle")
            .sink(self.ends.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.ends.sink.commits().map_err(|e| e.to_string())?;
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for (key, on) in commits.iter().flat_map(|n| &all[*n].records) {
            let count = counts.entry(*key).or_default();
            if *on != (*count % 2 == 1) {
                return Err(format!("key {key} was on: {on} after {count} records"));
            }
            *count += 1;
        }
        let expected = self.counts(positions);
        if counts == expected { Ok(()) } else { Err(format!("{counts:?}, not {expected:?}")) }
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let counts = self.counts(state.positions);
        let on = counts.iter().filter(|(_, count)| *count % 2 == 1).map(|(key, _)| (key, true));
        state.compare("toggle", "on", on)
    }
}
