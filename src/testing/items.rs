//! The table of a [`super::Harness`]: the items of one operator, in memory.
//!
//! Owns the answers to what a state asks for. What is asked and what is written is `state`'s.

use std::collections::BTreeMap;

use crate::codec::Key;
use crate::error::{Error, Result};
use crate::ids::CheckpointId;
use crate::state::{CleaningLimits, Item, ItemKey, ItemRange, KeyedState, Row, Scanned};

/// Everything, up to the newest checkpoint.
const ALL: CleaningLimits =
    CleaningLimits { log_max_bytes: 0, read_units: 0, max_segments: 0, eager: true };

#[derive(Debug, Default)]
pub(super) struct Items(BTreeMap<ItemKey, Item>);

impl Items {
    /// Answers what `row` waits for, until it waits for nothing.
    pub(super) fn answer<K: Key>(&self, state: &mut KeyedState<K>, row: Row) -> Result<()> {
        while state.is_loading(row) {
            let (reads, scans) = (state.take_reads(), state.take_scans());
            if reads.is_empty() && scans.is_empty() {
                return Err(Error::internal("a row waits for what it has not asked for"));
            }
            for read in &reads {
                state.loaded(read, self.0.get(&read.key))?;
            }
            for scan in &scans {
                state.scanned(scan, self.within(&scan.range))?;
            }
        }
        Ok(())
    }

    fn within(&self, range: &ItemRange) -> Vec<Scanned> {
        let first = ItemKey {
            operator: range.operator.clone(),
            state: range.state.clone(),
            key_group: range.key_group,
            sort_key: range.from.clone(),
        };
        let inside = |key: &ItemKey| {
            (&key.state, key.key_group) == (&range.state, range.key_group)
                && range.contains(&key.sort_key)
        };
        let item = |(key, item): (&ItemKey, &Item)| Scanned {
            sort_key: key.sort_key.clone(),
            item: Ok(item.clone()),
        };
        self.0.range(first..).take_while(|(key, _)| inside(key)).map(item).collect()
    }

    /// Takes `checkpoint` of the state, and writes all that has changed.
    pub(super) fn take<K: Key>(
        &mut self,
        state: &mut KeyedState<K>,
        checkpoint: CheckpointId,
    ) -> Result<()> {
        state.freeze(checkpoint)?;
        while !state.serialise(usize::MAX)? {}
        drop(state.take_segments());
        state.completed(checkpoint);
        while let Some(plan) = state.plan_cleaning(&ALL) {
            let rows = plan.compute();
            let collected = state.collect(&rows, 0, rows.len(), usize::MAX)?;
            if !collected.missing.is_empty() {
                return Err(Error::internal("the only checkpoint lacks a value"));
            }
            self.0.extend(collected.writes.into_iter().map(|write| {
                let write = write.into_write();
                (write.key, write.item)
            }));
            state.cleaned(plan.checkpoint())?;
        }
        Ok(())
    }
}
