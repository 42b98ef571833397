//! Cleaning a log into items, and eviction.

use millpond::ids::{Attempt, CheckpointId, Version};
use millpond::state::{CleaningPlan, ValueAt};

use super::{Cleaning, Entry, Subtask, Value};
use crate::bounds::KEYS;
use crate::mistakes::Mistake;
use crate::table::{Body, Conditions, Item, Table};

impl Subtask {
    /// Whether `key` may leave memory.
    pub(crate) fn is_evictable(&self, rules: Conditions, key: u8) -> bool {
        let entry = &self.entries[key as usize];
        let being_written = self.cleaning.as_ref().is_some_and(|c| {
            rules.0 == Some(Mistake::EvictionBeforeAnswer) && entry.meta.change() == c.stamp
        });
        entry.resident && (entry.meta.is_clean(self.log.horizon()) || being_written)
    }

    pub(crate) fn evict(&mut self, key: u8) {
        self.entries[key as usize] = Entry::default();
    }

    /// Cleans the oldest checkpoint of the log: the items that are written. The outer `None`: there
    /// is none to clean; the inner one: a segment that is needed is not there.
    pub(crate) fn clean(
        &mut self,
        rules: Conditions,
        table: &Table,
        attempt: Attempt,
    ) -> Option<Option<Vec<Body>>> {
        if self.cleaning.is_some() {
            return None;
        }
        let plan = CleaningPlan::of(&mut self.log)?;
        let rows = plan.compute();
        let version = Version { attempt, checkpoint: plan.checkpoint() };
        let mut writes = Vec::new();
        for (column, row) in rows.entries() {
            let key = column.index() * KEYS + *row as usize;
            let value = match self.entries[key].meta.value_at(rows.stamp(), self.log.floor()) {
                ValueAt::Memory => self.entries[key].value,
                ValueAt::Segments => match self.read_back(rules, table, plan.checkpoint(), key) {
                    Some(value) => value,
                    None => return Some(None),
                },
                ValueAt::Replaced => continue,
            };
            writes.extend(self.write(rules, key, Item { version, value }));
        }
        let left = writes.iter().map(|(key, _)| *key).collect();
        self.cleaning = Some(Cleaning { stamp: rows.stamp(), left });
        if rules.0 == Some(Mistake::HorizonBeforeAnswer) {
            self.log.cleaned();
            self.cleaning = None;
        }
        self.end_cleaning();
        Some(Some(writes.into_iter().map(|(key, item)| Body::Item { key, item }).collect()))
    }

    /// The write of an entry, which counts as sent from now on.
    fn write(&mut self, rules: Conditions, key: usize, item: Item) -> Option<(u8, Item)> {
        let entry = &mut self.entries[key];
        let unknown = entry.pinned && rules.0 == Some(Mistake::PinnedWithoutTombstone);
        let present = item.value.is_some();
        if !entry.meta.needs_write(present) || unknown && !present {
            return None;
        }
        if rules.0 != Some(Mistake::ItemWhenAnswered) {
            entry.meta = entry.meta.sent();
        }
        entry.pinned = false;
        self.items_sent = true;
        self.note(rules, key);
        Some((key as u8, item))
    }

    /// A value in the segments of `checkpoint`; `None` where one of them is not there.
    fn read_back(
        &self,
        rules: Conditions,
        table: &Table,
        checkpoint: CheckpointId,
        key: usize,
    ) -> Option<Value> {
        let mut found = None;
        for at in self.refs.iter().filter(|s| s.checkpoint == checkpoint) {
            found = table.fetch(rules, at)?.entries[key].or(found);
        }
        // Created and deleted before it was ever logged.
        Some(found.unwrap_or(None))
    }

    /// The put of an item was answered.
    pub(crate) fn item_answered(&mut self, rules: Conditions, key: u8) {
        if rules.0 == Some(Mistake::ItemWhenAnswered) {
            let meta = &mut self.entries[key as usize].meta;
            *meta = meta.sent();
        }
        if let Some(cleaning) = &mut self.cleaning {
            cleaning.left.retain(|left| *left != key);
        }
        self.end_cleaning();
    }

    fn end_cleaning(&mut self) {
        if self.cleaning.take_if(|cleaning| cleaning.left.is_empty()).is_some() {
            self.log.cleaned();
            self.forget_passed();
        }
    }
}
