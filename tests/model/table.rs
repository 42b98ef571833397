//! The table and the requests that are on their way to it.
//!
//! Owns what a write does when it arrives. Every condition is the engine's own: rule V, and those of
//! heads. Does not own who sends what.

use millpond::KeyGroupRange;
use millpond::checkpoint::{Head, HeadChange, HeadCondition, Manifest, Owed, Retained, SegmentRef};
use millpond::ids::{Attempt, CheckpointId, SlotId, Version};
use millpond::state::WriteOutcome;

use super::bounds::ENTRIES;
use super::cell::Cell;
use super::mistakes::Mistake;

/// One of each entry: of each key, and of each key group's chunk.
pub(crate) type Keys<T> = [T; ENTRIES];

/// A state's value: the number of the record that set it.
pub(crate) type Value = Option<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    pub(crate) version: Version,
    /// `None` is a tombstone.
    pub(crate) value: Value,
}

/// A segment: what changed of each key, deletions included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Segment {
    pub(crate) version: Version,
    pub(crate) range: KeyGroupRange,
    pub(crate) entries: Keys<Option<Value>>,
}

/// One part of a manifest. Each has the whole, of which it stands for a share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) version: Version,
    pub(crate) of: u8,
    pub(crate) manifest: Cell<Manifest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    pub(crate) head: Option<Cell<Head>>,
    pub(crate) segments: Vec<Option<Cell<Segment>>>,
    pub(crate) manifests: Vec<[Option<Part>; 2]>,
    pub(crate) items: Keys<Option<Item>>,
    /// What an eventually consistent read may still show; kept for that mistake only.
    pub(crate) before: Keys<Option<Item>>,
    /// The list of retained checkpoints of each manifest; kept for that mistake only.
    pub(crate) lists: Vec<(Version, Vec<Retained>)>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    Claim { condition: HeadCondition, head: Head, back: bool },
    Move { condition: HeadCondition, checkpoint: CheckpointId, retained: Vec<Retained> },
    Segment { slot: SlotId, segment: Segment },
    Part { slot: SlotId, part: u8, content: Part },
    Item { key: u8, item: Item },
    Commit { owed: Vec<Owed> },
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Rule V's.
    Outcome(WriteOutcome),
    /// The head's, as the write left it; `None` where the condition did not hold.
    Head(Option<Cell<Head>>),
    Committed,
}

/// A request on its way. `sender` 0: nobody waits for its answer any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) sender: u8,
    pub(crate) body: Cell<Body>,
}

/// Which kind of write of rule V.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Item,
    Segment,
    Manifest,
}

/// How the table compares, and whether there is a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conditions(pub(crate) Option<Mistake>, pub(crate) bool);

impl Conditions {
    fn has(self, mistake: Mistake) -> bool {
        self.0 == Some(mistake)
    }

    /// A version as it is compared.
    pub(crate) fn seen(self, version: Version) -> Version {
        match self.has(Mistake::VersionWithoutAttempt) {
            true => Version { attempt: Attempt(0), ..version },
            false => version,
        }
    }

    /// The outcome of a write that has nothing to do.
    fn settled(self, kind: Kind, there: Option<Version>, mine: Version) -> Option<WriteOutcome> {
        let unconditional = match kind {
            Kind::Item => Mistake::ItemsUnconditional,
            Kind::Segment => Mistake::SegmentsUnconditional,
            Kind::Manifest => Mistake::ManifestsUnconditional,
        };
        if self.has(unconditional) {
            return None;
        }
        WriteOutcome::settled(there.map(|v| self.seen(v)), self.seen(mine))
    }

    fn holds(self, condition: HeadCondition, head: Option<&Head>) -> bool {
        let by_attempt = self.has(Mistake::HeadByAttempt) || self.has(Mistake::DecidedBeforeClaim);
        match condition {
            HeadCondition::At(attempt, _) if by_attempt => {
                HeadCondition::Owned(attempt).holds(head)
            }
            condition => condition.holds(head),
        }
    }
}

impl Table {
    pub(crate) fn segment(&self, slot: SlotId) -> Option<&Segment> {
        self.segments.get(slot.0 as usize)?.as_deref()
    }

    pub(crate) fn part(&self, slot: SlotId, part: u8) -> Option<&Part> {
        self.manifests.get(slot.0 as usize)?[part as usize].as_ref()
    }

    fn outcome(&self, rules: Conditions, body: &Body) -> Option<WriteOutcome> {
        match body {
            Body::Segment { slot, segment } => {
                let there = self.segment(*slot).map(|s| s.version);
                rules.settled(Kind::Segment, there, segment.version)
            }
            Body::Part { slot, part, content } => {
                let there = self.part(*slot, *part).map(|p| p.version);
                rules.settled(Kind::Manifest, there, content.version)
            }
            Body::Item { key, item } => {
                let there = self.items[*key as usize].map(|i| i.version);
                rules.settled(Kind::Item, there, item.version)
            }
            Body::Claim { .. } | Body::Move { .. } | Body::Commit { .. } => None,
        }
    }

    /// Whether a late copy of `body` may still take effect; one that never will again is forgotten.
    pub(crate) fn may_take_effect(&self, rules: Conditions, body: &Body) -> bool {
        match body {
            Body::Claim { condition, .. } | Body::Move { condition, .. } => {
                let Some(head) = &self.head else { return true };
                match *condition {
                    HeadCondition::Absent => false,
                    HeadCondition::Owned(attempt) => head.attempt <= attempt,
                    // Within an attempt the checkpoint only grows; the next one has another number.
                    HeadCondition::At(attempt, checkpoint) => {
                        head.attempt < attempt
                            || rules.holds(*condition, Some(head))
                            || head.attempt == attempt && head.checkpoint < checkpoint
                    }
                }
            }
            Body::Item { .. }
                if rules.has(Mistake::RealDeletes) || rules.has(Mistake::TombstoneRemoved) =>
            {
                true
            }
            Body::Item { .. } | Body::Segment { .. } | Body::Part { .. } => {
                self.outcome(rules, body).is_none()
            }
            Body::Commit { .. } => true,
        }
    }

    /// A request arrives.
    pub(crate) fn apply(&mut self, rules: Conditions, body: &Body) -> Answer {
        match body {
            Body::Claim { condition, head, .. } => {
                self.write_head(rules, *condition, HeadChange::Put(Box::new(head.clone())))
            }
            Body::Move { condition, checkpoint, retained } => {
                if rules.has(Mistake::RetainedInManifest)
                    && let Some(last) = retained.last()
                    && !self.lists.iter().any(|(version, _)| *version == last.version)
                {
                    self.lists.push((last.version, retained.clone()));
                }
                let (checkpoint, retained) = (*checkpoint, retained.clone());
                let change = HeadChange::Advance { checkpoint, retained, identity: None };
                self.write_head(rules, *condition, change)
            }
            Body::Commit { .. } => Answer::Committed,
            Body::Segment { .. } | Body::Part { .. } | Body::Item { .. } => {
                Answer::Outcome(self.outcome(rules, body).unwrap_or_else(|| {
                    self.put(rules, body);
                    WriteOutcome::Done
                }))
            }
        }
    }

    fn write_head(
        &mut self,
        rules: Conditions,
        condition: HeadCondition,
        change: HeadChange,
    ) -> Answer {
        let there = self.head.as_deref();
        if !rules.holds(condition, there) {
            return Answer::Head(None);
        }
        self.head = change.applied(there).map(Cell::new);
        Answer::Head(self.head.clone())
    }

    fn put(&mut self, rules: Conditions, body: &Body) {
        match body {
            Body::Segment { slot, segment } => {
                let slot = slot.0 as usize;
                self.segments.resize(self.segments.len().max(slot + 1), None);
                self.segments[slot] = Some(Cell::new(segment.clone()));
            }
            Body::Part { slot, part, content } => {
                let slot = slot.0 as usize;
                self.manifests.resize(self.manifests.len().max(slot + 1), [None, None]);
                self.manifests[slot][*part as usize] = Some(content.clone());
            }
            Body::Item { key, item } => {
                let key = *key as usize;
                if rules.has(Mistake::StaleReads) {
                    self.before[key] = self.items[key];
                }
                let deleted = rules.has(Mistake::RealDeletes) && item.value.is_none();
                self.items[key] = (!deleted).then_some(*item);
            }
            Body::Claim { .. } | Body::Move { .. } | Body::Commit { .. } => {}
        }
    }

    /// A segment that a manifest names, if its slot still holds it.
    pub(crate) fn fetch(&self, rules: Conditions, named: &SegmentRef) -> Option<&Segment> {
        let holds = |s: &&Segment| rules.seen(s.version) == rules.seen(named.version);
        self.segment(named.slot).filter(holds)
    }

    /// One part of the manifest that the head names.
    pub(crate) fn named_part(
        &self,
        rules: Conditions,
        named: &Retained,
        part: u8,
    ) -> Option<&Part> {
        let holds = |p: &&Part| rules.seen(p.version) == rules.seen(named.version);
        self.part(named.slot, part).filter(holds)
    }

    /// The manifest that the head names; `None` where it is not there, or not whole.
    pub(crate) fn manifest(&self, rules: Conditions, named: &Retained) -> Option<Cell<Manifest>> {
        let first = self.named_part(rules, named, 0)?;
        if first.of == 1 {
            return Some(first.manifest.clone());
        }
        self.named_part(rules, named, 1).map(|second| second.manifest.clone())
    }
}
