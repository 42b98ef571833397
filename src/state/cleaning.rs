//! Cleaning the log: which entries of its oldest checkpoint must become items.
//!
//! Owns the plan and what it writes. Sending the writes is `task`'s; it tells by
//! [`KeyedState::cleaned`] that all are answered.
//!
//! A plan is for the oldest checkpoint h of the log, not newer than the oldest retained one, R. What is
//! written is every entry whose last change up to R is that of h: its value as of R. Where nothing has
//! changed since, the value is in memory, else in the segments of h.

use std::sync::Arc;

use bytes::Bytes;

use super::bits::Bits;

use super::descriptor::ColumnId;
use super::entry::ValueAt;
use super::keyed::KeyedState;
use super::log::{ChangedRows, Log};
use super::pending::PendingWrite;
use super::segment::{Carry, Segment};
use super::shortened::Shortened;
use super::store::{Item, ItemKey, ItemWrite, Presence};
use super::ttl::Expiry;
use crate::codec::Key;
use crate::config::ValueFormat;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Version};
use crate::teeth::{Tooth, bites};

/// When the log has outgrown itself. These are one operator's in one subtask: a job's limit divided by
/// their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleaningLimits {
    /// Most bytes of pinned entries, and of stored segments; `state.backend.dynamodb.log-max-size`.
    pub log_max_bytes: u64,
    /// Most read units that a replay of the stored segments takes; only provisioned capacity bounds them.
    pub read_units: u64,
    /// Most segments: a restore reads each.
    pub max_segments: u64,
    /// Always up to the oldest retained checkpoint: `state.backend.dynamodb.materialize: eager`, or memory is
    /// wanted and nothing else can leave.
    pub eager: bool,
}

/// One checkpoint to be cleaned; sent to where there is time for [`CleaningPlan::compute`].
#[derive(Clone, Debug)]
pub struct CleaningPlan {
    checkpoint: CheckpointId,
    stamp: u32,
    rows: Vec<ChangedRows>,
    later: Vec<Vec<ChangedRows>>,
}

/// The entries that a plan writes, or need not write after all where they have changed meanwhile.
#[derive(Clone, Debug)]
pub struct CleaningRows {
    checkpoint: CheckpointId,
    stamp: u32,
    entries: Vec<(ColumnId, u32)>,
}

/// A slice's writes.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// How many of the plan's entries it is.
    pub entries: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
    /// To be written; they count as sent.
    pub writes: Vec<PendingWrite>,
    /// Entries whose value must be read back from the segments of the plan's checkpoint.
    pub missing: Vec<Missing>,
}

/// An entry that has changed since the oldest retained checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    entry: u32,
    column: ColumnId,
    /// Where its item is.
    pub key: ItemKey,
    checkpoint: CheckpointId,
    has_item: bool,
}

/// A missing entry's value in the segments; `None` is a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    missing: Missing,
    value: Option<Lasting>,
}

/// A value, and when it expires.
type Lasting = (Bytes, Option<Expiry>);

/// The plan that is under way.
#[derive(Debug)]
pub(super) struct Cleaning {
    stamp: u32,
    checkpoint: CheckpointId,
    /// How many entries the plan has, once it is computed.
    entries: u64,
    /// Entries that may hold nothing after it.
    deleted: Vec<(ColumnId, u32)>,
}

impl Cleaning {
    /// The stamp of the changes that are cleaned.
    pub(super) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Memory of its lists.
    pub(super) fn bytes(&self) -> u64 {
        (self.entries + self.deleted.capacity() as u64) * size_of::<(ColumnId, u32)>() as u64
    }
}

impl CleaningPlan {
    /// For the oldest checkpoint of `log`, which is held from now on; `None` where it is newer than
    /// the oldest retained one. A plan that is under way must be done before.
    #[must_use]
    pub fn of(log: &mut Log) -> Option<Self> {
        let oldest = log.oldest()?;
        let plan = Self {
            checkpoint: oldest.checkpoint,
            stamp: oldest.stamp,
            rows: oldest.rows.iter().map(Arc::clone).collect(),
            later: log.later(oldest.stamp),
        };
        log.hold();
        Some(plan)
    }

    /// The checkpoint to be cleaned: the one to name to [`KeyedState::cleaned`].
    #[must_use]
    pub fn checkpoint(&self) -> CheckpointId {
        self.checkpoint
    }

    /// Finds the entries that no later checkpoint up to the oldest retained one has replaced. Takes a
    /// few nanoseconds for each change in the log; call it off the workers.
    #[must_use]
    pub fn compute(&self) -> CleaningRows {
        // Once for all: a million of them twice is as much as they take in the log.
        let most = self.rows.iter().map(|rows| rows.len()).sum();
        let mut entries = Vec::with_capacity(most);
        for (column, (rows, later)) in self.rows.iter().zip(&self.later).enumerate() {
            let mut replaced = Bits::default();
            later.iter().flat_map(|rows| rows.iter()).for_each(|&entry| replaced.insert(entry));
            let live = rows.iter().filter(|&&entry| !replaced.contains(entry));
            entries.extend(live.map(|&entry| (ColumnId(column as u16), entry)));
        }
        entries.shrink_to_fit();
        CleaningRows { checkpoint: self.checkpoint, stamp: self.stamp, entries }
    }
}

impl CleaningRows {
    /// The stamp of the changes that are cleaned.
    #[must_use]
    pub fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Column and number of each entry.
    #[must_use]
    pub fn entries(&self) -> &[(ColumnId, u32)] {
        &self.entries
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// As [`CleaningRows::entries`], and nothing else.
    pub(super) fn into_entries(self) -> Vec<(ColumnId, u32)> {
        self.entries
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Looks up missing values in one segment after the other, so that none has to stay in memory. Runs off the workers.
#[derive(Debug)]
pub struct Finder {
    /// What is looked for, in the order of states and keys, and whether it was found. As the answer will be:
    /// tens of thousands of them should not be there twice.
    wanted: Vec<Found>,
    is_found: Bits,
    /// How many were not.
    left: usize,
    carry: Carry,
}

impl Finder {
    /// For these.
    #[must_use]
    pub fn new(missing: Vec<Missing>) -> Self {
        let mut wanted: Vec<Found> =
            missing.into_iter().map(|missing| Found { missing, value: None }).collect();
        wanted.sort_unstable_by(|a, b| a.missing.place().cmp(&b.missing.place()));
        let left = wanted.len();
        Self { wanted, is_found: Bits::default(), left, carry: Carry::default() }
    }

    /// Whether nothing is left to be looked for: an entry is in one segment of its checkpoint.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.left == 0
    }

    /// Looks into the next segment of the checkpoint and operator: in the order of their ranges' beginnings and,
    /// for each range, of their sequence, from any one on that does not continue another, and on with the first
    /// one after the last, until [`Finder::has_all`] or they were all looked into.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it cannot be read.
    pub fn look(&mut self, segment: &Segment) -> Result<()> {
        let Self { wanted, is_found, left, carry } = self;
        segment.each(carry, |entry| {
            let place = (segment.states[entry.state].as_str(), entry.key);
            if let Ok(n) = wanted.binary_search_by(|found| found.missing.place().cmp(&place)) {
                let lasting = |value| (Bytes::copy_from_slice(value), entry.expires);
                wanted[n].value = entry.value.map(lasting);
                *left -= usize::from(!is_found.contains(n as u32));
                is_found.insert(n as u32);
            }
            Ok(())
        })
    }

    /// There are no more segments to be looked into.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where an entry was in none of them, or the end of one is missing.
    pub fn finish(self) -> Result<Vec<Found>> {
        if !self.has_all() {
            self.carry.finish()?;
        }
        // An entry that was created and deleted before it was ever logged or written is in no segment.
        let is_lacking = |(n, Found { missing, .. }): &(usize, &Found)| {
            missing.has_item && !self.is_found.contains(*n as u32)
        };
        if let Some((_, Found { missing, .. })) = self.wanted.iter().enumerate().find(is_lacking) {
            let Missing { key, checkpoint, .. } = missing;
            let ItemKey { operator, state, key_group, sort_key } = key;
            let (bytes, sort_key) = (sort_key.len(), Shortened(sort_key));
            let message = format!(
                "the log of checkpoint {checkpoint} lacks an entry of operator {operator}, state {state}, key \
                 group {key_group}: {sort_key}, of {bytes} bytes"
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(self.wanted)
    }
}

impl Found {
    /// Bytes of its key and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |(value, _)| value.len());
        self.missing.key.sort_key.len() + value
    }
}

impl Missing {
    fn place(&self) -> (&str, &[u8]) {
        (self.key.state.as_str(), &self.key.sort_key)
    }
}

impl<K: Key> KeyedState<K> {
    /// The next checkpoint to clean, if the log exceeds `limits` and its oldest checkpoint is not newer
    /// than the oldest retained one. One plan at a time: until [`KeyedState::cleaned`] there is no
    /// other.
    pub fn plan_cleaning(&mut self, limits: &CleaningLimits) -> Option<CleaningPlan> {
        let stats = self.stats();
        let due = limits.eager
            || stats.pinned_bytes > limits.log_max_bytes
            || stats.stored_bytes > limits.log_max_bytes
            || stats.read_units() > limits.read_units
            || stats.segments > limits.max_segments;
        if !due || self.cleaning.is_some() {
            return None;
        }
        let entries = self.log.oldest()?.live;
        let plan = CleaningPlan::of(&mut self.log)?;
        let (stamp, checkpoint) = (plan.stamp, plan.checkpoint);
        self.cleaning = Some(Cleaning { stamp, checkpoint, entries, deleted: Vec::new() });
        Some(plan)
    }

    /// The writes for up to `max_entries` of a plan's entries, beginning with number `from`; fewer where their keys
    /// and values come to `max_bytes`, but one at least. The last slice ends at [`CleaningRows::len`].
    ///
    /// # Errors
    /// [`ErrorKind::User`] where a value cannot be serialised; [`ErrorKind::Internal`] for a plan that
    /// is not the current one.
    pub fn collect(
        &mut self,
        rows: &CleaningRows,
        from: usize,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Collected> {
        self.check_plan(rows.stamp)?;
        let entries = rows.entries.iter().skip(from).take(max_entries);
        let mut collected = Collected::default();
        for &(column, entry) in entries {
            self.collect_entry(rows, column, entry, &mut collected)?;
            collected.entries += 1;
            if collected.bytes >= max_bytes {
                break;
            }
        }
        Ok(collected)
    }

    fn check_plan(&self, stamp: u32) -> Result<()> {
        match &self.cleaning {
            Some(current) if current.stamp == stamp => Ok(()),
            _ => Err(Error::internal("not the current cleaning plan")),
        }
    }

    fn collect_entry(
        &mut self,
        rows: &CleaningRows,
        column: ColumnId,
        entry: u32,
        collected: &mut Collected,
    ) -> Result<()> {
        let meta = self.meta_of(column.index(), entry);
        let at = if bites(Tooth::ValueFromMemory) {
            ValueAt::Memory
        } else {
            // Chunks of the filter have no format that was another before, and do not expire.
            let former = self.columns.get(column.index()).is_some_and(|values| {
                let is_former = rows.checkpoint < values.coding().since()
                    || self.times.may_have_ended(column, rows.checkpoint);
                values.is_present(entry) && is_former
            });
            meta.value_at(rows.stamp, self.log.floor()).or_segments(former)
        };
        match at {
            ValueAt::Memory => {
                let mut bytes = Vec::new();
                let present = self.encode_value(column.index(), entry, &mut bytes)?;
                if !present && let Some(cleaning) = &mut self.cleaning {
                    cleaning.deleted.push((column, entry));
                }
                let values = self.columns.get(column.index());
                let lives = values.and_then(|values| values.lives());
                let expires = lives.and_then(|lives| lives.expiry(entry));
                let value = present.then(|| (bytes.into(), expires));
                let key = self.item_key(column.index(), entry);
                let write = self.write(column, entry, key, rows.checkpoint, value);
                collected.bytes += write.as_ref().map_or(0, PendingWrite::bytes);
                collected.writes.extend(write);
            }
            ValueAt::Segments => {
                let (key, has_item) = (self.item_key(column.index(), entry), meta.has_item());
                collected.bytes += key.sort_key.len();
                let checkpoint = rows.checkpoint;
                collected.missing.push(Missing { entry, column, key, checkpoint, has_item });
            }
            ValueAt::Replaced => {}
        }
        Ok(())
    }

    /// The write of an entry, which counts as sent from now on. A deletion needs one only where a put
    /// was sent before. What the clock has passed counts as deleted; not so what only records' times have:
    /// after a roll-back they may come again.
    fn write(
        &mut self,
        column: ColumnId,
        entry: u32,
        key: ItemKey,
        checkpoint: CheckpointId,
        value: Option<Lasting>,
    ) -> Option<PendingWrite> {
        // An expiry that has ceased to count is written all the same: a roll-back to the item's checkpoint may find
        // that it counts.
        let is_gone = |expiry: Expiry| {
            self.times.is_gone(expiry, self.times.ended(column, expiry, checkpoint))
        };
        let value = value.filter(|(_, expires)| !expires.is_some_and(is_gone));
        let meta = self.meta_of(column.index(), entry);
        if !meta.needs_write(value.is_some()) {
            return None;
        }
        let presence = if meta.has_item() { Presence::Possible } else { Presence::Absent };
        if !bites(Tooth::ItemNotNoted) {
            self.set_meta_of(column.index(), entry, meta.sent());
        }
        self.items_sent = true;
        self.note(column.index(), entry, &key);
        let version = Version { attempt: self.config.attempt, checkpoint };
        let to_native = match (self.config.value_format, self.columns.get(column.index())) {
            (ValueFormat::Native, Some(values)) => values.coding().to_native(checkpoint),
            (ValueFormat::Native | ValueFormat::Codec, _) => None,
        };
        let expires = value.as_ref().and_then(|(_, expires)| *expires);
        let value = value.map(|(bytes, _)| bytes);
        let item = Item {
            expires_ms: expires.map(|expiry| expiry.ms),
            event_time: expires.is_some_and(|expiry| expiry.event_time),
            ..Item::new(version, value)
        };
        Some(PendingWrite::new(ItemWrite { key, item, presence }, to_native))
    }

    /// The writes of entries whose values were read back; they count as sent.
    pub fn found(&mut self, found: Vec<Found>) -> Vec<PendingWrite> {
        found
            .into_iter()
            .filter_map(|Found { missing, value }| {
                let Missing { entry, column, key, checkpoint, .. } = missing;
                self.write(column, entry, key, checkpoint, value)
            })
            .collect()
    }

    /// Every write of the plan for `checkpoint` is answered: the horizon passes it, and entries and
    /// rows that hold nothing any more are given away.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where that is not the current plan's.
    pub fn cleaned(&mut self, checkpoint: CheckpointId) -> Result<()> {
        match self.cleaning.take_if(|current| current.checkpoint == checkpoint) {
            Some(Cleaning { deleted, .. }) => {
                self.log.cleaned();
                self.look_again();
                self.leaving.extend(deleted);
                self.let_chunks_go();
                Ok(())
            }
            None => Err(Error::internal(format!("checkpoint {checkpoint} is not being cleaned"))),
        }
    }
}
