//! One keyed operator with some hot keys among many cold ones: with a cache for a few of them, cold ones leave
//! memory again and again and are read back, some to be looked at only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use super::{Event, Kind};
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{States, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "cold",
    share: 19,
    draw: |random: &mut StdRng, mishap| {
        let (splits, hot) = (random.random_range(1..=3), random.random_range(1..=4));
        let cold = random.random_range(20..=300);
        let mut event = || -> Event {
            let is_hot = random.random_bool(0.6);
            let key = random.random_range(0..if is_hot { hot } else { cold });
            (key, random.random_range(0..100))
        };
        let splits: Vec<Vec<Event>> =
            (0..splits).map(|_| (0..150).map(|_| event()).collect()).collect();
        // Each key once more: what was restored or read last is looked at.
        let last = (0..cold).map(|key| (key, 1)).collect();
        Arc::new(Cold { ends: MemoryEnds::new(splits, last), mishap })
    },
};

/// Records of such values only look.
fn only_looks(value: u64) -> bool {
    value.is_multiple_of(4)
}

struct Cold {
    ends: MemoryEnds<Event, Line>,
    mishap: Mishap,
}

/// Number of the values that a key has kept, and their sum.
type Kept = (u64, u64);

/// Key, value, and what was kept before.
type Line = (u64, u64, Kept);

struct Process {
    kept: ValueState<Kept>,
    mishap: Mishap,
}

fn after((count, sum): Kept, value: u64) -> Kept {
    if only_looks(value) { (count, sum) } else { (count + 1, sum + value) }
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Event;
    type Out = Line;

    fn process(&self, (key, value): Event, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let kept = context.get(self.kept).copied().unwrap_or_default();
        if !only_looks(value) {
            context.set(self.kept, after(kept, value));
        }
        context.emit((key, value, kept));
        Ok(())
    }
}

impl Scenario for Cold {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn memory_of_a_key(&self) -> u64 {
        200
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        env.source(self.ends.input.source())
            .uid("events")
            .key_by(|(key, _)| *key)
            .process(move |states: &mut States| Process {
                kept: states.value(ValueDescriptor::new("kept")),
                mishap: mishap.clone(),
            })
            .uid("cold")
            .sink(self.ends.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.ends.sink.commits().map_err(|e| e.to_string())?;
        let mut keys: HashMap<u64, Kept> = HashMap::new();
        let mut events: Vec<Event> = Vec::new();
        for line @ (key, value, before) in commits.iter().flat_map(|n| &all[*n].records) {
            let kept = keys.entry(*key).or_default();
            if kept != before {
                return Err(format!("{line:?}, the reference is {kept:?}"));
            }
            *kept = after(*kept, *value);
            events.push((*key, *value));
        }
        let mut given: Vec<Event> = self.ends.input.before("events", positions).copied().collect();
        given.sort_unstable();
        events.sort_unstable();
        if events == given { Ok(()) } else { Err(format!("{} of {}", events.len(), given.len())) }
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let mut keys: BTreeMap<u64, Kept> = BTreeMap::new();
        for (key, value) in self.ends.input.before("events", state.positions) {
            let kept = keys.entry(*key).or_default();
            *kept = after(*kept, *value);
        }
        let kept = keys.iter().filter(|(_, kept)| kept.0 > 0);
        state.compare("cold", "kept", kept.map(|(key, kept)| (key, *kept)))
    }
}
