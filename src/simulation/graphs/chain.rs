//! The oracle that needs no reference: each key has an accumulating checksum of its records, in its
//! state and in every line of its output, so that a reader of the output alone can verify all of it.
//!
//! A line holds the record, its number within the key, and the checksum after it; the first line of a
//! key begins with the key's own. A line that is lost, repeated, out of place or of a state that went
//! back breaks the chain of its key at the next one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Event, Kind, events};
use crate::connector::{MemorySink, Sink};
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::simulation::ends::{Ends, Inlet, Input, Outlet};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{States, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "chain",
    share: 14,
    draw: |random: &mut StdRng, mishap| {
        Arc::new(Chain { links: Links::draw(random, mishap), sink: MemorySink::new() })
    },
};

/// A key's records so far: how many, and the checksum of all.
type Link = (u64, u64);

/// What was ever given out, committed or not: (key, number, checksum).
type GivenOut = Arc<Mutex<HashMap<(u64, u64), Vec<u64>>>>;

struct Chain {
    links: Links,
    sink: MemorySink<Line>,
}

/// The job but for its sink, and what is to be expected of it.
pub(super) struct Links {
    input: Input<Event>,
    mishap: Mishap,
    given_out: GivenOut,
}

/// One line of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) link: Link,
}

/// Before a key's first record.
fn beginning(key: u64) -> Link {
    (0, xxh3_64(&key.to_le_bytes()))
}

fn after((number, checksum): Link, value: u64) -> Link {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    (number + 1, xxh3_64(&bytes))
}

/// Verifies an output by itself.
pub(super) fn verify<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Verdict {
    let mut keys: HashMap<u64, Link> = HashMap::new();
    for line in lines {
        let link = keys.entry(line.key).or_insert_with(|| beginning(line.key));
        *link = after(*link, line.value);
        if *link != line.link {
            return Err(format!("{line:?} breaks its key's chain, which says {link:?}"));
        }
    }
    Ok(())
}

struct Process {
    link: ValueState<Link>,
    mishap: Mishap,
    given_out: GivenOut,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Event;
    type Out = Line;

    fn process(&self, (key, value): Event, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let link = context.get(self.link).copied().unwrap_or_else(|| beginning(key));
        let link = after(link, value);
        context.set(self.link, link);
        let mut given_out = self.given_out.lock().unwrap_or_else(PoisonError::into_inner);
        given_out.entry((key, link.0)).or_default().push(link.1);
        context.emit(Line { key, value, link });
        Ok(())
    }
}

impl Scenario for Chain {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        self.links.graph(self.sink.clone())
    }

    fn ends(&self) -> &dyn Ends {
        self
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.sink.commits().map_err(|e| e.to_string())?;
        let lines: Vec<&Line> = commits.iter().flat_map(|n| &all[*n].records).collect();
        self.links.check_lines(&lines, positions)
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        self.links.check_state(state)
    }
}

impl Ends for Chain {
    fn inlets(&self) -> Vec<(&str, &dyn Inlet)> {
        vec![self.links.inlet()]
    }

    fn outlets(&self) -> Vec<&dyn Outlet> {
        vec![&self.sink]
    }
}

impl Links {
    pub(super) fn draw(random: &mut StdRng, mishap: Mishap) -> Self {
        let (splits, last) = events(random);
        Self { input: Input::new(splits, last), mishap, given_out: Arc::default() }
    }

    /// What its source reads, with that one's id.
    pub(super) fn inlet(&self) -> (&str, &dyn Inlet) {
        ("events", &self.input)
    }

    pub(super) fn graph(&self, sink: impl Sink<Line>) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let (mishap, given_out) = (self.mishap.clone(), Arc::clone(&self.given_out));
        env.source(self.input.source())
            .uid("events")
            .key_by(|(key, _)| *key)
            .process(move |states: &mut States| Process {
                link: states.value(ValueDescriptor::new("link")),
                mishap: mishap.clone(),
                given_out: Arc::clone(&given_out),
            })
            .uid("chain")
            .sink(sink);
        env.build()
    }

    /// Whether an output, in its order, is that of the records before `positions`.
    pub(super) fn check_lines(&self, lines: &[&Line], positions: &Positions) -> Verdict {
        verify(lines.iter().copied())?;
        // That its end is not cut off is the one thing that an output cannot tell by itself.
        let mut left: HashMap<Event, i64> = HashMap::new();
        self.input
            .before("events", positions)
            .for_each(|event| *left.entry(*event).or_default() += 1);
        lines.iter().for_each(|l| *left.entry((l.key, l.value)).or_default() -= 1);
        match left.into_iter().filter(|(_, n)| *n != 0).min() {
            None => Ok(()),
            Some((event, n)) => Err(format!("{event:?} is in the output {n} times too few")),
        }
    }

    /// The checksum depends on how splits were interleaved, so it is one that was given out.
    pub(super) fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for (key, _) in self.input.before("events", state.positions) {
            *counts.entry(*key).or_default() += 1;
        }
        if state.count("chain", "link") != counts.len() {
            return Err(format!("not {} keys", counts.len()));
        }
        let given_out = self.given_out.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, count) in counts {
            let link: Option<Link> = state.value("chain", "link", &key)?;
            let is_known =
                |(n, sum): &Link| given_out.get(&(key, *n)).is_some_and(|sums| sums.contains(sum));
            if link.map(|link| link.0) != Some(count) || !link.as_ref().is_some_and(is_known) {
                return Err(format!("key {key} is at {link:?} after {count} records"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let mut lines = Vec::new();
        for key in 0..3 {
            let mut link = beginning(key);
            for value in 0..5 {
                link = after(link, value);
                lines.push(Line { key, value, link });
            }
        }
        lines
    }

    #[test]
    fn every_loss_repetition_and_swap_breaks_the_chain() {
        assert_eq!(verify(&lines()), Ok(()));
        for at in [0, 1, 3, 6] {
            let mut lost = lines();
            lost.remove(at);
            assert!(verify(&lost).is_err(), "lost {at}");
            let mut twice = lines();
            twice.insert(at, twice[at]);
            assert!(verify(&twice).is_err(), "twice {at}");
            let mut swapped = lines();
            swapped.swap(at, at + 1);
            assert!(verify(&swapped).is_err(), "swapped {at}");
            let mut changed = lines();
            changed[at].value += 1;
            assert!(verify(&changed).is_err(), "changed {at}");
        }
    }
}
