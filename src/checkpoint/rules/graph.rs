//! Whether a program can go on with what another version of it has left: what restoring depends on, of two graphs
//! as they are recorded.
//!
//! Owns the reading of these texts, which `stream` writes, and their comparison. Of which types states are, the
//! manifest tells later (`runtime`).
//!
//! What a checkpoint has for an operator (splits, states, committables) is found by the operator's id, and by the
//! state's name. So each of these must still be there, and be what it was. Functions without state have nothing in
//! a checkpoint, and at its barrier no record is between two operators: what is between them may change, and what
//! is new begins empty. That each operator with state still reads what it read keeps two of them from being taken
//! for one another, and so does the rule for derived ids, which are given out in the order of a graph.

use std::collections::{BTreeSet, HashMap};

use crate::checkpoint::head::{DERIVED, INPUTS};

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

    fn count(&self, kind: &str) -> usize {
        self.operators.iter().filter(|operator| operator.kind == kind).count()
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
        let (before, now) = (recorded.count(old.kind), given.count(old.kind));
        if new.derived && before != now {
            found.push(format!(
                "the id {id} is derived from the order of {kind} operators, of which there were {before} and \
                 are {now}: where it is the recorded one, say so by .uid({id:?})",
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
