//! What keyed state needs of a store: items, and blocks in slots.
//!
//! Owns the trait and its contract. A store keeps its promises for one *scope* (a job's incarnation),
//! which is given when it is made. The in-memory twin is `state::memory`; DynamoDB's is
//! `dynamodb::backend`. Heads are `checkpoint::store`'s.
//!
//! # Contract
//! - Every read is strongly consistent: it shows every write answered before the read was sent.
//! - Every write is rule V: it takes effect only where there is nothing yet, or something of a smaller
//!   version. It takes effect at once on what fits into one item of a table; on a larger one part by part,
//!   each of which is rule V, and it is answered after all. A writer that dies meanwhile leaves an item that
//!   is an error to read and none to write.
//! - Throttling, time-outs, resets and internal errors are retried inside, with jitter, until the
//!   returned future is dropped. A write may take effect once more at any time after that.
//! - An error is final: access denied, disk full, a table of the wrong shape.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::coding::Stored;
use super::ttl::Expiry;
use crate::error::Result;
use crate::ids::{Name, SlotId, Version};
use crate::key_group::KeyGroup;
use crate::teeth::Tooth;

/// Where one entry's item is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemKey {
    /// The operator's id.
    pub operator: Name,
    /// The state's name.
    pub state: Name,
    /// The key group of the key.
    pub key_group: KeyGroup,
    /// The encoded key (and namespace, and map key).
    pub sort_key: Bytes,
}

/// Entries of one state in one key group whose sort keys lie next to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRange {
    /// The operator's id.
    pub operator: Name,
    /// The state's name.
    pub state: Name,
    /// The key group.
    pub key_group: KeyGroup,
    /// The first sort key; empty: from the beginning.
    pub from: Bytes,
    /// The first sort key that is not wanted any more; `None`: to the end.
    pub to: Option<Bytes>,
}

impl ItemRange {
    /// Whether `sort_key` lies in it.
    #[must_use]
    pub fn contains(&self, sort_key: &[u8]) -> bool {
        sort_key >= &*self.from && self.to.as_ref().is_none_or(|to| sort_key < &**to)
    }

    /// What of it comes after `sort_key`. No other sort key of a state begins with it, since keys are
    /// self-delimiting; but a table has an entry's further parts under places that do, with a zero byte next, and
    /// those need not be read again.
    #[must_use]
    pub fn after(&self, sort_key: &[u8]) -> Self {
        Self { from: [sort_key, &[1]].concat().into(), ..self.clone() }
    }

    /// Whether no sort key at all can lie in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// One entry of a range.
#[derive(Debug)]
pub struct Scanned {
    /// The whole sort key.
    pub sort_key: Bytes,
    /// The item. An error where its parts are not of one write: an entry that is pinned may be so, until
    /// its put is answered, and then it must not be looked at; of any other it is damage.
    pub item: Result<Item>,
}

/// A range, or its beginning.
#[derive(Debug)]
pub struct ScanPage {
    /// The items, tombstones included, in ascending order of their sort keys.
    pub items: Vec<Scanned>,
    /// What remains to be read; `None`: that is all.
    pub rest: Option<ItemRange>,
}

/// What an item holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Who wrote it, and which checkpoint's value it is.
    pub version: Version,
    /// The encoded value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Whether the value is DynamoDB's JSON of an attribute, and to be stored as that attribute.
    pub native: bool,
    /// When the value expires, milliseconds since 1970; `None`: never. A tombstone
    /// has none. The store keeps it with the value and may delete the item the tombstone retention after
    /// that; hiding it until then is the reader's.
    pub expires_ms: Option<u64>,
    /// Whether that is a time of records and not of the clock: then the store, which knows only the clock,
    /// never deletes the item.
    pub event_time: bool,
}

impl Item {
    /// A value that does not expire, or a tombstone.
    #[must_use]
    pub fn new(version: Version, value: Option<Bytes>) -> Self {
        Self { version, value, native: false, expires_ms: None, event_time: false }
    }

    /// The value, as it is stored.
    pub(super) fn stored(&self) -> Option<Stored<'_>> {
        let expires = self.expires_ms.map(|ms| Expiry { ms, event_time: self.event_time });
        let (native, checkpoint) = (self.native, self.version.checkpoint);
        self.value.as_deref().map(|bytes| Stored { bytes, native, checkpoint, expires })
    }
}

/// Whether an item may be there already. A hint for the cheaper request; never for correctness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// No put of it was ever sent.
    Absent,
    /// A put of it was sent, answered or not, or it is not known.
    Possible,
}

/// One item to write under rule V.
#[derive(Clone, Debug)]
pub struct ItemWrite {
    /// Which item.
    pub key: ItemKey,
    /// The version and value to write.
    pub item: Item,
    /// Whether it may be there already.
    pub presence: Presence,
}

impl ItemWrite {
    /// Bytes of its key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.sort_key.len() + self.item.value.as_ref().map_or(0, Bytes::len)
    }
}

/// How a conditional write ended. Either way the store now holds this version or a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written now or before, or replaced by a newer one of this attempt.
    Done,
    /// A later attempt's version is there: this attempt is fenced.
    Fenced(Version),
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockKind {
    /// Changed entries.
    Segment,
    /// A part of a checkpoint's description.
    Manifest,
}

impl BlockKind {
    /// The tooth by which blocks of this kind are put without a condition.
    pub(crate) fn unconditional(self) -> Tooth {
        match self {
            Self::Segment => Tooth::SegmentsUnconditional,
            Self::Manifest => Tooth::ManifestsUnconditional,
        }
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Segment => "segment",
            Self::Manifest => "manifest",
        })
    }
}

/// Where one block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// Segments and manifests have slots of their own.
    pub kind: BlockKind,
    /// The slot.
    pub slot: SlotId,
    /// 0 for a segment; the part's number for a manifest.
    pub part: u32,
}

/// A block as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The version it was put with.
    pub version: Version,
    /// Its bytes, at most [`MAX_BLOCK_BYTES`].
    pub bytes: Bytes,
}

/// Largest block: DynamoDB's 400 KB item limit less keys and attribute names.
pub const MAX_BLOCK_BYTES: usize = 390_000;

/// Whether calls go through at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// For how long some call has been retried, or one that records or a checkpoint wait for has waited for
    /// the table's capacity, whatever others did; zero when all is well.
    pub struggling_for: Duration,
}

impl WriteOutcome {
    /// Rule V: what a write of `mine` comes to where `there` is. `None`: it takes effect.
    #[must_use]
    pub fn settled(there: Option<Version>, mine: Version) -> Option<Self> {
        let there = there.filter(|there| *there >= mine)?;
        let fenced = there.attempt > mine.attempt;
        Some(if fenced { Self::Fenced(there) } else { Self::Done })
    }
}

/// Items and blocks of one scope.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Reads items; the answers are in the order of `keys`. One `BatchGetItem` for 100 distinct keys, and
    /// others for what does not fit into one item of a table.
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>>;

    /// Reads the items of a range until values and sort keys take more than `max_bytes`, by up to a MiB or an
    /// item; where keys are so long that the table has them by their hashes, until the next one that is not.
    /// One `Query` for each MiB. Of the chunks of a filter, which yield to all other reads, one `Query`, of as
    /// many items as there are KiB in `max_bytes`. An entry that is written meanwhile may be seen before, after or
    /// in the midst of that, so one that has changed since the scan began must not be taken from it.
    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>>;

    /// All of a range, as by [`Store::scan_page`].
    fn scan_items(&self, range: ItemRange) -> BoxFuture<'_, Result<Vec<Scanned>>> {
        async move { Ok(self.scan_page(range, u64::MAX).await?.items) }.boxed()
    }

    /// Writes items, no two of the same key; the outcomes are in the order of `writes`. One
    /// `BatchExecuteStatement` for 25, or a `PutItem` for each part of one that does not fit. Until it is
    /// answered an item may be there in part.
    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>>;

    /// Puts a block. One `PutItem`.
    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>>;

    /// Reads a block. One `GetItem`.
    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>>;

    /// The same of a block that neither records nor a checkpoint wait for: where capacity is scarce, it goes after
    /// what they wait for, and however long that takes is no trouble in [`Store::health`].
    fn get_block_unawaited(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.get_block(key)
    }

    /// Whether calls go through at the moment.
    fn health(&self) -> Health;
}
