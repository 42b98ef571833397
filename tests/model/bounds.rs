//! How much freedom the explored world has.

/// One record: what it does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Set(u8),
    Delete(u8),
}

impl Op {
    pub(crate) fn key(self) -> u8 {
        match self {
            Self::Set(key) | Self::Delete(key) => key,
        }
    }
}

/// The most keys; each has a key group of its own.
pub(crate) const KEYS: usize = 2;

/// How much of everything there may be. What is 0 or `false` does not happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The input, one split.
    pub(crate) input: &'static [Op],
    /// Claims that are sent, the first one's creation of the head included.
    pub(crate) claims: u8,
    /// The greatest number of a checkpoint.
    pub(crate) checkpoints: u8,
    /// Writes under way at the same time.
    pub(crate) in_flight: usize,
    /// Copies: of requests that are sent again since no answer came, or arrive twice.
    pub(crate) copies: u8,
    /// Checkpoints given up.
    pub(crate) aborts: u8,
    /// Cleanings of a checkpoint of a log.
    pub(crate) cleanings: u8,
    /// Entries that leave memory while they could stay.
    pub(crate) evictions: u8,
    /// Claims that go back to an older retained checkpoint.
    pub(crate) roll_backs: u8,
    /// `state.checkpoints.num-retained`.
    pub(crate) retained: u32,
    /// Manifests that name a segment have two parts.
    pub(crate) two_parts: bool,
    /// Each entry has a segment of its own.
    pub(crate) small_segments: bool,
    /// Attempts have one or two subtasks, as they like.
    pub(crate) rescale: bool,
    /// Output is staged and committed.
    pub(crate) sinks: bool,
    /// Reads from outside that begin.
    pub(crate) readers: u8,
    /// A restore is a step of its own after the claim, so that anything may happen in between.
    pub(crate) slow_restore: bool,
    /// An attempt that learns that it is fenced goes on all the same.
    pub(crate) ignores_fence: bool,
}

/// One key, no faults but other attempts and lateness.
pub(crate) const SMALL: Bounds = Bounds {
    input: &[Op::Set(0), Op::Set(0), Op::Delete(0)],
    claims: 2,
    checkpoints: 2,
    in_flight: 2,
    copies: 0,
    aborts: 0,
    cleanings: 1,
    evictions: 1,
    roll_backs: 0,
    retained: 1,
    two_parts: false,
    small_segments: false,
    rescale: false,
    sinks: false,
    readers: 0,
    slow_restore: false,
    ignores_fence: false,
};
