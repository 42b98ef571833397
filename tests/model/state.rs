//! One state of the explored world: the table, what is on its way, and who lives.

use millpond::checkpoint::rules::Mine;
use millpond::checkpoint::{Head, Retained};

use super::attempt::Attempt;
use super::cell::Cell;
use super::oracle::Broken;
use super::reader::Reader;
use super::table::{Message, Table};

/// A process, from its claim on. It never crashes: it takes no step any more, and what it has sent
/// may still arrive, which is what a crash is, and also a zombie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// The number of its claim; requests name it.
    pub(crate) id: u8,
    pub(crate) parallelism: u8,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// The claim was sent; `read` is what it was decided from.
    Claiming {
        mine: Mine,
        read: Option<Cell<Head>>,
    },
    /// The claim is won, as `head` shows.
    Claimed {
        mine: Mine,
        head: Cell<Head>,
        newest: Option<Retained>,
    },
    Running(Cell<Attempt>),
}

/// What has been used of the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Used {
    pub(crate) claims: u8,
    pub(crate) copies: u8,
    pub(crate) aborts: u8,
    pub(crate) cleanings: u8,
    pub(crate) evictions: u8,
    pub(crate) roll_backs: u8,
    pub(crate) readers: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) table: Cell<Table>,
    /// In the order of their hashes: it has no meaning, so there is one.
    pub(crate) network: Vec<Message>,
    /// In the order of their claims.
    pub(crate) processes: Vec<Cell<Process>>,
    /// Attempts that have begun, a bit each.
    pub(crate) begun: u16,
    /// Committables that were published.
    pub(crate) published: Vec<[u8; 4]>,
    pub(crate) reader: Option<Cell<Reader>>,
    pub(crate) used: Used,
    /// The first promise that was broken.
    pub(crate) broken: Option<Broken>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A new process reads the head and sends a claim, perhaps one that goes back.
    Start { parallelism: u8, back_to: Option<u64> },
    /// A request arrives, and its answer, if somebody waits for it.
    Arrive(u8),
    /// A request is sent again or doubled on its way: one more copy of it, which nobody waits for.
    Copy(u8),
    /// No answer to the claim came, or a refusal: the head is read.
    ReadClaim(u8),
    /// The manifests and segments that the claimed head names are read.
    Restore(u8),
    /// One record; `stale` where an eventually consistent read shows what was there before.
    Record { process: u8, stale: bool },
    /// A checkpoint begins.
    Trigger(u8),
    /// The checkpoint under way times out.
    Abort(u8),
    /// No answer to the move came: the head is read.
    ReadMove(u8),
    /// The oldest checkpoint of a log is cleaned.
    Clean { process: u8, subtask: u8 },
    /// An entry leaves memory.
    Evict { process: u8, subtask: u8, key: u8 },
    /// The mistake: memory is lost and restored, without a claim.
    Restart(u8),
    /// The mistake: time to live removes a tombstone.
    Expire(u8),
    /// Someone outside begins to read a key.
    BeginReading(u8),
    /// … goes on.
    GoOnReading,
}
