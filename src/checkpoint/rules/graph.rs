//! Graphs as they are recorded, and whether a program can go on with what another version of it has left: what
//! restoring depends on, of two of them.
//!
//! Owns the reading of these texts, which `stream` writes, for whoever asks, and their comparison. Of which types states are, the
//! manifest tells later (`runtime`).
//!
//! What a checkpoint has for an operator (splits, states, committables) is found by the operator's id, and by the
//! state's name. So each of these must still be there, and be what it was. Functions without state have nothing in
//! a checkpoint, and at its barrier no record is between two operators: what is between them may change, and what
//! is new begins empty. That each operator with state still reads what it read keeps two of them from being taken
//! for one another, and so does the rule for derived ids, which are given out in the order of a graph.

use std::collections::{BTreeSet, HashMap};

use crate::checkpoint::head::{DEAD_LETTERS, DERIVED, INPUTS};
use crate::ids::Name;

/// One line of a recorded graph: `kind id [states] {name: kind} -> chain (derived) <- inputs`.
#[derive(Debug)]
struct Operator<'a> {
    kind: &'a str,
    id: &'a str,
    derived: bool,
    /// Its keyed states, where it is keyed.
    keyed: Option<Vec<&'a str>>,
    /// Its operator states and their kinds, where it can have any.
    unkeyed: Option<Vec<(&'a str, &'a str)>>,
    inputs: Vec<&'a str>,
}

impl<'a> Operator<'a> {
    fn of(line: &'a str) -> Self {
        let (own, inputs) = line.split_once(INPUTS).unwrap_or((line, ""));
        let between = |open, close| -> Option<Vec<&'a str>> {
            let (list, _) = own.split_once(open)?.1.split_once(close)?;
            Some(list.split(", ").filter(|name| !name.is_empty()).collect())
        };
        let mut words = own.split(' ');
        let pairs = |all: Vec<&'a str>| all.iter().filter_map(|s| s.split_once(": ")).collect();
        Self {
            kind: words.next().unwrap_or_default(),
            id: words.next().unwrap_or_default(),
            derived: own.ends_with(DERIVED),
            keyed: between('[', ']'),
            unkeyed: between('{', '}').map(pairs),
            inputs: inputs.split(", ").filter(|id| !id.is_empty()).collect(),
        }
    }

    /// Whether a checkpoint has something for it.
    fn is_bound(&self) -> bool {
        if self.keyed.is_none() && self.unkeyed.is_none() {
            return self.kind != "union";
        }
        self.keyed.iter().any(|states| !states.is_empty())
            || self.unkeyed.iter().any(|states| !states.is_empty())
    }

    /// What it is, as far as a checkpoint tells one from the other.
    fn class(&self) -> &'a str {
        match (&self.keyed, &self.unkeyed) {
            (Some(_), _) => "a keyed operator",
            (None, Some(_)) => "an operator without keys",
            (None, None) => match self.kind {
                "source" => "a source",
                "sink" => "a sink",
                other => other,
            },
        }
    }
}

/// A recorded graph, in its order.
struct Graph<'a> {
    operators: Vec<Operator<'a>>,
    by_id: HashMap<&'a str, usize>,
}

impl<'a> Graph<'a> {
    fn of(text: &'a str) -> Self {
        let operators: Vec<_> = text.lines().map(Operator::of).collect();
        let by_id = operators.iter().enumerate().map(|(at, operator)| (operator.id, at)).collect();
        Self { operators, by_id }
    }

    fn bound(&self) -> impl Iterator<Item = &Operator<'a>> {
        self.operators.iter().filter(|operator| operator.is_bound())
    }

    fn find(&self, id: &str) -> Option<&Operator<'a>> {
        self.by_id.get(id).map(|at| &self.operators[*at])
    }

    fn has(&self, id: &str) -> bool {
        self.find(id).is_some_and(Operator::is_bound)
    }

    /// Those of a kind in their order, after which derived ids are given out: what each is, where a checkpoint has
    /// something for it.
    fn order_of(&self, kind: &str) -> Vec<Option<&'a str>> {
        let of_kind = self.operators.iter().filter(|operator| operator.kind == kind);
        of_kind.map(|operator| operator.is_bound().then(|| operator.class())).collect()
    }

    /// The operators that a checkpoint has something for from which records come through `input`.
    fn upstream(&self, input: &str) -> BTreeSet<&'a str> {
        let (mut found, mut seen, mut ahead) = (BTreeSet::new(), BTreeSet::new(), vec![input]);
        while let Some(operator) = ahead.pop().and_then(|id| self.find(id)) {
            if seen.insert(operator.id) {
                found.extend(operator.is_bound().then_some(operator.id));
                ahead.extend(&operator.inputs);
            }
        }
        found
    }
}

/// The operators and keyed states that a graph names; what is no name is left out.
#[must_use]
pub fn states_in(graph: &str) -> Vec<(Name, Name)> {
    let states_of = |operator: Operator<'_>| -> Vec<(Name, Name)> {
        let id = Name::new(operator.id).ok();
        let states = operator.keyed.into_iter().flatten();
        states.filter_map(|state| Some((id.clone()?, Name::new(state).ok()?))).collect()
    };
    graph.lines().map(Operator::of).flat_map(states_of).collect()
}

/// What of a graph a job's state is bound to. Lines that cannot be read may go aside in one run and not in
/// another.
#[must_use]
pub fn bound_to(graph: &str) -> String {
    let lasts = |line: &&str| Operator::of(line).kind != DEAD_LETTERS;
    graph.lines().filter(lasts).map(|line| format!("{line}\n")).collect()
}

/// What the line of an operator says that it is: not what it reads, nor where its id comes from.
#[must_use]
pub fn name_of(line: &str) -> &str {
    let own = line.split(INPUTS).next().unwrap_or_default();
    own.strip_suffix(DERIVED).unwrap_or(own)
}

/// The ids of what the operator of a line reads, in order.
#[must_use]
pub fn inputs_of(line: &str) -> Vec<&str> {
    Operator::of(line).inputs
}

/// Whether a checkpoint of this graph, as it is recorded, has something for the operator, source or sink `id`.
#[must_use]
pub fn has_operator(graph: &str, id: &str) -> bool {
    Graph::of(graph).has(id)
}

/// Why the graph `given` cannot go on with a checkpoint of the one that is `recorded`; nothing where it can.
/// After a roll-back the checkpoint may be of before that graph: what is gone then, its manifest tells.
pub(super) fn differences(recorded: &str, given: &str, is_rolled_back: bool) -> Vec<String> {
    let is_wired = recorded.contains(INPUTS);
    let (recorded, given) = (Graph::of(recorded), Graph::of(given));
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for old in recorded.bound() {
        let Some(new) = given.find(old.id).filter(|new| new.is_bound()) else {
            if !is_rolled_back {
                found.push(format!("{} {} is gone", old.kind, old.id));
            }
            continue;
        };
        if old.class() != new.class() {
            found.push(format!("{} was {}, and is {}", old.id, old.class(), new.class()));
            continue;
        }
        let (before, now) = (recorded.order_of(old.kind), given.order_of(old.kind));
        if new.derived && before != now {
            let differ = match (before.len(), now.len()) {
                (before, now) if before == now => {
                    "others have state now than had before".to_owned()
                }
                (before, now) => format!("there were {before} and are {now}"),
            };
            found.push(format!(
                "the id {id} is derived from the order of {kind} operators, of which {differ}: where it is the \
                 recorded one, say so by .uid({id:?})",
                id = old.id,
                kind = old.kind,
            ));
        }
        if !is_rolled_back {
            found.extend(gone_states(old, new));
        }
        if is_wired {
            lost.extend(lost_inputs((&recorded, old), (&given, new)).map(|id| (old.id, id)));
        }
    }
    // What is behind one that has lost an input has lost it too.
    let is_first = |(operator, id): &&(&str, &str)| {
        let upstream = given.upstream(operator);
        !lost.iter().any(|(other, of)| of == id && other != operator && upstream.contains(other))
    };
    found.extend(lost.iter().filter(is_first).map(|(operator, id)| {
        format!(
            "operator {operator} does not read {id} any more, neither directly nor through others"
        )
    }));
    found
}

fn gone_states(old: &Operator<'_>, new: &Operator<'_>) -> Vec<String> {
    let keyed = old.keyed.iter().flatten();
    let keyed = keyed.filter(|state| !new.keyed.iter().flatten().any(|known| known == *state));
    let mut gone: Vec<_> =
        keyed.map(|state| format!("operator {}: state {state} is gone", old.id)).collect();
    for (state, kind) in old.unkeyed.iter().flatten() {
        match new.unkeyed.iter().flatten().find(|(known, _)| known == state) {
            Some((_, now)) if now == kind => {}
            Some((_, now)) => gone
                .push(format!("operator {}: state {state} was a {kind}, and is a {now}", old.id)),
            None => gone.push(format!("operator {}: {kind} {state} is gone", old.id)),
        }
    }
    gone
}

/// What an operator has read, directly or not, and reads no more, though it is still there.
fn lost_inputs<'a>(
    (recorded, old): (&Graph<'a>, &Operator<'a>),
    (given, new): (&Graph<'a>, &Operator<'a>),
) -> impl Iterator<Item = &'a str> {
    let now = new.inputs.iter().copied().map(Some).chain(std::iter::repeat(None));
    let pairs = old.inputs.iter().zip(now);
    pairs.flat_map(move |(before, now)| {
        let reads = now.map(|now| given.upstream(now)).unwrap_or_default();
        let lost = move |id: &&str| given.has(id) && !reads.contains(id);
        recorded.upstream(before).into_iter().filter(lost)
    })
}

#[cfg(test)]
mod tests;
