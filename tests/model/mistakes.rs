//! The mistakes that the model makes on purpose, one at a time.

/// One way of getting the protocol wrong. The letters are those of `docs/correctness.md`; what has a
/// word in place of a letter lies beyond that list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mistake {
    /// a: no version condition on puts of items.
    ItemsUnconditional,
    /// b: … of segments.
    SegmentsUnconditional,
    /// c: … of manifests.
    ManifestsUnconditional,
    /// d: the head is compared by attempt only.
    HeadByAttempt,
    /// e: a version without the attempt.
    VersionWithoutAttempt,
    /// f: real deletes instead of tombstones.
    RealDeletes,
    /// g: the horizon passes an entry before its put is answered.
    HorizonBeforeAnswer,
    /// h: eviction before the answer.
    EvictionBeforeAnswer,
    /// i: segment slots are used again one checkpoint early.
    SegmentSlotsEarly,
    /// j: manifest slots are.
    ManifestSlotsEarly,
    /// k: an aborted checkpoint's segments are dropped.
    AbortedDropped,
    /// l: … carried before their puts are answered.
    CarriedUnanswered,
    /// m: the manifest is put before its segments are answered.
    ManifestBeforeSegments,
    /// n: an uncommitted value is materialised.
    UncommittedMaterialised,
    /// o: a restart in the process without a new attempt.
    RestartWithoutClaim,
    /// p: materialising to the newest instead of the oldest retained checkpoint.
    MaterialisedToNewest,
    /// q: the deletion of a pinned entry leaves no tombstone.
    PinnedWithoutTombstone,
    /// r: a move that was sent is aborted, its manifest's slot used again.
    MoveAborted,
    /// s: the list of retained checkpoints is the manifest's, not the head's.
    RetainedInManifest,
    /// t: a roll-back that numbers on from R without setting the head's checkpoint.
    RollBackKeepsHead,
    /// u: a claim whose answer was lost is taken for won by its number alone.
    ClaimByNumber,
    /// v: deciding from what was read before the claim.
    DecidedBeforeClaim,
    /// w: the attempt in the claim's answer is not compared.
    ClaimNotCompared,
    /// x: *has an item* is set when the put is answered, not when it is sent, and a checkpoint whose
    /// every change has been replaced is let go though it is being cleaned.
    ItemWhenAnswered,
    /// y: a checkpoint's number is used again after an abort.
    NumberUsedAgain,
    /// z: two segments of one checkpoint in one slot.
    TwoInOneSlot,
    /// aa: the hash of an item that is put is saved one barrier late.
    HashesLate,
    /// aa: the horizon is fixed when a checkpoint is acknowledged, not at its barrier.
    HorizonAtAck,
    /// aa: the hash of an entry from the log is taken for saved.
    ReplayedNoted,
    /// bb: a manifest names only its own interval's committables.
    OwnCommittablesOnly,
    /// cc: the slots of older retained manifests are unknown after a restart.
    OlderSlotsUnknown,
    /// dd: an older retained checkpoint is restored through the newest manifest.
    RestoredThroughNewest,
    /// ee: eventually consistent reads of items.
    StaleReads,
    /// ff: a tombstone is removed while an older put is still under way.
    TombstoneRemoved,
    /// The head moves once the first part of the manifest is answered.
    FirstPartOnly,
    /// The horizon of a merged range is the greatest of its parts', not each part's own.
    HorizonsMerged,
    /// A merged range replays every entry of its segments, those older than their items too, and a
    /// segment is dropped as soon as its own range is passed.
    OldPartsReplayed,
    /// An outside reader compares the version of a manifest's first part only.
    ReaderTrustsParts,
    /// An outside reader does not compare the version of a segment.
    ReaderTrustsSegments,
    /// An outside reader does not look at the head again after it has read an item.
    ReaderTrustsItems,
}
