//! What must hold whenever anything is written: the invariants of the protocol, as far as one who sees
//! every write of the table can tell.
//!
//! | | checked |
//! |---|---|
//! | I1 | at each item: its version is not newer than the oldest retained checkpoint |
//! | I2, I4, I7 | at each completion and claim, and for every retained checkpoint after items were written: items and log are the reference's state |
//! | I3 | at each write of the head: attempts go up by one with a fresh owner, checkpoints only up, but for a roll-back that was asked for |
//! | I4 | at each item and block: its version only grows, and one version has one content; no item changes once the horizon has passed its change |
//! | I5 | at each block: no retained manifest names what it replaces; at each move: all that the manifests name is there |
//! | I6 | at each item and block: its attempt has been claimed; a manifest's version is in one slot |
//!
//! Owns the rules; the content that they are about is `table`'s, what a job's state and output must
//! be is its scenario's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::descent::Descent;
use super::leaks::{Need, check_items};
use super::scenario::{Scenario, StateView, Verdict};
use super::table::{Entry, Table, group_of};
use crate::checkpoint::{Head, HeadStatus, Manifest, Retained};
use crate::dynamodb::{Row, Written};
use crate::ids::{Attempt, CheckpointId, Incarnation, SlotId, Version};
use crate::key_group::MaxParallelism;
use crate::state::{Block, BlockKey, BlockKind, ItemKey};

/// What starts may do to the head besides going on.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// Checkpoints that some start was asked to go back to.
    pub(super) roll_backs: BTreeSet<CheckpointId>,
    /// Whether some start was asked to begin afresh.
    pub(super) fresh: bool,
}

/// Judges every write.
pub(super) struct Oracle {
    scenario: Arc<dyn Scenario>,
    pub(super) table: Table,
    pub(super) allowed: Allowed,
    pub(super) descent: Descent,
    /// Every block that a retained manifest needs, and the version that it must have.
    named: BTreeMap<BlockKey, Version>,
    /// The most that there ever were of these.
    pub(super) most_named: usize,
    need: Need,
    owners: BTreeSet<String>,
    items_changed: bool,
    /// What the head's own checkpoint is restored from.
    newest: Option<Arc<Manifest>>,
    /// Where the manifest of each version was put.
    manifests: BTreeMap<(Incarnation, Version), SlotId>,
    /// States that were compared with the reference.
    pub(super) states_checked: u64,
}

impl Oracle {
    /// For an empty table.
    pub(super) fn new(scenario: Arc<dyn Scenario>) -> Self {
        Self {
            scenario,
            table: Table::default(),
            allowed: Allowed::default(),
            descent: Descent::default(),
            named: BTreeMap::new(),
            most_named: 0,
            need: Need::default(),
            owners: BTreeSet::new(),
            items_changed: false,
            newest: None,
            manifests: BTreeMap::new(),
            states_checked: 0,
        }
    }

    /// Takes one write in.
    pub(super) fn written(&mut self, written: Written) -> Verdict {
        match written {
            Written::Head(_, Some(head)) => self.head(*head),
            Written::Head(_, None) => Err("the head was deleted".to_owned()),
            Written::Item(_, incarnation, key, item) => self.item(incarnation, key, item),
            Written::Block(_, incarnation, key, block) => self.block(incarnation, key, block),
            Written::Unknown(why) => Err(why),
        }
    }

    fn live(&self) -> Option<Incarnation> {
        self.table.head.as_ref().map(|head| head.incarnation)
    }

    fn item(&mut self, incarnation: Incarnation, key: ItemKey, item: Option<Row>) -> Verdict {
        let what = format!("item {}.{} {:?}", key.operator, key.state, key.sort_key);
        let Some(item) = item else {
            let deleted = self.table.items.remove(&(incarnation, key)).is_some();
            return self.deletion(incarnation, deleted, &what);
        };
        let at = (incarnation, key);
        let before = self.table.items.get(&at);
        if before == Some(&item) {
            return Ok(());
        }
        moves_forward(before.map(|old| old.version), item.version)
            .and_then(|()| self.is_claimed(item.version))
            .map_err(|e| format!("{what}: {e}"))?;
        if self.live() == Some(incarnation) {
            let oldest = self.oldest();
            if item.version.checkpoint > oldest {
                let version = item.version;
                return Err(format!("{what} has {version}, the oldest retained is {oldest} (I1)"));
            }
            self.is_not_passed(&at.1, item.version).map_err(|e| format!("{what}: {e}"))?;
            self.parts_are_counted(incarnation, &at.1, &item)
                .map_err(|e| format!("{what}: {e}"))?;
        }
        self.items_changed = true;
        self.table.items.insert(at, item);
        Ok(())
    }

    /// The horizon passes a change once its put was answered: nothing but what is not a subtask's own,
    /// or forgotten, is put by the owner after that. A fenced attempt may put what its own horizon has
    /// not passed, where the owner has a newer change in its log and so put nothing: harmless.
    fn is_not_passed(&self, key: &ItemKey, version: Version) -> Verdict {
        let (Some(manifest), Some(head)) = (&self.newest, &self.table.head) else { return Ok(()) };
        let horizon = manifest.horizon_of(&key.operator, key.key_group);
        if version.checkpoint > horizon || version.attempt != head.attempt.in_versions() {
            return Ok(());
        }
        Err(format!("put as {version} after the horizon had passed {horizon} (I4)"))
    }

    /// No part has bytes of a key or value that its first one does not count: they would stay for ever.
    fn parts_are_counted(&self, incarnation: Incarnation, key: &ItemKey, row: &Row) -> Verdict {
        if row.part == 0 {
            let more = self.table.part(incarnation, key, row.parts.max(1));
            // The twin has each entry whole, under whatever key: there, another one may be at that place.
            return match more.filter(|more| more.part > 0 && !more.is_emptied()) {
                Some(more) => Err(format!("{} parts, and {} is there", row.parts, more.part)),
                None => Ok(()),
            };
        }
        let parts = self.table.first_of(incarnation, key).map_or(0, |first| first.parts);
        if !row.is_emptied() && row.part >= parts {
            return Err(format!("part {} of an item of {parts}", row.part));
        }
        Ok(())
    }

    fn oldest(&self) -> CheckpointId {
        let head = self.table.head.as_ref();
        let first = head.and_then(|head| head.retained.first());
        first.map_or(CheckpointId::NONE, |retained| retained.checkpoint)
    }

    fn block(&mut self, incarnation: Incarnation, key: BlockKey, block: Option<Block>) -> Verdict {
        let what = format!("{} slot {} part {}", key.kind, key.slot, key.part);
        let Some(block) = block else {
            let deleted = self.table.blocks.remove(&(incarnation, key)).is_some();
            return self.deletion(incarnation, deleted, &what);
        };
        let before = self.table.blocks.get(&(incarnation, key));
        if before == Some(&block) {
            return Ok(());
        }
        moves_forward(before.map(|old| old.version), block.version)
            .and_then(|()| self.is_claimed(block.version))
            .map_err(|e| format!("{what}: {e}"))?;
        if key.kind == BlockKind::Manifest {
            let version = block.version;
            let slot = *self.manifests.entry((incarnation, version)).or_insert(key.slot);
            if slot != key.slot {
                return Err(format!("{what}: {version} is in slot {slot} already (I6)"));
            }
        }
        // Parts past the number of a manifest's own are nobody's.
        let needed = self.named.get(&key).filter(|_| self.live() == Some(incarnation));
        if let Some(needed) = needed {
            let version = block.version;
            return Err(format!(
                "{what} is overwritten by {version}, a retained checkpoint needs {needed} (I5)"
            ));
        }
        if self.live() == Some(incarnation) {
            self.need.put(key, &block);
        }
        self.table.blocks.insert((incarnation, key), block);
        Ok(())
    }

    fn deletion(&self, incarnation: Incarnation, deleted: bool, what: &str) -> Verdict {
        if deleted && self.live().is_none_or(|live| incarnation >= live) {
            return Err(format!("{what} of the live incarnation was deleted"));
        }
        Ok(())
    }

    fn is_claimed(&self, version: Version) -> Verdict {
        let attempt = self.table.head.as_ref().map_or(Attempt(0), |head| head.attempt);
        if version.attempt > attempt {
            return Err(format!("{version} is of an attempt that was never claimed (I6)"));
        }
        Ok(())
    }

    fn head(&mut self, head: Head) -> Verdict {
        let before = self.table.head.clone();
        let step = step(before.as_ref(), &head)?;
        if step.is_claim() && !self.owners.insert(head.owner.clone()) {
            return Err(format!("attempt {} has the owner of another claim", head.attempt));
        }
        match step {
            Step::Same => {}
            Step::Completed => self.commits_are_completed()?,
            Step::Resumed => {}
            Step::RolledBack => {
                if !self.allowed.roll_backs.contains(&head.checkpoint) {
                    return Err(format!("the head went back to {} by itself", head.checkpoint));
                }
            }
            Step::Created => {}
            Step::Fresh => {
                if !self.allowed.fresh {
                    return Err("the job was begun afresh by itself".to_owned());
                }
            }
        }
        let finished = head.status == HeadStatus::Finished;
        self.table.head = Some(head.clone());
        if finished {
            self.commits_are_completed()?;
        }
        if step == Step::Same {
            return Ok(());
        }
        let manifests = self.retained(&head).map_err(|e| format!("at {step:?}: {e}"))?;
        self.need.moved(&head, step == Step::Fresh, &self.table, self.named.keys());
        let positions = manifests.last().map(|m| Table::positions(m)).transpose()?;
        self.descent.step(step, &head, positions.unwrap_or_default());
        self.states(&head, &manifests)?;
        self.table.forget(head.incarnation, &manifests);
        Ok(())
    }

    /// The manifests of all retained checkpoints: they are there, and all that they name.
    fn retained(&mut self, head: &Head) -> Result<Vec<Arc<Manifest>>, String> {
        let mut manifests = Vec::new();
        self.named.clear();
        for retained in &head.retained {
            let context = |e| format!("retained checkpoint {}: {e} (I5)", retained.checkpoint);
            let manifest = self.table.manifest(head.incarnation, retained).map_err(context)?;
            self.table.check_segments(head.incarnation, &manifest).map_err(context)?;
            let mut slots = BTreeSet::new();
            if let Some(twice) = manifest.segments.iter().find(|s| !slots.insert(s.slot)) {
                return Err(context(format!("it names segment slot {} twice", twice.slot)));
            }
            self.name(head.incarnation, retained, &manifest);
            manifests.push(manifest);
        }
        self.most_named = self.most_named.max(self.named.len());
        self.newest = manifests.last().cloned();
        Ok(manifests)
    }

    fn name(&mut self, incarnation: Incarnation, retained: &Retained, manifest: &Manifest) {
        let segments = manifest
            .segments
            .iter()
            .map(|s| (BlockKey { kind: BlockKind::Segment, slot: s.slot, part: 0 }, s.version));
        self.named.extend(segments);
        let parts = self.table.parts(incarnation, retained);
        self.named.extend(parts.into_iter().map(|key| (key, retained.version)));
    }

    /// The state at the newest checkpoint, and at all retained ones where items have changed.
    fn states(&mut self, head: &Head, manifests: &[Arc<Manifest>]) -> Verdict {
        let skip =
            if std::mem::take(&mut self.items_changed) { 0 } else { manifests.len().max(1) - 1 };
        let groups = max_parallelism(head)?;
        let scenario = Arc::clone(&self.scenario);
        let in_group = |(operator, state, key): &Entry| {
            let bytes = scenario.key_bytes(operator.as_str(), state.as_str(), key);
            group_of(groups, &key[..bytes.min(key.len())])
        };
        for manifest in manifests.iter().skip(skip) {
            let context = |e| format!("restoring checkpoint {}: {e}", manifest.checkpoint);
            let values =
                self.table.state_at(head.incarnation, manifest, in_group).map_err(context)?;
            let positions = Table::positions(manifest)?;
            let view = StateView {
                positions: &positions,
                values: &values,
                operators: &manifest.operator_states,
            };
            self.states_checked += 1;
            self.scenario
                .check_state(&view)
                .map_err(|e| format!("state at checkpoint {}: {e} (I2)", manifest.checkpoint))?;
        }
        Ok(())
    }

    /// Whether all retained checkpoints are still what they were; after late writes, for one.
    pub(super) fn check_all(&mut self) -> Verdict {
        let Some(head) = self.table.head.clone() else { return Ok(()) };
        let manifests = self.retained(&head)?;
        self.items_changed = true;
        self.states(&head, &manifests)?;
        self.commits_are_completed()
    }

    /// Whether all that is left of the live incarnation has a use, or goes by itself. `expires`: the store deletes by
    /// the clock.
    pub(super) fn check_leaks(&mut self, expires: bool) -> Verdict {
        let Some(live) = self.live() else { return Ok(()) };
        self.newest.iter().try_for_each(|manifest| self.need.check(manifest))?;
        check_items(live, &self.table, expires)
    }

    /// Nothing was committed that no completed checkpoint covers.
    fn commits_are_completed(&mut self) -> Verdict {
        for (attempt, checkpoint) in self.scenario.ends().commits() {
            if !self.descent.is_completed(attempt, checkpoint) {
                return Err(format!(
                    "output of attempt {attempt} was committed for checkpoint {checkpoint} before \
                     that was completed"
                ));
            }
        }
        Ok(())
    }
}

fn max_parallelism(head: &Head) -> Result<MaxParallelism, String> {
    MaxParallelism::new(head.identity.max_parallelism).map_err(|e| e.to_string())
}

fn moves_forward(before: Option<Version>, after: Version) -> Verdict {
    match before {
        Some(before) if before == after => Err(format!("{after} has two contents (I6)")),
        Some(before) if before > after => Err(format!("goes back from {before} to {after} (I4)")),
        _ => Ok(()),
    }
}

/// What a write of the head was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Created,
    /// Claimed, and gone on with.
    Resumed,
    RolledBack,
    Fresh,
    Completed,
    /// Its status or beat.
    Same,
}

impl Step {
    fn is_claim(self) -> bool {
        !matches!(self, Self::Completed | Self::Same)
    }
}

/// What has happened between two heads, if it may happen at all.
fn step(before: Option<&Head>, after: &Head) -> Result<Step, String> {
    let shown = |head: &Head| format!("{}.{}", head.attempt, head.checkpoint);
    let wrong = |what: &str| {
        let from = before.map_or("nothing".to_owned(), shown);
        Err(format!("the head went from {from} to {}: {what} (I3)", shown(after)))
    };
    if after.retained.last().map_or(CheckpointId::NONE, |r| r.checkpoint) != after.checkpoint {
        return wrong("its last retained checkpoint is another");
    }
    if !after.retained.is_sorted_by(|a, b| a.checkpoint < b.checkpoint) {
        return wrong("the retained checkpoints are not in order");
    }
    let Some(before) = before else {
        let first = after.attempt == Attempt(1) && after.checkpoint == CheckpointId::NONE;
        return if first { Ok(Step::Created) } else { wrong("not a first one") };
    };
    let is_kept = |r: &Retained| before.retained.contains(r);
    if after.attempt == before.attempt {
        if after.owner != before.owner || after.incarnation != before.incarnation {
            return wrong("another owner in the same attempt");
        }
        if after.checkpoint == before.checkpoint {
            let same = after.retained == before.retained;
            return if same { Ok(Step::Same) } else { wrong("the retained ones changed") };
        }
        let older = after.retained.split_last().map_or(&[][..], |(_, older)| older);
        let forward = after.checkpoint > before.checkpoint;
        let good = forward && older.iter().all(is_kept);
        return if good { Ok(Step::Completed) } else { wrong("no such move") };
    }
    if after.attempt.0 != before.attempt.0 + 1 {
        return wrong("an attempt that does not follow");
    }
    if after.incarnation != before.incarnation {
        let next = after.incarnation.0 == before.incarnation.0 + 1;
        let empty = after.checkpoint == CheckpointId::NONE;
        return if next && empty { Ok(Step::Fresh) } else { wrong("no fresh start") };
    }
    if after.retained == before.retained && after.checkpoint == before.checkpoint {
        return Ok(Step::Resumed);
    }
    let cut = before.retained.starts_with(&after.retained) && after.checkpoint < before.checkpoint;
    if cut { Ok(Step::RolledBack) } else { wrong("no roll-back") }
}

#[cfg(test)]
mod tests;
