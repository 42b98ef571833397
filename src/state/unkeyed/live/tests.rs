//! Operator states saved, handed on and taken over.

use std::collections::BTreeMap;

use super::super::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, UnionListDescriptor, UnionListState,
};
use super::*;

const BUFFER: OperatorListDescriptor<String> = OperatorListDescriptor::new("buffer");
const COUNTS: UnionListDescriptor<(u32, u64)> = UnionListDescriptor::new("counts");
const RULES: BroadcastDescriptor<u32, String> = BroadcastDescriptor::new("rules");

fn subtask(index: u32, parallelism: u32) -> SubtaskId {
    SubtaskId { index, parallelism }
}

fn lists(at: SubtaskId) -> (OperatorListState<String>, UnionListState<(u32, u64)>, OperatorState) {
    let mut states = OperatorStates::new();
    let buffer = states.list(BUFFER);
    let counts = states.union_list(COUNTS, |all, subtask| {
        all.into_iter().filter(|(n, _)| n % subtask.parallelism == subtask.index).collect()
    });
    (buffer, counts, states.finish(at).unwrap())
}

fn maps(at: SubtaskId) -> (BroadcastState<u32, String>, OperatorState) {
    let mut states = BroadcastStates::new();
    let rules = states.map(RULES);
    (rules, states.finish(at).unwrap())
}

/// Of a manifest that says nothing of types.
fn as_declared(saved: Vec<SavedState>) -> Vec<RestoredState> {
    saved.into_iter().map(|saved| RestoredState { saved, encoding: None }).collect()
}

#[test]
fn lists_are_saved_whole_and_taken_over() {
    let (buffer, counts, mut state) = lists(subtask(0, 1));
    assert_eq!(state.freeze().unwrap(), [], "what is empty takes nothing");
    state.get_mut(buffer).extend(["a".to_owned(), String::new()]);
    state.get_mut(counts).extend([(0, 7), (1, 8), (2, 9)]);
    let saved = state.freeze().unwrap();
    assert_eq!(saved.len(), 2);
    assert_eq!(state.freeze().unwrap(), saved, "unchanged, it is saved as it was");

    let (buffer, counts, mut next) = lists(subtask(1, 2));
    next.restore(as_declared(saved.clone())).unwrap();
    assert_eq!(*next.get(buffer), ["a", ""]);
    assert_eq!(*next.get(counts), [(1, 8)], "the union list keeps what `own` says");
    // What was taken over is saved again, though nothing has changed since.
    let again = next.freeze().unwrap();
    assert_eq!(again[0], saved[0]);
    assert_eq!(again[1].elements.len(), 1);
    next.get_mut(buffer).clear();
    assert_eq!(next.freeze().unwrap().len(), 1);
}

thread_local! {
    static SERIALISED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[derive(serde::Deserialize)]
struct Counted(u8);

impl serde::Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SERIALISED.set(SERIALISED.get() + 1);
        self.0.serialize(serializer)
    }
}

#[test]
fn what_has_not_changed_is_not_serialised_again() {
    let mut states = OperatorStates::new();
    let list = states.list::<Counted>(OperatorListDescriptor::new("list"));
    let mut state = states.finish(subtask(0, 1)).unwrap();
    // It has looked how the type is written.
    SERIALISED.set(0);
    state.get_mut(list).extend([Counted(1), Counted(2)]);
    let saved = state.freeze().unwrap();
    assert_eq!(SERIALISED.get(), 2);
    let _ = state.get(list);
    assert_eq!(state.freeze().unwrap(), saved);
    assert_eq!(SERIALISED.get(), 2);
}

#[test]
fn a_broadcast_map_is_saved_by_the_first_subtask_alone() {
    let (rules, mut first) = maps(subtask(0, 2));
    let (same, mut second) = maps(subtask(1, 2));
    for (state, rules) in [(&mut first, rules), (&mut second, same)] {
        state.get_mut(rules).insert(2, "two".to_owned());
        state.get_mut(rules).insert(1, "one".to_owned());
    }
    assert_eq!(second.freeze().unwrap(), []);
    let saved = first.freeze().unwrap();
    let (rules, mut restored) = maps(subtask(2, 3));
    restored.restore(as_declared(saved)).unwrap();
    let expected = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
    assert_eq!(*restored.get(rules), expected);
}

#[test]
fn what_does_not_fit_the_program_is_an_error_that_names_it() {
    let (buffer, _, mut state) = lists(subtask(0, 1));
    state.get_mut(buffer).push("x".repeat(5));
    let saved = state.freeze().unwrap();

    let error = maps(subtask(0, 1)).1.restore(as_declared(saved.clone())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.message().contains("a list buffer"), "{error}");

    let of_another_kind = |mut saved: SavedState| {
        saved.kind = OperatorStateKind::Union;
        vec![saved]
    };
    let other = as_declared(of_another_kind(saved[0].clone()));
    let error = lists(subtask(0, 1)).2.restore(other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.message().contains("a union list buffer"), "{error}");

    let mut states = OperatorStates::new();
    states.list::<(u64, u64, u64)>(OperatorListDescriptor::new("buffer"));
    let error = states.finish(subtask(0, 1)).unwrap().restore(as_declared(saved)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("list buffer is of another type"), "{error}");
}

#[test]
fn a_handle_of_another_operator_is_a_panic_that_says_so() {
    let (buffer, ..) = lists(subtask(0, 1));
    let (_, state) = maps(subtask(0, 1));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = state.get(buffer);
    }));
    assert!(panic.is_err());
}
