//! What may happen to a random job, drawn.

use proptest::prelude::*;

use super::super::acts::{Act, act};

/// Of so many keys records have one.
pub(super) const KEYS: u16 = 16;

/// One record: its key, what is done for it, and its time: how late it is, and once it is given, when it was.
pub(super) type Record = (u16, Vec<Act>, u64);
/// No record is later.
pub(in crate::state::keyed::tests) const LATENESS_MS: u64 = 20;

#[derive(Clone, Debug)]
pub(in crate::state::keyed::tests) enum Step {
    Batch(Vec<Record>),
    /// Time, in milliseconds.
    Pass(u64),
    /// So many reads of each subtask are answered, as the table was when they were sent.
    Answer(usize),
    Barrier {
        skipped: u64,
    },
    Slice(usize),
    Complete,
    Abort,
    Clean {
        subtask: usize,
        entries: usize,
    },
    Put(usize),
    /// A checkpoint, and everything cleaned after it.
    Settle,
    LatePut(usize),
    Evict(u32),
    /// A filter's chunks are read, or what was read is taken over.
    Filter(usize),
    Restore {
        which: usize,
        parallelism: u32,
    },
}

pub(in crate::state::keyed::tests) fn step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![2 => Just(0), 1 => 0..=LATENESS_MS];
    let record = (0..KEYS, prop::collection::vec(act(), 1..4), late);
    prop_oneof![
        6 => prop::collection::vec(record, 1..5).prop_map(Step::Batch),
        2 => (1u64..40).prop_map(Step::Pass),
        2 => (1usize..4).prop_map(Step::Answer),
        3 => prop_oneof![4 => Just(0), 1 => 1..3u64].prop_map(|skipped| Step::Barrier { skipped }),
        2 => (1usize..4).prop_map(Step::Slice),
        5 => Just(Step::Complete),
        1 => Just(Step::Abort),
        6 => (0usize..3, 1usize..8).prop_map(|(subtask, entries)| Step::Clean { subtask, entries }),
        4 => (1usize..6).prop_map(Step::Put),
        1 => (0usize..8).prop_map(Step::LatePut),
        4 => Just(Step::Settle),
        2 => (1u32..12).prop_map(Step::Evict),
        4 => (0usize..3).prop_map(Step::Filter),
        2 => (0usize..3, 1u32..4)
            .prop_map(|(which, parallelism)| Step::Restore { which, parallelism }),
    ]
}
