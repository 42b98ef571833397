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
    pub(crate) bounds: Bounds,
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
};

const fn case(letter: &'static str, mistake: Mistake, explored: usize, bounds: Bounds) -> Case {
    Case { letter, mistake, explored, bounds }
}

/// All mistakes, those of the list first.
pub(crate) const CASES: &[Case] = &[
    case(
        "a",
        Mistake::ItemsUnconditional,
        20,
        Bounds { input: &[SET, SET], copies: 1, cleanings: 2, ..ALONE },
    ),
    case(
        "b",
        Mistake::SegmentsUnconditional,
        15,
        Bounds { input: &[SET, SET, SET], checkpoints: 4, copies: 1, ..ALONE },
    ),
    case("c", Mistake::ManifestsUnconditional, 12, Bounds { copies: 1, ..ALONE }),
    case("d", Mistake::HeadByAttempt, 16, Bounds { copies: 1, checkpoints: 2, ..ALONE }),
    case(
        "e",
        Mistake::VersionWithoutAttempt,
        16,
        Bounds { input: &[SET, SET], claims: 2, checkpoints: 2, cleanings: 1, ..ALONE },
    ),
    case(
        "f",
        Mistake::RealDeletes,
        20,
        Bounds { input: &[SET, DELETE], checkpoints: 3, copies: 1, cleanings: 2, ..ALONE },
    ),
    case(
        "g",
        Mistake::HorizonBeforeAnswer,
        17,
        Bounds { input: &[SET], checkpoints: 2, cleanings: 1, ..ALONE },
    ),
    case(
        "h",
        Mistake::EvictionBeforeAnswer,
        10,
        Bounds { input: &[SET, SET], checkpoints: 1, cleanings: 1, evictions: 1, ..ALONE },
    ),
    case(
        "i",
        Mistake::SegmentSlotsEarly,
        11,
        Bounds { input: &[SET, SET, SET], checkpoints: 3, cleanings: 1, ..ALONE },
    ),
    case("j", Mistake::ManifestSlotsEarly, 6, Bounds { checkpoints: 2, ..ALONE }),
    case(
        "k",
        Mistake::AbortedDropped,
        9,
        Bounds { input: &[SET], checkpoints: 2, aborts: 1, ..ALONE },
    ),
    case(
        "l",
        Mistake::CarriedUnanswered,
        9,
        Bounds { input: &[SET], checkpoints: 2, aborts: 1, ..ALONE },
    ),
    case(
        "m",
        Mistake::ManifestBeforeSegments,
        7,
        Bounds { input: &[SET], checkpoints: 1, ..ALONE },
    ),
    case(
        "n",
        Mistake::UncommittedMaterialised,
        4,
        Bounds { input: &[SET, SET], checkpoints: 3, cleanings: 2, aborts: 1, ..ALONE },
    ),
    case(
        "o",
        Mistake::RestartWithoutClaim,
        14,
        Bounds { input: &[SET, SET], claims: 2, checkpoints: 2, ..ALONE },
    ),
    case(
        "p",
        Mistake::MaterialisedToNewest,
        10,
        Bounds { input: &[SET, SET], cleanings: 2, retained: 2, ..ALONE },
    ),
    case(
        "q",
        Mistake::PinnedWithoutTombstone,
        21,
        Bounds { input: &[SET, DELETE], claims: 2, checkpoints: 4, cleanings: 2, ..ALONE },
    ),
    case("r", Mistake::MoveAborted, 12, Bounds { aborts: 1, checkpoints: 2, ..ALONE }),
    case(
        "s",
        Mistake::RetainedInManifest,
        19,
        Bounds { claims: 2, roll_backs: 1, retained: 2, checkpoints: 5, ..ALONE },
    ),
    case(
        "t",
        Mistake::RollBackKeepsHead,
        19,
        Bounds { claims: 2, roll_backs: 1, retained: 2, ..ALONE },
    ),
    case("u", Mistake::ClaimByNumber, 4, Bounds { claims: 2, ..ALONE }),
    case("v", Mistake::DecidedBeforeClaim, 13, Bounds { claims: 2, ..ALONE }),
    case(
        "w",
        Mistake::ClaimNotCompared,
        24,
        Bounds { input: &[SET, DELETE, Op::Set(1)], claims: 2, copies: 1, cleanings: 2, ..ALONE },
    ),
    case(
        "x",
        Mistake::ItemWhenAnswered,
        18,
        Bounds {
            input: &[SET, DELETE],
            checkpoints: 3,
            cleanings: 2,
            copies: 1,
            claims: 2,
            ..ALONE
        },
    ),
    case(
        "y",
        Mistake::NumberUsedAgain,
        13,
        Bounds { input: &[SET, SET], checkpoints: 2, aborts: 1, sinks: true, ..ALONE },
    ),
    case(
        "z",
        Mistake::TwoInOneSlot,
        11,
        Bounds { input: &[SET, Op::Set(1)], checkpoints: 1, small_segments: true, ..ALONE },
    ),
    case(
        "bb",
        Mistake::OwnCommittablesOnly,
        19,
        Bounds { input: &[SET], checkpoints: 2, sinks: true, ..ALONE },
    ),
    case("cc", Mistake::OlderSlotsUnknown, 29, Bounds { claims: 2, retained: 2, ..ALONE }),
    case(
        "dd",
        Mistake::RestoredThroughNewest,
        23,
        Bounds { input: &[SET, SET], claims: 2, retained: 2, roll_backs: 1, cleanings: 2, ..ALONE },
    ),
    case(
        "ee",
        Mistake::StaleReads,
        14,
        Bounds { input: &[SET, SET], checkpoints: 1, cleanings: 1, evictions: 1, ..ALONE },
    ),
    case(
        "ff",
        Mistake::TombstoneRemoved,
        21,
        Bounds { input: &[SET, DELETE], checkpoints: 3, copies: 1, cleanings: 2, ..ALONE },
    ),
    case(
        "first part",
        Mistake::FirstPartOnly,
        0,
        Bounds { input: &[SET], checkpoints: 1, two_parts: true, ..ALONE },
    ),
    case(
        "merged",
        Mistake::HorizonsMerged,
        0,
        Bounds { input: &[SET, Op::Set(1)], checkpoints: 2, cleanings: 1, rescale: true, ..ALONE },
    ),
    case(
        "old parts",
        Mistake::OldPartsReplayed,
        0,
        Bounds { input: &[SET, Op::Set(1), SET], claims: 2, cleanings: 1, rescale: true, ..ALONE },
    ),
    case(
        "reader: parts",
        Mistake::ReaderTrustsParts,
        0,
        Bounds { input: &[SET, SET, SET], two_parts: true, readers: 1, ..ALONE },
    ),
    case(
        "reader: segments",
        Mistake::ReaderTrustsSegments,
        0,
        Bounds { input: &[SET, SET, SET], checkpoints: 4, readers: 1, ..ALONE },
    ),
    case(
        "reader: items",
        Mistake::ReaderTrustsItems,
        0,
        Bounds { input: &[SET, SET], cleanings: 2, readers: 1, ..ALONE },
    ),
];
