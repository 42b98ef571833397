//! The head: a job's single item that names its attempt and its last completed checkpoint, and what
//! the store of heads promises.
//!
//! Owns the types and the [`HeadStore`] trait. What to do with an answer, or without one, is decided
//! in `checkpoint::rules`.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{Attempt, CheckpointId, Incarnation, Name, SlotId, Version};

/// The version of the table's layout that this code writes.
pub const LAYOUT: u32 = 1;

/// One retained checkpoint, as the head names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retained {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Where its manifest is.
    pub slot: SlotId,
    /// The version of all of the manifest's parts.
    pub version: Version,
}

/// What the job is doing, as far as the head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeadStatus {
    /// An attempt runs, or ran and died.
    Running,
    /// Stopped gracefully: after a checkpoint whose output is committed, or before there was one.
    Stopped,
    /// Nothing runs, and output may be owed: it failed for good, or was stopped while no attempt ran that
    /// could have taken a last checkpoint.
    Failed,
    /// All input was read and everything is committed.
    Finished,
}

impl HeadStatus {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "settled",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }

    /// The status that `word` stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        // As it was written once: also where a stop came between two attempts, with output still owed.
        if word == "stopped" {
            return Some(Self::Failed);
        }
        [Self::Running, Self::Stopped, Self::Failed, Self::Finished]
            .into_iter()
            .find(|s| s.as_str() == word)
    }

    /// Whether all that was staged for the head's checkpoint is published: nothing is looked for any more,
    /// and whoever reads the output may have moved it away.
    #[must_use]
    pub fn owes_nothing(self) -> bool {
        matches!(self, Self::Stopped | Self::Finished)
    }
}

impl fmt::Display for HeadStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In a line of [`Identity::graph`], what stands before the ids of the operators that this one reads, in
/// order. Lines that earlier versions have recorded end there.
pub const INPUTS: &str = " <- ";

/// In such a line, of an operator whose id was not given: it comes from its kind and its number among its kind.
/// Earlier versions have not recorded that.
pub const DERIVED: &str = " (derived)";

/// The kind, in such a line, of what takes lines aside that cannot be read.
pub const DEAD_LETTERS: &str = "dead-letters";

/// At the end of a line of [`Identity::input`], of a source that cannot be gone back to. Earlier versions have not
/// recorded that.
pub const ONCE: &str = " (once)";

/// What attempts of one incarnation go by; `rules` decides what of it may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The hash of keys: `codec::HASH_ID`.
    pub hash: String,
    /// `codec::KEY_ENCODING_VERSION`.
    pub key_encoding: u32,
    /// The number of key groups.
    pub max_parallelism: u32,
    /// The job graph as text: one line for each operator, with ids, states and inputs.
    pub graph: String,
    /// The input as text: one line for each source.
    pub input: String,
    /// The head has gone back since, and has completed nothing yet: graph and input are those of the checkpoint that
    /// was given up. What is missing of them the older one may never have had, which its manifest tells.
    pub is_rolled_back: bool,
}

impl Identity {
    /// Whether all of its input can be gone back to.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.once().next().is_none()
    }

    /// The lines of the input that cannot be gone back to, without [`ONCE`].
    pub fn once(&self) -> impl Iterator<Item = &str> {
        self.input.lines().filter_map(|line| line.strip_suffix(ONCE))
    }
}

/// A job's head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// The attempt that owns the job.
    pub attempt: Attempt,
    /// The last completed checkpoint; [`CheckpointId::NONE`] before the first.
    pub checkpoint: CheckpointId,
    /// The retained checkpoints, oldest first; the last one is `checkpoint`'s.
    pub retained: Vec<Retained>,
    /// A fresh random text for each claim: tells one's own claim from another's.
    pub owner: String,
    /// The prefix of all other keys of the job.
    pub incarnation: Incarnation,
    /// What the job is doing.
    pub status: HeadStatus,
    /// The lease that the owner runs with.
    pub lease: Duration,
    /// A counter that the owner moves.
    pub beat: u64,
    /// [`LAYOUT`] of the writer.
    pub layout: u32,
    /// What the checkpoint was taken with; after a roll-back, what a newer one was.
    pub identity: Identity,
    /// Of incarnations below this one everything was deleted.
    pub clean_below: Incarnation,
}

/// The condition of a write of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadCondition {
    /// There is no head.
    Absent,
    /// The head shows this attempt and checkpoint.
    At(Attempt, CheckpointId),
    /// The head shows this attempt, whatever the checkpoint: for what no checkpoint hangs on.
    Owned(Attempt),
}

impl HeadCondition {
    /// Whether a write with this condition takes effect on `head`.
    #[must_use]
    pub fn holds(self, head: Option<&Head>) -> bool {
        match (self, head) {
            (Self::Absent, head) => head.is_none(),
            (Self::At(attempt, checkpoint), Some(head)) => {
                (head.attempt, head.checkpoint) == (attempt, checkpoint)
            }
            (Self::Owned(attempt), Some(head)) => head.attempt == attempt,
            (Self::At(..) | Self::Owned(_), None) => false,
        }
    }
}

/// A change of the head; only what is named is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeadChange {
    /// The whole head: its creation, a claim, a fresh incarnation, a roll-back.
    Put(Box<Head>),
    /// The commit point.
    Advance {
        /// The checkpoint that is now completed.
        checkpoint: CheckpointId,
        /// The retained ones, oldest first, the completed one last.
        retained: Vec<Retained>,
        /// What it was taken with, where that is not what the head shows.
        identity: Option<Box<Identity>>,
    },
    /// The status alone.
    Status(HeadStatus),
    /// The counter alone.
    Beat(u64),
    /// Below which incarnation everything was deleted, alone.
    CleanBelow(Incarnation),
}

impl HeadChange {
    /// What it makes of `head`; `None` where it changes a head that is not there.
    #[must_use]
    pub fn applied(self, head: Option<&Head>) -> Option<Head> {
        let head = head.cloned();
        match self {
            Self::Put(head) => Some(*head),
            Self::Advance { checkpoint, retained, identity } => head.map(|head| {
                let identity = identity.map_or(head.identity, |identity| *identity);
                Head { checkpoint, retained, identity, ..head }
            }),
            Self::Status(status) => head.map(|head| Head { status, ..head }),
            Self::Beat(beat) => head.map(|head| Head { beat, ..head }),
            Self::CleanBelow(clean_below) => head.map(|head| Head { clean_below, ..head }),
        }
    }
}

/// The answer to one write of the head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeadAnswer {
    /// Applied; the head as the write left it (`ALL_NEW`).
    Applied(Box<Head>),
    /// The condition failed; a head that shows why may come from a later read.
    Refused,
    /// Sent, but no answer was seen: it may have been applied, or may yet be.
    Unknown,
}

/// The heads of jobs. One `UpdateItem` or `GetItem` a call.
///
/// # Contract
/// Reads are strongly consistent. A write is one conditional write of one item. `write` sends once
/// and does not retry: an answer that is lost is [`HeadAnswer::Unknown`], and what was *surely not
/// applied* (throttled, connection refused) is retried inside until the future is dropped.
pub trait HeadStore: fmt::Debug + Send + Sync + 'static {
    /// The head of `job`, if there is one. Retried until answered.
    fn read(&self, job: &Name) -> BoxFuture<'_, Result<Option<Head>>>;

    /// Applies `change` if `condition` holds.
    fn write(
        &self,
        job: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>>;
}
