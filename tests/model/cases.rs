//! For each mistake the freedom that shows it: the least that was found to be enough, so that the
//! shortest run is found in little time.

use crate::bounds::{Bounds, Op};
use crate::mistakes::Mistake;

/// One mistake and where it is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) letter: &'static str,
    pub(crate) mistake: Mistake,
    /// The length of the shortest run that shows it in the exploration that the design rests on; 0
    /// where it was not looked at there.
    pub(crate) explored: usize,
    /// The length of the shortest run here: it counts what is a step in this model.
    pub(crate) steps: usize,
    pub(crate) bounds: Bounds,
    /// Whether it is looked for without optimisation too.
    pub(crate) quick: bool,
}

const SET: Op = Op::Set(0);
const DELETE: Op = Op::Delete(0);

/// One process that takes checkpoints of nothing.
const ALONE: Bounds = Bounds {
    input: &[],
    claims: 1,
    checkpoints: 3,
    in_flight: 2,
    copies: 0,
    aborts: 0,
    cleanings: 0,
    evictions: 0,
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

const fn slow(
    letter: &'static str,
    mistake: Mistake,
    (explored, steps): (usize, usize),
    bounds: Bounds,
) -> Case {
    Case { letter, mistake, explored, steps, bounds, quick: false }
}

const fn quick(
    letter: &'static str,
    mistake: Mistake,
    lengths: (usize, usize),
    bounds: Bounds,
) -> Case {
    Case { quick: true, ..slow(letter, mistake, lengths, bounds) }
}

/// All mistakes, those of the list first.
pub(crate) const CASES: &[Case] = &[
    quick(
        "a",
        Mistake::ItemsUnconditional,
        (20, 21),
        Bounds { input: &[SET, SET], copies: 1, cleanings: 2, ..ALONE },
    ),
    quick(
        "b",
        Mistake::SegmentsUnconditional,
        (15, 22),
        Bounds { input: &[SET, SET, SET], checkpoints: 4, copies: 1, ..ALONE },
    ),
    quick("c", Mistake::ManifestsUnconditional, (12, 13), Bounds { copies: 1, ..ALONE }),
    quick("d", Mistake::HeadByAttempt, (16, 10), Bounds { copies: 1, checkpoints: 2, ..ALONE }),
    quick(
        "e",
        Mistake::VersionWithoutAttempt,
        (16, 13),
        Bounds { input: &[SET, SET], claims: 2, checkpoints: 2, cleanings: 1, ..ALONE },
    ),
    quick(
        "f",
        Mistake::RealDeletes,
        (20, 21),
        Bounds { input: &[SET, DELETE], checkpoints: 3, copies: 1, cleanings: 2, ..ALONE },
    ),
    quick(
        "g",
        Mistake::HorizonBeforeAnswer,
        (17, 11),
        Bounds { input: &[SET], checkpoints: 2, cleanings: 1, ..ALONE },
    ),
    quick(
        "h",
        Mistake::EvictionBeforeAnswer,
        (10, 10),
        Bounds { input: &[SET, SET], checkpoints: 1, cleanings: 1, evictions: 1, ..ALONE },
    ),
    quick(
        "i",
        Mistake::SegmentSlotsEarly,
        (11, 12),
        Bounds { input: &[SET, SET, SET], checkpoints: 3, cleanings: 1, ..ALONE },
    ),
    quick("j", Mistake::ManifestSlotsEarly, (6, 7), Bounds { checkpoints: 2, ..ALONE }),
    quick(
        "k",
        Mistake::AbortedDropped,
        (9, 8),
        Bounds { input: &[SET], checkpoints: 2, aborts: 1, ..ALONE },
    ),
    quick(
        "l",
        Mistake::CarriedUnanswered,
        (9, 8),
        Bounds { input: &[SET], checkpoints: 2, aborts: 1, ..ALONE },
    ),
    quick(
        "m",
        Mistake::ManifestBeforeSegments,
        (7, 6),
        Bounds { input: &[SET], checkpoints: 1, ..ALONE },
    ),
    quick(
        "n",
        Mistake::UncommittedMaterialised,
        (4, 15),
        Bounds { input: &[SET, SET], checkpoints: 3, cleanings: 2, aborts: 1, ..ALONE },
    ),
    quick(
        "o",
        Mistake::RestartWithoutClaim,
        (14, 12),
        Bounds { input: &[SET, SET], claims: 2, checkpoints: 2, ..ALONE },
    ),
    quick(
        "p",
        Mistake::MaterialisedToNewest,
        (10, 19),
        Bounds { input: &[SET, SET], cleanings: 2, retained: 2, ..ALONE },
    ),
    slow(
        "q",
        Mistake::PinnedWithoutTombstone,
        (21, 20),
        Bounds { input: &[SET, DELETE], claims: 2, checkpoints: 4, cleanings: 2, ..ALONE },
    ),
    quick("r", Mistake::MoveAborted, (12, 8), Bounds { aborts: 1, checkpoints: 2, ..ALONE }),
    quick(
        "s",
        Mistake::RetainedInManifest,
        (19, 15),
        Bounds { claims: 2, roll_backs: 1, retained: 2, checkpoints: 5, ..ALONE },
    ),
    quick(
        "t",
        Mistake::RollBackKeepsHead,
        (19, 13),
        Bounds { claims: 2, roll_backs: 1, retained: 2, ..ALONE },
    ),
    quick("u", Mistake::ClaimByNumber, (4, 4), Bounds { claims: 2, ..ALONE }),
    quick("v", Mistake::DecidedBeforeClaim, (13, 7), Bounds { claims: 2, ..ALONE }),
    slow(
        "w",
        Mistake::ClaimNotCompared,
        (24, 24),
        Bounds { input: &[SET, DELETE, Op::Set(1)], claims: 2, copies: 1, cleanings: 2, ..ALONE },
    ),
    slow(
        "x",
        Mistake::ItemWhenAnswered,
        (18, 18),
        Bounds {
            input: &[SET, DELETE],
            checkpoints: 3,
            cleanings: 2,
            copies: 1,
            claims: 2,
            ..ALONE
        },
    ),
    quick(
        "y",
        Mistake::NumberUsedAgain,
        (13, 11),
        Bounds { input: &[SET, SET], checkpoints: 2, aborts: 1, sinks: true, ..ALONE },
    ),
    quick(
        "z",
        Mistake::TwoInOneSlot,
        (11, 9),
        Bounds { input: &[SET, Op::Set(1)], checkpoints: 1, small_segments: true, ..ALONE },
    ),
    quick(
        "aa",
        Mistake::HashesLate,
        (18, 12),
        Bounds { input: &[SET], checkpoints: 2, cleanings: 1, filter: true, ..ALONE },
    ),
    quick(
        "aa: horizon",
        Mistake::HorizonAtAck,
        (0, 14),
        Bounds { input: &[SET, Op::Set(1)], checkpoints: 2, cleanings: 1, filter: true, ..ALONE },
    ),
    quick(
        "aa: replayed",
        Mistake::ReplayedNoted,
        (0, 14),
        Bounds { input: &[SET], claims: 2, cleanings: 1, filter: true, ..ALONE },
    ),
    quick(
        "bb",
        Mistake::OwnCommittablesOnly,
        (19, 10),
        Bounds { input: &[SET], checkpoints: 2, sinks: true, ..ALONE },
    ),
    quick("cc", Mistake::OlderSlotsUnknown, (29, 12), Bounds { claims: 2, retained: 2, ..ALONE }),
    quick(
        "dd",
        Mistake::RestoredThroughNewest,
        (23, 15),
        Bounds { input: &[SET, SET], claims: 2, retained: 2, roll_backs: 1, cleanings: 2, ..ALONE },
    ),
    quick(
        "ee",
        Mistake::StaleReads,
        (14, 11),
        Bounds { input: &[SET, SET], checkpoints: 1, cleanings: 1, evictions: 1, ..ALONE },
    ),
    quick(
        "ff",
        Mistake::TombstoneRemoved,
        (21, 22),
        Bounds { input: &[SET, DELETE], checkpoints: 3, copies: 1, cleanings: 2, ..ALONE },
    ),
    quick(
        "first part",
        Mistake::FirstPartOnly,
        (0, 7),
        Bounds { input: &[SET], checkpoints: 1, two_parts: true, ..ALONE },
    ),
    quick(
        "merged",
        Mistake::HorizonsMerged,
        (0, 10),
        Bounds { input: &[SET, Op::Set(1)], checkpoints: 2, cleanings: 1, rescale: true, ..ALONE },
    ),
    slow(
        "old parts",
        Mistake::OldPartsReplayed,
        (0, 20),
        Bounds { input: &[SET, Op::Set(1), SET], claims: 2, cleanings: 1, rescale: true, ..ALONE },
    ),
    quick(
        "reader: parts",
        Mistake::ReaderTrustsParts,
        (0, 20),
        Bounds { input: &[SET, SET, SET], two_parts: true, readers: 1, ..ALONE },
    ),
    quick(
        "reader: segments",
        Mistake::ReaderTrustsSegments,
        (0, 21),
        Bounds { input: &[SET, SET, SET], checkpoints: 4, readers: 1, ..ALONE },
    ),
    quick(
        "reader: items",
        Mistake::ReaderTrustsItems,
        (0, 23),
        Bounds { input: &[SET, SET], cleanings: 2, readers: 1, ..ALONE },
    ),
];
