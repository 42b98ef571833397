//! Random courses of an operator's list, union list and broadcast map, over checkpoints that complete or are aborted
//! and restores at any parallelism, against plain vectors: what a barrier saw comes back, and nothing else. Each
//! checkpoint is what the bytes of its manifest say.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::{Attempt, CheckpointId, SubtaskId, Version};
use crate::state::unkeyed::{OperatorFormat, OperatorState, RestoredState};
use crate::state::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, UnionListDescriptor, UnionListState,
};

const MOST_SUBTASKS: u32 = 4;
/// As many as three seconds of a development build take.
const CASES: u32 = 800;

#[derive(Clone, Debug)]
enum Step {
    Push(usize, u16),
    /// The first elements of a subtask's list leave it.
    Drain(usize, usize),
    /// Of a union list a subtask adds elements of its own alone: `own` keeps them there.
    PushUnion(usize, u16),
    ClearUnion(usize),
    /// All subtasks are given the same.
    Rule(u8, Option<u16>),
    /// Whether the manifest records of which types the states are: older ones do not.
    Barrier(bool),
    Complete,
    Abort,
    Restore(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let subtask = || 0..MOST_SUBTASKS as usize;
    prop_oneof![
        6 => (subtask(), any::<u16>()).prop_map(|(subtask, n)| Step::Push(subtask, n)),
        2 => (subtask(), 1usize..4).prop_map(|(subtask, n)| Step::Drain(subtask, n)),
        4 => (subtask(), any::<u16>()).prop_map(|(subtask, n)| Step::PushUnion(subtask, n)),
        1 => subtask().prop_map(Step::ClearUnion),
        4 => (0u8..6, prop::option::of(any::<u16>())).prop_map(|(key, rule)| Step::Rule(key, rule)),
        5 => any::<bool>().prop_map(Step::Barrier),
        4 => Just(Step::Complete),
        1 => Just(Step::Abort),
        2 => (0usize..3, 1..=MOST_SUBTASKS).prop_map(|(which, to)| Step::Restore(which, to)),
    ]
}

/// What one subtask should have.
#[derive(Clone, Debug, Default, PartialEq)]
struct Plain {
    list: Vec<u16>,
    union: Vec<(u32, u16)>,
    rules: BTreeMap<u8, u16>,
}

/// One subtask of an operator of each kind.
struct Subtask {
    list: OperatorListState<u16>,
    /// Each element with the number whose remainder says whose it is.
    union: UnionListState<(u32, u16)>,
    rules: BroadcastState<u8, u16>,
    lists: OperatorState,
    maps: OperatorState,
}

impl Subtask {
    fn new(at: SubtaskId) -> Self {
        let mut lists = OperatorStates::new();
        let list = lists.list(OperatorListDescriptor::new("list"));
        let union = lists.union_list(UnionListDescriptor::new("union"), |all, at| {
            all.into_iter().filter(|(n, _)| n % at.parallelism == at.index).collect()
        });
        let mut maps = BroadcastStates::new();
        let rules = maps.map(BroadcastDescriptor::new("rules"));
        let (lists, maps) = (lists.finish(at).unwrap(), maps.finish(at).unwrap());
        Self { list, union, rules, lists, maps }
    }

    fn plain(&self) -> Plain {
        let rules = self.maps.get(self.rules).iter().map(|(key, rule)| (*key, *rule)).collect();
        Plain {
            list: self.lists.get(self.list).clone(),
            union: self.lists.get(self.union).clone(),
            rules,
        }
    }
}

/// A checkpoint's manifest as it is stored, and what each subtask had.
struct Checkpoint {
    parts: Vec<Bytes>,
    plain: Vec<Plain>,
}

/// What each of `parallelism` subtasks should go on with.
fn expected(plain: &[Plain], parallelism: u32) -> Vec<Plain> {
    let all: Vec<u16> = plain.iter().flat_map(|plain| plain.list.clone()).collect();
    let union: Vec<_> = plain.iter().flat_map(|plain| plain.union.clone()).collect();
    let parts = parallelism as usize;
    let one = |index: usize| Plain {
        list: match plain.len() == parts {
            true => plain[index].list.clone(),
            false => all[index * all.len() / parts..(index + 1) * all.len() / parts].to_vec(),
        },
        union: union.iter().filter(|(n, _)| *n as usize % parts == index).copied().collect(),
        rules: plain[0].rules.clone(),
    };
    (0..parts).map(one).collect()
}

fn restored(checkpoint: Option<&Checkpoint>, parallelism: u32) -> Vec<Subtask> {
    let subtask = |index| Subtask::new(SubtaskId { index, parallelism });
    let mut subtasks: Vec<Subtask> = (0..parallelism).map(subtask).collect();
    let Some(Checkpoint { parts, .. }) = checkpoint else { return subtasks };
    let Manifest { operator_states, operator_formats, .. } = Manifest::decode(parts).unwrap();
    for operator in &operator_states {
        let restored = |saved: SavedState| {
            let format =
                operator_formats.iter().find(|f| f.is_of(&operator.operator, &saved.state));
            RestoredState { saved, encoding: format.map(|format| format.encoding.clone()) }
        };
        for (subtask, share) in subtasks.iter_mut().zip(operator_state(operator, parallelism)) {
            let state = match operator.operator.as_str() {
                "lists" => &mut subtask.lists,
                _ => &mut subtask.maps,
            };
            state.restore(share.into_iter().map(restored).collect()).unwrap();
        }
    }
    subtasks
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// What a manifest records of all states.
static FORMATS: LazyLock<Vec<OperatorFormat>> = LazyLock::new(|| {
    let Subtask { lists, maps, .. } = Subtask::new(SubtaskId { index: 0, parallelism: 1 });
    let of = |operator: &str, states: &OperatorState| -> Vec<OperatorFormat> {
        let declared = states.declared();
        declared.iter().map(|state| OperatorFormat::of(&name(operator), state)).collect()
    };
    [of("lists", &lists), of("maps", &maps)].concat()
});

fn barrier(subtasks: &mut [Subtask], plain: &[Plain], recorded: bool) -> Checkpoint {
    let lists = subtasks.iter_mut().map(|subtask| subtask.lists.freeze().unwrap()).collect();
    let maps = subtasks.iter_mut().map(|subtask| subtask.maps.freeze().unwrap()).collect();
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let manifest = Manifest {
        operator_states: vec![
            SavedOperator { operator: name("lists"), subtasks: lists },
            SavedOperator { operator: name("maps"), subtasks: maps },
        ],
        operator_formats: if recorded { FORMATS.clone() } else { Vec::new() },
        ..Manifest::empty(version)
    };
    Checkpoint { parts: manifest.encode().unwrap(), plain: plain.to_vec() }
}

fn check(steps: &[Step]) {
    let mut subtasks = restored(None, 2);
    let mut plain = vec![Plain::default(); 2];
    let (mut under_way, mut retained) = (None, Vec::<Checkpoint>::new());
    for step in steps {
        let of = |subtask: &usize, plain: &[Plain]| subtask % plain.len();
        match step {
            Step::Push(subtask, n) => {
                let i = of(subtask, &plain);
                let list = subtasks[i].list;
                subtasks[i].lists.get_mut(list).push(*n);
                plain[i].list.push(*n);
            }
            Step::Drain(subtask, n) => {
                let i = of(subtask, &plain);
                let (list, n) = (subtasks[i].list, plain[i].list.len().min(*n));
                subtasks[i].lists.get_mut(list).drain(..n);
                plain[i].list.drain(..n);
            }
            Step::PushUnion(subtask, n) => {
                let i = of(subtask, &plain);
                let (union, element) = (subtasks[i].union, (i as u32 + plain.len() as u32, *n));
                subtasks[i].lists.get_mut(union).push(element);
                plain[i].union.push(element);
            }
            Step::ClearUnion(subtask) => {
                let i = of(subtask, &plain);
                let union = subtasks[i].union;
                subtasks[i].lists.get_mut(union).clear();
                plain[i].union.clear();
            }
            Step::Rule(key, rule) => {
                for (subtask, plain) in subtasks.iter_mut().zip(&mut plain) {
                    let rules = subtask.maps.get_mut(subtask.rules);
                    match rule {
                        Some(rule) => {
                            rules.insert(*key, *rule);
                            plain.rules.insert(*key, *rule);
                        }
                        None => {
                            rules.remove(key);
                            plain.rules.remove(key);
                        }
                    }
                }
            }
            Step::Barrier(recorded) => under_way = Some(barrier(&mut subtasks, &plain, *recorded)),
            Step::Complete => retained.extend(under_way.take()),
            // What it has is in the next one.
            Step::Abort => under_way = None,
            Step::Restore(which, parallelism) => {
                under_way = None;
                retained.truncate(retained.len().saturating_sub(*which).max(1));
                subtasks = restored(retained.last(), *parallelism);
                plain = match retained.last() {
                    Some(checkpoint) => expected(&checkpoint.plain, *parallelism),
                    None => vec![Plain::default(); *parallelism as usize],
                };
            }
        }
        let found: Vec<Plain> = subtasks.iter().map(Subtask::plain).collect();
        assert_eq!(found, plain, "after {step:?}");
    }
    // All of what is there now survives one more checkpoint, at another parallelism too.
    for parallelism in 1..=MOST_SUBTASKS {
        let last = barrier(&mut subtasks, &plain, parallelism % 2 == 0);
        let subtasks = restored(Some(&last), parallelism);
        let found: Vec<Plain> = subtasks.iter().map(Subtask::plain).collect();
        assert_eq!(found, expected(&plain, parallelism), "on {parallelism}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_operators_states_equal_the_model(steps in prop::collection::vec(step(), 1..40)) {
        check(&steps);
    }
}

/// The course of a job that would notice each of these faults.
#[cfg(debug_assertions)]
#[test]
fn what_is_wrong_with_operator_state_is_found() {
    for recorded in [false, true] {
        let steps = [
            Step::Push(0, 1),
            Step::Push(1, 2),
            Step::PushUnion(1, 3),
            Step::Rule(1, Some(4)),
            Step::Barrier(recorded),
            Step::Complete,
            Step::Push(0, 5),
            Step::Barrier(recorded),
            Step::Complete,
            Step::Restore(0, 3),
        ];
        check(&steps);
        for tooth in [
            Tooth::OperatorChangeNotNoted,
            Tooth::BroadcastUnsaved,
            Tooth::UnionDealtOut,
            Tooth::ListDealtTwice,
        ] {
            let with = || crate::teeth::with(tooth, || check(&steps));
            assert!(std::panic::catch_unwind(with).is_err(), "{tooth:?}");
        }
    }
}
