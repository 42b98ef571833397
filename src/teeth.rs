//! Mutations, kept for good: deliberate faults, the engine's protections taken away one at a time, to see that the tests bite.
//!
//! A test switches a [`Tooth`] on for its own thread by [`with`], and a simulation, which runs on one
//! thread, must then find something wrong. Owns the list and the switch; each fault stands where the
//! protection does. Without debug assertions [`bites`] is the constant `false` and [`with`] does not
//! exist: a release build has neither the branches nor the faults, unless the feature `teeth` asks for
//! them.

#[cfg(any(debug_assertions, feature = "teeth"))]
use std::cell::Cell;

macro_rules! teeth {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A deliberate fault. Letters are those of the list of mistakes in `docs/correctness.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Tooth {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Tooth {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// What is wrong with it on.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii_start(),)+
                }
            }
        }
    };
}

teeth! {
    /// a: items are put without a condition on their version.
    ItemsUnconditional,
    /// b: segments are put without a condition on their version.
    SegmentsUnconditional,
    /// c: manifests are put without a condition on their version.
    ManifestsUnconditional,
    /// d: the head moves where the attempt is mine, whatever its checkpoint.
    HeadByAttempt,
    /// e: versions do not tell attempts apart.
    VersionWithoutAttempt,
    /// f: deletions remove the item instead of leaving a tombstone.
    ItemsDeleted,
    /// g: the horizon passes entries whose puts are sent and not answered.
    HorizonBeforeAnswer,
    /// h: an entry leaves memory when its put is sent, answered or not.
    EvictedBeforeAnswer,
    /// h: a row that holds nothing is given away before its deletion is in the log or the table.
    EmptyRowForgotten,
    /// i: segment slots that the next checkpoint will not name are free before the head has moved.
    SegmentSlotsEarly,
    /// i: segment slots that only older retained checkpoints name are free.
    OlderSlotsFree,
    /// j: a manifest's slot is free while the head still names it.
    ManifestSlotsEarly,
    /// k: an aborted checkpoint's segments are dropped.
    AbortedSegmentsDropped,
    /// l: an acknowledgement does not wait for the aborted checkpoint's segments that it must carry.
    CarriedUnanswered,
    /// m: a segment is named as soon as its put is sent.
    SegmentUnanswered,
    /// n: what no checkpoint has committed yet is materialised.
    UncommittedMaterialised,
    /// o: a restart in the process goes on in the same attempt.
    SameAttemptAgain,
    /// p: what is newer than the oldest retained checkpoint is materialised.
    MaterialisedToNewest,
    /// q: the deletion of an entry from the log needs no tombstone.
    PinnedWithoutTombstone,
    /// r: a move whose answer is lost is taken for a failure: the checkpoint is given up and its
    /// manifest's slot is free.
    SentMoveAborted,
    /// s: a roll-back leaves the head's list of retained checkpoints as it was.
    RollBackKeepsList,
    /// t: a roll-back leaves the head's checkpoint as it was.
    RollBackKeepsNumber,
    /// u: a claim is won where the head shows its number.
    ClaimedByNumber,
    /// v: a claim writes back the checkpoint that was read before it.
    ClaimedFromEarlierRead,
    /// w: whatever head is shown after a claim is taken for won.
    ClaimNotCompared,
    /// x: that an item may be there is not noted when its put is sent.
    ItemNotNoted,
    /// y: the number of an aborted checkpoint is used again.
    NumberReused,
    /// z: two segments of one checkpoint are put into one slot.
    OneSlotTwice,
    /// aa: the hash of an item that is put is saved one barrier late.
    HashesLate,
    /// aa: the horizon is fixed when a checkpoint is acknowledged, not at its barrier.
    HorizonAtAck,
    /// bb: a manifest names only what its own interval has staged.
    OnlyOwnCommittables,
    /// cc: slots of older retained checkpoints are not known after a restart.
    OlderSlotsUnknown,
    /// dd: an older retained checkpoint is restored through the newest manifest.
    OlderThroughNewest,
    /// ee: items are read with eventual consistency.
    StaleReads,
    /// The parts of a large value are put without a condition on their versions.
    PartsUnconditional,
    /// The put of a large value is answered before those of its parts are.
    PartsUnanswered,
    /// A value that has become smaller leaves the parts of the larger one.
    PartsLeft,
    /// Of two long keys that begin alike, both stand in one place.
    LongKeysCollide,
    /// Of a key that several items have, only what the first one has is written and compared.
    RestOfKeyIgnored,
    /// Keys that an answer leaves unprocessed are taken for absent.
    UnprocessedIgnored,
    /// A statement that was throttled inside an answer 200 is taken for executed.
    ThrottledStatementIgnored,
    /// A put whose answer is lost is taken for applied.
    LostAnswerIsSuccess,
    /// A segment's or manifest's slot that nothing retained names any more is not free again.
    SlotsNotFreed,
    /// Slots that were free, or in flight, are not given out after a restart.
    SlotsLostAtRestart,
    /// A tombstone has no time at which the table may delete it.
    TombstoneStays,
    /// What is clean does not leave memory, however much there is, and no source waits for that.
    NothingLeaves,
    /// What a sink staged is committed before the head moves.
    CommittedBeforeHead,
    /// What was staged for an aborted checkpoint is dropped.
    AbortedOutputDropped,
    /// What the head owes is not committed when an attempt begins.
    OwedForgotten,
    /// A stop that comes while no attempt runs says that nothing is owed.
    StopSettles,
    /// Staged output that a manifest names is cleaned away when an attempt begins.
    StagedRemovedEarly,
    /// The head says *finished* before the last output is committed.
    FinishedBeforeCommits,
    /// Input that has ended needs no last checkpoint.
    NoLastCheckpoint,
    /// One source that has nothing left speaks for all.
    ExhaustedForAll,
    /// The end of input comes once more after a crash behind the last checkpoint.
    EndedTwice,
    /// A barrier does not wait for records that wait for their state.
    BarrierOvertakesParked,
    /// A barrier leaves before the records that stand in a batch before it.
    BarrierOvertakesBatch,
    /// Barriers are not aligned: no channel is held.
    NotAligned,
    /// Records that waited for one key's state run in the wrong order.
    ParkedOutOfOrder,
    /// Memory pressure stops the keyed operators that the barrier stands before.
    PressureStopsAll,
    /// A source's position is saved one record late.
    PositionLate,
    /// A source's position is saved one record early.
    PositionEarly,
    /// A split is read by two subtasks.
    SplitReadTwice,
    /// Segments that a completed checkpoint names are reported again, and named twice.
    SegmentNamedTwice,
    /// Segments are replayed with the newest first.
    ReplayedBackwards,
    /// Entries of other subtasks' key groups are restored.
    KeyGroupsMixed,
    /// After a rescale, the horizon of one part of the key groups is told for all.
    HorizonOfOnePart,
    /// The manifest forgets that there are items.
    ItemsFlagLost,
    /// An entry from the log is read from the table once more.
    PinnedReadFromTable,
    /// A deletion is not logged.
    DeletionNotLogged,
    /// An entry that changes after the barrier is not serialised before.
    NoCopyOnWrite,
    /// What is materialised is the value in memory, changed since or not.
    ValueFromMemory,
    /// A list's new chunk takes the number of the one before.
    ChunkNumberReused,
    /// What a record did to the state until it had to wait is not undone.
    SuspendedNotUndone,
    /// A record that has to wait for its state lets those after it pass.
    SuspendedOvertaken,
    /// A value that was migrated in memory is written in its new encoding under its old checkpoint.
    MigratedUnderOldCheckpoint,
    /// A value that was restored or read does not expire.
    ExpiryForgotten,
    /// When a value expires stays as a record left it that is undone.
    ExpiryNotUndone,
    /// A read begins a value's time anew in memory alone.
    RenewalNotLogged,
    /// A broadcast map is saved by no subtask.
    BroadcastUnsaved,
    /// After a rescale, an element of an operator's list goes to two subtasks.
    ListDealtTwice,
    /// A union list is dealt out like any other.
    UnionDealtOut,
    /// An operator state that has changed is saved as it was.
    OperatorChangeNotNoted,
}

#[cfg(any(debug_assertions, feature = "teeth"))]
thread_local! {
    static ON: Cell<Option<Tooth>> = const { Cell::new(None) };
}

/// Whether `tooth` is on for this thread. The constant `false` without debug assertions, unless the
/// feature `teeth` is on.
#[cfg(any(debug_assertions, feature = "teeth"))]
#[inline]
#[must_use]
pub fn bites(tooth: Tooth) -> bool {
    ON.get() == Some(tooth)
}

/// Whether `tooth` is on for this thread. The constant `false` without debug assertions, unless the
/// feature `teeth` is on.
#[cfg(not(any(debug_assertions, feature = "teeth")))]
#[inline(always)]
#[must_use]
pub const fn bites(_tooth: Tooth) -> bool {
    false
}

/// Calls `work` with `tooth` on for this thread: for what it does on this thread alone, hence for
/// simulations. Only in builds with debug assertions or the feature `teeth`.
#[cfg(any(debug_assertions, feature = "teeth"))]
pub fn with<T>(tooth: Tooth, work: impl FnOnce() -> T) -> T {
    struct Before(Option<Tooth>);
    impl Drop for Before {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
    let _before = Before(ON.replace(Some(tooth)));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(debug_assertions, feature = "teeth"))]
    #[test]
    fn a_tooth_bites_inside_of_with_on_its_thread_alone() {
        let tooth = Tooth::HeadByAttempt;
        assert!(!bites(tooth));
        with(tooth, || {
            assert!(bites(tooth) && !bites(Tooth::StaleReads));
            with(Tooth::StaleReads, || assert!(!bites(tooth)));
            assert!(bites(tooth));
            std::thread::scope(|scope| scope.spawn(|| assert!(!bites(tooth))).join().unwrap());
        });
        assert!(std::panic::catch_unwind(|| with(tooth, || panic!("found"))).is_err());
        assert!(!bites(tooth));
    }

    /// Only a constant is a pattern's or an array's length.
    #[cfg(not(any(debug_assertions, feature = "teeth")))]
    #[test]
    fn no_tooth_is_in_a_release_build() {
        const NONE: bool = bites(Tooth::HeadByAttempt);
        const { assert!(!NONE) };
    }

    #[test]
    fn each_tooth_is_listed_once_and_explained() {
        let listed: std::collections::BTreeSet<_> = Tooth::ALL.iter().collect();
        assert_eq!(listed.len(), Tooth::ALL.len());
        assert!(Tooth::ALL.iter().all(|tooth| tooth.what().ends_with('.')));
    }
}
