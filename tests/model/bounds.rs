//! How much freedom an explored world has, and the worlds that are explored whole.

use std::fmt;

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

/// The most entries: each key, and behind them a chunk of the filter for each key group.
pub(crate) const ENTRIES: usize = 2 * KEYS;

/// How much of everything there may be. What is 0 or `false` does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A filter tells which keys have an item; the others are not read.
    pub(crate) filter: bool,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in self.input {
            match op {
                Op::Set(key) => write!(f, "S{key} ")?,
                Op::Delete(key) => write!(f, "D{key} ")?,
            }
        }
        let Self { claims, checkpoints, in_flight, .. } = self;
        write!(f, "· {claims} claims · {checkpoints} checkpoints · {in_flight} in flight")?;
        let numbers = [
            (self.copies, "copies"),
            (self.aborts, "aborts"),
            (self.cleanings, "cleanings"),
            (self.evictions, "evictions"),
            (self.roll_backs, "roll-backs"),
            (self.retained as u8 - 1, "retained before the last"),
            (self.readers, "readers"),
        ];
        for (number, what) in numbers.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, " · {number} {what}")?;
        }
        let flags = [
            (self.two_parts, "two parts"),
            (self.small_segments, "small segments"),
            (self.rescale, "rescaling"),
            (self.sinks, "sinks"),
            (self.slow_restore, "slow restores"),
            (self.ignores_fence, "deaf to fences"),
            (self.filter, "a filter"),
        ];
        flags.into_iter().filter(|(is, _)| *is).try_for_each(|(_, what)| write!(f, " · {what}"))
    }
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
    filter: false,
};

/// A world that is explored whole, without any mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) name: &'static str,
    pub(crate) bounds: Bounds,
}

const fn space(name: &'static str, bounds: Bounds) -> Space {
    Space { name, bounds }
}

const SET: Op = Op::Set(0);
const DELETE: Op = Op::Delete(0);

/// Two attempts of a job with one key.
const ONE_KEY: Bounds = Bounds { copies: 1, ..SMALL };

/// Two keys, each in a key group of its own.
const TWO_KEYS: Bounds = Bounds { input: &[SET, Op::Set(1)], ..SMALL };

/// Explored by every run of the tests.
pub(crate) const SPACES: &[Space] = &[
    space("two attempts", Bounds { evictions: 0, ..SMALL }),
    space(
        "aborts",
        Bounds { input: &[SET], aborts: 1, sinks: true, cleanings: 0, evictions: 0, ..SMALL },
    ),
    space(
        "roll-back",
        Bounds {
            input: &[SET, SET],
            checkpoints: 3,
            in_flight: 1,
            evictions: 0,
            roll_backs: 1,
            retained: 2,
            ..SMALL
        },
    ),
    space("rescaling", Bounds { rescale: true, evictions: 0, ..TWO_KEYS }),
    space("a filter", Bounds { cleanings: 2, filter: true, input: &[SET, DELETE], ..SMALL }),
    space(
        "a filter and rescaling",
        Bounds { rescale: true, evictions: 0, cleanings: 2, filter: true, ..TWO_KEYS },
    ),
    space(
        "reader",
        Bounds {
            input: &[SET, SET],
            claims: 1,
            checkpoints: 4,
            cleanings: 2,
            evictions: 0,
            two_parts: true,
            readers: 1,
            ..SMALL
        },
    ),
];

/// Explored once: minutes each.
pub(crate) const LARGE_SPACES: &[Space] = &[
    space("one key, two attempts", Bounds { checkpoints: 3, cleanings: 2, ..ONE_KEY }),
    space(
        "one key, copies, an abort",
        Bounds { checkpoints: 3, in_flight: 3, aborts: 1, cleanings: 2, ..ONE_KEY },
    ),
    space(
        "created and deleted, copies",
        Bounds { input: &[SET, DELETE], checkpoints: 3, in_flight: 3, cleanings: 2, ..ONE_KEY },
    ),
    space(
        "created and deleted, three attempts",
        Bounds {
            input: &[SET, DELETE],
            claims: 3,
            checkpoints: 3,
            cleanings: 2,
            evictions: 0,
            ..ONE_KEY
        },
    ),
    space(
        "two keys, small segments, two parts",
        Bounds {
            input: &[SET, Op::Set(1), SET],
            checkpoints: 3,
            in_flight: 3,
            copies: 1,
            two_parts: true,
            small_segments: true,
            ..TWO_KEYS
        },
    ),
    space(
        "rescaling, two attempts",
        Bounds {
            input: &[SET, Op::Set(1), SET],
            checkpoints: 3,
            copies: 1,
            evictions: 0,
            rescale: true,
            ..TWO_KEYS
        },
    ),
    space(
        "rescaling, three attempts",
        Bounds { claims: 3, evictions: 0, rescale: true, ..TWO_KEYS },
    ),
    space(
        "roll-back, four checkpoints",
        Bounds {
            checkpoints: 4,
            copies: 0,
            cleanings: 2,
            evictions: 0,
            roll_backs: 1,
            retained: 2,
            ..ONE_KEY
        },
    ),
    space(
        "two roll-backs, three attempts",
        Bounds {
            input: &[SET, SET],
            claims: 3,
            checkpoints: 3,
            in_flight: 1,
            copies: 0,
            cleanings: 2,
            evictions: 0,
            roll_backs: 2,
            retained: 2,
            ..ONE_KEY
        },
    ),
    space(
        "sinks, two attempts, an abort",
        Bounds {
            input: &[SET, SET],
            checkpoints: 3,
            in_flight: 3,
            aborts: 1,
            cleanings: 0,
            evictions: 0,
            sinks: true,
            ..ONE_KEY
        },
    ),
    space(
        "sinks, three attempts",
        Bounds {
            input: &[SET, SET],
            claims: 3,
            copies: 0,
            aborts: 1,
            cleanings: 0,
            evictions: 0,
            sinks: true,
            ..ONE_KEY
        },
    ),
    space(
        "a reader beside two attempts",
        Bounds { checkpoints: 4, copies: 0, cleanings: 2, two_parts: true, readers: 1, ..ONE_KEY },
    ),
    space(
        "a reader and copies",
        Bounds {
            input: &[SET, SET, SET],
            claims: 1,
            checkpoints: 4,
            cleanings: 2,
            evictions: 0,
            two_parts: true,
            readers: 1,
            ..ONE_KEY
        },
    ),
    space(
        "a filter and a roll-back",
        Bounds {
            input: &[SET, SET],
            checkpoints: 3,
            cleanings: 3,
            evictions: 0,
            roll_backs: 1,
            retained: 2,
            filter: true,
            ..SMALL
        },
    ),
    space(
        "a filter with copies and an abort",
        Bounds {
            input: &[SET, DELETE],
            checkpoints: 3,
            aborts: 1,
            cleanings: 2,
            filter: true,
            ..ONE_KEY
        },
    ),
    space(
        "deaf to being fenced, slow to restore",
        Bounds {
            input: &[SET, DELETE],
            checkpoints: 3,
            in_flight: 3,
            cleanings: 2,
            evictions: 0,
            slow_restore: true,
            ignores_fence: true,
            ..ONE_KEY
        },
    ),
];
