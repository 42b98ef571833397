//! One keyed subtask of an attempt: entries in memory, the log, cleaning, and what is carried.
//!
//! The log, the flags of entries, horizons of former subtasks and what an acknowledgement names are
//! the engine's own. Owns the order in which they are used, which in the engine is `KeyedState`'s
//! and `task`'s.

mod cleaning;

use millpond::checkpoint::{Carried, Manifest, Owed, Part, SegmentRef, SubtaskSnapshot, assign};
use millpond::ids::{CheckpointId, SlotId, Version};
use millpond::state::{CleaningPlan, FormerHorizons, Horizons, Log, Meta};
use millpond::{KeyGroup, KeyGroupRange};

use super::bounds::{ENTRIES, KEYS, Op};
use super::mistakes::Mistake;
use super::names::operator;
use super::table::{Body, Conditions, Item, Keys, Segment, Table, Value};

/// An entry in memory, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) resident: bool,
    pub(crate) value: Value,
    pub(crate) meta: Meta,
    /// Replayed, and no put of it was sent since: for the mistake that writes no tombstone of it.
    pub(crate) pinned: bool,
}

/// A barrier whose segments are being put.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    checkpoint: CheckpointId,
    fixed: SubtaskSnapshot,
    puts: Vec<SegmentRef>,
    done: Vec<Part>,
}

/// A checkpoint of the log whose entries are being written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cleaning {
    stamp: u32,
    /// Keys whose puts are not answered.
    left: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subtask {
    pub(crate) range: KeyGroupRange,
    pub(crate) log: Log,
    former: FormerHorizons,
    pub(crate) entries: Keys<Entry>,
    items_sent: bool,
    carried: Carried,
    jobs: Vec<Job>,
    /// Where the segments of the log are.
    refs: Vec<SegmentRef>,
    pub(crate) cleaning: Option<Cleaning>,
    /// Where there is a filter: the keys that it says may have an item.
    known: Option<[bool; KEYS]>,
    /// For the mistake that saves hashes late: the keys whose hashes wait for the next barrier.
    late: [bool; KEYS],
}

/// Where an attempt goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From<'a> {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) oldest_retained: CheckpointId,
    pub(crate) manifest: Option<&'a Manifest>,
}

/// What a barrier makes.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) fixed: SubtaskSnapshot,
    /// The contents of its segments.
    pub(crate) contents: Vec<Keys<Option<Value>>>,
}

fn stamp(checkpoint: CheckpointId) -> u32 {
    checkpoint.0 as u32
}

impl Subtask {
    /// What the log after the horizon gives; `None` where a segment is not there.
    pub(crate) fn restored(
        rules: Conditions,
        table: &Table,
        range: KeyGroupRange,
        from: From<'_>,
    ) -> Option<Self> {
        let mut horizons: Horizons = from.manifest.map_or_else(Vec::new, |manifest| {
            manifest.horizons.iter().map(|h| (h.range, h.checkpoint)).collect()
        });
        if rules.0 == Some(Mistake::HorizonsMerged) {
            let within = |(of, _): &&(KeyGroupRange, CheckpointId)| of.intersects(range);
            let greatest = horizons.iter().filter(within).map(|(_, h)| *h).max();
            horizons = greatest.map(|greatest| (range, greatest)).into_iter().collect();
        }
        let own = horizons.iter().map(|(_, horizon)| stamp(*horizon)).min().unwrap_or_default();
        let forgets = rules.0 == Some(Mistake::OldPartsReplayed);
        let mut subtask = Self {
            range,
            log: Log::new(
                1 + usize::from(rules.1),
                own,
                stamp(from.oldest_retained),
                stamp(from.checkpoint),
            ),
            former: match forgets {
                true => FormerHorizons::default(),
                false => FormerHorizons::restored(&horizons, range),
            },
            entries: [Entry::default(); ENTRIES],
            items_sent: from.manifest.is_some_and(|m| m.may_have_items(operator())),
            carried: Carried::default(),
            jobs: Vec::new(),
            refs: Vec::new(),
            cleaning: None,
            known: None,
            late: [false; KEYS],
        };
        if let Some(manifest) = from.manifest {
            subtask.replay(rules, table, manifest)?;
        }
        subtask.log.end_replay();
        if rules.1 {
            // Read at once: at any later time there may be more, and until then every miss reads.
            let has_hash = |chunk: usize| {
                let Entry { resident, value, .. } = subtask.entries[chunk];
                resident && value.is_some() || table.items[chunk].is_some()
            };
            subtask.known = Some([has_hash(KEYS), has_hash(KEYS + 1)]);
        }
        Some(subtask)
    }

    fn replay(&mut self, rules: Conditions, table: &Table, manifest: &Manifest) -> Option<()> {
        let mut named = assign::segments(manifest, operator(), self.range);
        if rules.0 == Some(Mistake::HorizonsMerged) {
            named.retain(|s| stamp(s.checkpoint) > self.log.horizon());
        }
        for at in named {
            let segment = table.fetch(rules, &at)?;
            for (key, entry) in segment.entries.iter().enumerate() {
                if let Some(value) = *entry {
                    self.replay_entry(rules, key, value, at.checkpoint);
                }
            }
            self.refs.push(at);
        }
        Some(())
    }

    fn replay_entry(
        &mut self,
        rules: Conditions,
        key: usize,
        value: Value,
        checkpoint: CheckpointId,
    ) {
        let group = KeyGroup((key % KEYS) as u16);
        let stamp = stamp(checkpoint);
        if !self.range.contains(group) || self.former.passed(group, stamp) {
            return;
        }
        let old = self.entries[key].meta.change();
        let mut meta = Meta::replayed(stamp);
        if rules.0 == Some(Mistake::ReplayedNoted) {
            meta = meta.noted();
        }
        self.entries[key] = Entry { resident: true, value, meta, pinned: true };
        self.log.replay(checkpoint, stamp, key / KEYS, (key % KEYS) as u32, old);
    }

    pub(crate) fn owns(&self, key: u8) -> bool {
        self.range.contains(KeyGroup(key.into()))
    }

    /// Whether the next record of `key` waits for a read of its item.
    pub(crate) fn needs_read(&self, key: u8) -> bool {
        let known = self.known.is_none_or(|known| known[key as usize]);
        !self.entries[key as usize].resident && self.items_sent && known
    }

    /// Makes `key` resident with what was read of it.
    pub(crate) fn admit(&mut self, key: u8, item: Option<Item>) {
        let entry = &mut self.entries[key as usize];
        entry.resident = true;
        if let Some(item) = item {
            let meta = Meta::loaded().noted();
            *entry = Entry { resident: true, value: item.value, meta, pinned: false };
        }
    }

    /// One record, the `number`th.
    pub(crate) fn run(&mut self, op: Op, number: u8) {
        let key = op.key() as usize;
        let value = match op {
            Op::Set(_) => Some(number),
            Op::Delete(_) => None,
        };
        // Nothing is not deleted.
        if value.is_some() || self.entries[key].value.is_some() {
            self.change(key, value);
        }
    }

    fn change(&mut self, number: usize, value: Value) {
        let entry = &mut self.entries[number];
        if entry.meta.change() != self.log.current() {
            let old = entry.meta.change();
            entry.meta = entry.meta.touched(&self.log);
            self.log.change(number / KEYS, (number % KEYS) as u32, old);
        }
        entry.value = value;
    }

    /// A put of the item of `key` is going to be sent: its hash goes into the chunk of its key group.
    fn note(&mut self, rules: Conditions, key: usize) {
        let Some(known) = &mut self.known else { return };
        if key >= KEYS || self.entries[key].meta.is_noted() {
            return;
        }
        known[key] = true;
        self.entries[key].meta = self.entries[key].meta.noted();
        if rules.0 == Some(Mistake::HashesLate) {
            self.late[key] = true;
        } else {
            self.save(key);
        }
    }

    fn save(&mut self, key: usize) {
        self.entries[KEYS + key].resident = true;
        self.change(KEYS + key, Some(0));
    }

    /// Barrier `checkpoint`: the changes since the last one, frozen and serialised at once.
    pub(crate) fn freeze(
        &mut self,
        rules: Conditions,
        checkpoint: CheckpointId,
        small: bool,
    ) -> Frozen {
        let horizons = self.former.at_barrier(self.log.horizon(), self.range);
        let fixed = SubtaskSnapshot {
            horizon: horizons.iter().map(|(_, horizon)| *horizon).min().unwrap_or_default(),
            range: Some(self.range),
            may_have_items: self.items_sent,
            ..SubtaskSnapshot::default()
        };
        let frozen = self.log.current();
        let mut contents = Vec::new();
        if self.log.freeze(checkpoint, stamp(checkpoint) + 1) {
            let mut all = [None; ENTRIES];
            for (key, entry) in self.entries.iter_mut().enumerate() {
                if entry.resident && entry.meta.change() == frozen {
                    // What neither log nor table ever knew needs no tombstone.
                    let unknown = entry.meta.is_fresh() && entry.value.is_none();
                    all[key] = (!unknown).then_some(entry.value);
                    entry.meta = entry.meta.serialised();
                }
            }
            contents = cut(all, small);
        }
        if rules.0 == Some(Mistake::UncommittedMaterialised) {
            self.log.completed(stamp(checkpoint));
        }
        for key in 0..KEYS {
            if std::mem::take(&mut self.late[key]) {
                self.save(key);
            }
        }
        Frozen { fixed, contents }
    }

    /// What a barrier made is put; `owed` is staged.
    pub(crate) fn begin(
        &mut self,
        checkpoint: CheckpointId,
        fixed: SubtaskSnapshot,
        puts: Vec<SegmentRef>,
        owed: Vec<Owed>,
    ) {
        let done = if owed.is_empty() { vec![] } else { vec![Part::Committables(owed)] };
        self.jobs.push(Job { checkpoint, fixed, puts, done });
    }

    /// The put of a segment was answered.
    pub(crate) fn put_answered(&mut self, slot: SlotId, version: Version) {
        for job in &mut self.jobs {
            let is = |s: &SegmentRef| (s.slot, s.version) == (slot, version);
            if let Some(at) = job.puts.iter().position(is) {
                let segment = job.puts.remove(at);
                self.refs.push(segment.clone());
                job.done.push(Part::Segment(segment));
                return;
            }
        }
    }

    /// The next acknowledgement that is due.
    pub(crate) fn acknowledge(
        &mut self,
        rules: Conditions,
    ) -> Option<(CheckpointId, SubtaskSnapshot)> {
        let hasty = |job: &Job, jobs: usize| match rules.0 {
            Some(Mistake::ManifestBeforeSegments) => true,
            // Whatever is behind the first one was put for a checkpoint given up.
            Some(Mistake::CarriedUnanswered) => jobs > 1 && !job.puts.is_empty(),
            _ => false,
        };
        while let Some(job) = self.jobs.first() {
            if !job.puts.is_empty() && !hasty(job, self.jobs.len()) {
                return None;
            }
            let Job { checkpoint, mut fixed, puts, done } = self.jobs.remove(0);
            if rules.0 == Some(Mistake::HorizonAtAck) {
                fixed.horizon = CheckpointId(self.log.horizon().into());
            }
            self.refs.extend(puts.iter().cloned());
            let parts = done.into_iter().chain(puts.into_iter().map(Part::Segment));
            if let Some(snapshot) = self.carried.acknowledge(checkpoint, parts, fixed) {
                return Some((checkpoint, snapshot));
            }
        }
        None
    }

    pub(crate) fn completed(
        &mut self,
        rules: Conditions,
        checkpoint: CheckpointId,
        oldest_retained: CheckpointId,
    ) {
        self.carried.completed(checkpoint);
        self.log.completed(stamp(oldest_retained));
        if rules.0 == Some(Mistake::ItemWhenAnswered) && self.is_cleaning_for_nothing() {
            self.cleaning = None;
            self.log.cleaned();
        }
        self.forget_passed();
    }

    pub(crate) fn aborted(&mut self, rules: Conditions, checkpoint: CheckpointId) {
        if rules.0 == Some(Mistake::AbortedDropped) {
            self.carried = Carried::default();
            self.jobs.clear();
        }
        self.carried.aborted(checkpoint);
    }

    /// Whether every change that is being cleaned has been replaced since.
    fn is_cleaning_for_nothing(&self) -> bool {
        let plan = CleaningPlan::of(&mut self.log.clone());
        self.cleaning.is_some() && plan.is_some_and(|plan| plan.compute().is_empty())
    }

    /// The slots of the segments after the horizon.
    pub(crate) fn slots_of_log(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.refs.iter().map(|s| s.slot)
    }

    fn forget_passed(&mut self) {
        let horizon = self.log.horizon();
        self.refs.retain(|s| stamp(s.checkpoint) > horizon);
    }
}

/// The contents of a checkpoint's segments: one, or one for each entry.
fn cut(all: Keys<Option<Value>>, small: bool) -> Vec<Keys<Option<Value>>> {
    if all.iter().all(Option::is_none) {
        return Vec::new();
    }
    if !small {
        return vec![all];
    }
    let alone = |key: usize| {
        let mut one = [None; ENTRIES];
        one[key] = all[key];
        one
    };
    (0..ENTRIES).filter(|key| all[*key].is_some()).map(alone).collect()
}

/// What a segment of a subtask is.
pub(crate) fn segment_of(
    range: KeyGroupRange,
    version: Version,
    slot: SlotId,
    sequence: usize,
    entries: Keys<Option<Value>>,
) -> (SegmentRef, Body) {
    let at = SegmentRef {
        operator: operator().clone(),
        range,
        checkpoint: version.checkpoint,
        sequence: sequence as u32,
        slot,
        version,
        bytes: 1,
        entries: 1,
    };
    (at, Body::Segment { slot, segment: Segment { version, range, entries } })
}
