//! Random events against a model of head, subtasks and sinks, asserting I3, I5, I6 and I7.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::SegmentRef;
use crate::checkpoint::slots::Slots;
use crate::state::BlockKind;

const KEYED: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    Pass {
        secs: u8,
        struggling: bool,
    },
    Ack {
        source: bool,
        subtask: u32,
        horizon: u8,
    },
    /// An acknowledgement of a number that was used before.
    LateAck {
        subtask: u32,
    },
    PutAnswered,
    HeadMoved,
    Acknowledge {
        how_many: u8,
    },
    Exhausted {
        subtask: u32,
    },
    Pressure,
    Stop,
    Hear {
        subtask: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => (1u8..40, any::<bool>()).prop_map(|(secs, struggling)| Step::Pass { secs, struggling }),
        72 => (any::<bool>(), 0..KEYED, any::<u8>())
            .prop_map(|(source, subtask, horizon)| Step::Ack { source, subtask, horizon }),
        6 => (0..KEYED).prop_map(|subtask| Step::LateAck { subtask }),
        60 => Just(Step::PutAnswered),
        60 => Just(Step::HeadMoved),
        18 => (1u8..4).prop_map(|how_many| Step::Acknowledge { how_many }),
        1 => (0..2u32).prop_map(|subtask| Step::Exhausted { subtask }),
        12 => Just(Step::Pressure),
        1 => Just(Step::Stop),
        24 => (0..KEYED).prop_map(|subtask| Step::Hear { subtask }),
    ]
}

/// One keyed subtask with a sink: what it does not know to be completed.
#[derive(Default)]
struct Subtask {
    segments: Vec<SegmentRef>,
    committables: Vec<Owed>,
    horizon: CheckpointId,
    /// (completed, oldest retained), as far as it was told and has listened.
    heard: (CheckpointId, CheckpointId),
}

struct World {
    coordinator: Coordinator,
    now: Instant,
    slots: Slots,
    subtasks: Vec<Subtask>,
    /// The head.
    checkpoint: CheckpointId,
    retained: Vec<Retained>,
    told: (CheckpointId, CheckpointId),
    manifests: BTreeMap<CheckpointId, Manifest>,
    triggers: Vec<CheckpointId>,
    under_way: Option<CheckpointId>,
    acked: BTreeSet<(usize, u32)>,
    put: Option<(Manifest, SlotId)>,
    moving: Option<(CheckpointId, Vec<Retained>)>,
    /// Segments of all acknowledgements so far.
    frozen: Vec<SegmentRef>,
    reported: BTreeSet<Owed>,
    committing: Vec<Owed>,
    acknowledged: BTreeSet<Owed>,
    last_kind: Option<Kind>,
    over: bool,
}

impl World {
    fn new(num_retained: u32) -> Self {
        let now = Clock::starting_at(0).now();
        let settings = Checkpointing { num_retained, tolerable_failed: 1000, ..settings() };
        let beginning = Beginning {
            plan: plan(2, KEYED),
            settings,
            attempt: Attempt(2),
            checkpoint: CheckpointId::NONE,
            retained: vec![],
            manifest: None,
            sources: vec![],
        };
        Self {
            coordinator: Coordinator::new(beginning, now).0,
            now,
            slots: Slots::restored(Attempt(2), &[]),
            subtasks: (0..KEYED).map(|_| Subtask::default()).collect(),
            checkpoint: CheckpointId::NONE,
            retained: vec![],
            told: Default::default(),
            manifests: BTreeMap::new(),
            triggers: vec![],
            under_way: None,
            acked: BTreeSet::new(),
            put: None,
            moving: None,
            frozen: vec![],
            reported: BTreeSet::new(),
            committing: vec![],
            acknowledged: BTreeSet::new(),
            last_kind: None,
            over: false,
        }
    }

    fn step(&mut self, step: Step) {
        let event = match step {
            Step::Pass { secs, struggling } => {
                self.now += Duration::from_secs(u64::from(secs));
                Some(Event::Tick { struggling })
            }
            Step::Ack { source: true, subtask, .. } => self.source_ack(subtask),
            Step::Ack { source: false, subtask, horizon } => self.keyed_ack(subtask, horizon),
            Step::LateAck { subtask } => self.late_ack(subtask),
            Step::PutAnswered => self.put.as_ref().map(|(manifest, slot)| {
                let version = manifest.version;
                let retained = Retained { checkpoint: version.checkpoint, slot: *slot, version };
                Event::ManifestPut { retained, bytes: 10 }
            }),
            Step::HeadMoved => self.moving.take().map(|(checkpoint, retained)| {
                // I3: the store would refuse anything else.
                (self.checkpoint, self.retained) = (checkpoint, retained);
                Event::HeadMoved { checkpoint }
            }),
            Step::Acknowledge { how_many } => {
                let n = usize::from(how_many).min(self.committing.len());
                let done: Vec<Owed> = self.committing.drain(..n).collect();
                self.acknowledged.extend(done.iter().cloned());
                Some(Event::Acknowledged(done))
            }
            Step::Exhausted { subtask } => Some(Event::Exhausted { vertex: 0, subtask }),
            Step::Pressure => Some(Event::MemoryPressure),
            Step::Stop => Some(Event::Stop),
            Step::Hear { subtask } => {
                self.hear(subtask);
                None
            }
        };
        if let Some(event) = event {
            let effects = self.coordinator.on(event, self.now, 0);
            for effect in effects {
                self.effect(effect);
            }
        }
    }

    fn source_ack(&mut self, subtask: u32) -> Option<Event> {
        let checkpoint = self.under_way?;
        self.acked.insert((0, subtask));
        let snapshot = SubtaskSnapshot::default();
        Some(Event::Ack { vertex: 0, subtask, checkpoint, snapshot })
    }

    fn keyed_ack(&mut self, subtask: u32, horizon: u8) -> Option<Event> {
        let checkpoint = self.under_way?;
        if !self.acked.insert((1, subtask)) {
            return None;
        }
        let version = Version { attempt: Attempt(2), checkpoint };
        let slot = self.slots.take(BlockKind::Segment, 100, version).unwrap();
        let in_use = self.retained.iter().flat_map(|r| &self.manifests[&r.checkpoint].segments);
        // I5; mistakes i and cc.
        assert!(in_use.into_iter().all(|s| s.slot != slot), "slot {slot} is in use");
        let segment = SegmentRef {
            range: range(subtask as u16 * 64, subtask as u16 * 64 + 63),
            ..segment(slot.0, 2, checkpoint.0)
        };
        let one = &mut self.subtasks[subtask as usize];
        let may = one.heard.1.max(one.horizon).0 - one.horizon.0;
        one.horizon.0 += if may == 0 { 0 } else { u64::from(horizon) % (may + 1) };
        one.segments.push(segment.clone());
        one.committables.push(owed_of(subtask, checkpoint));
        self.frozen.push(segment.clone());
        self.reported.extend(one.committables.iter().cloned());
        let snapshot = SubtaskSnapshot {
            segments: one.segments.clone(),
            committables: one.committables.clone(),
            horizon: one.horizon,
            range: Some(segment.range),
            ..SubtaskSnapshot::default()
        };
        Some(Event::Ack { vertex: 1, subtask, checkpoint, snapshot })
    }

    fn late_ack(&mut self, subtask: u32) -> Option<Event> {
        let checkpoint = *self.triggers.iter().rev().nth(1)?;
        let snapshot = SubtaskSnapshot::default();
        Some(Event::Ack { vertex: 1, subtask, checkpoint, snapshot })
    }

    /// The subtask listens to what it was told.
    fn hear(&mut self, subtask: u32) {
        let one = &mut self.subtasks[subtask as usize];
        one.heard = self.told;
        one.segments.retain(|s| s.checkpoint > one.heard.0);
        one.committables.retain(|o| o.committable.0[1] as u64 > one.heard.0.0);
    }

    fn effect(&mut self, effect: Effect) {
        assert!(!self.over);
        match effect {
            Effect::Trigger { checkpoint, kind } => self.triggered(checkpoint, kind),
            Effect::PutManifest(manifest) => self.check_manifest(*manifest),
            Effect::MoveHead { previous, checkpoint, retained, .. } => {
                // I3, and mistake d: the head is compared by checkpoint too.
                assert_eq!(previous, self.checkpoint);
                let (manifest, slot) = self.put.take().expect("the put was answered");
                assert_eq!(manifest.checkpoint, checkpoint);
                assert_eq!(retained.last().unwrap().slot, slot);
                self.manifests.insert(checkpoint, manifest);
                self.moving = Some((checkpoint, retained));
            }
            Effect::Abort { checkpoint } => {
                assert_eq!(self.under_way.take(), Some(checkpoint));
                assert!(self.moving.is_none(), "a move that was sent is aborted");
                self.put = None;
            }
            Effect::Completed { checkpoint, oldest_retained } => {
                assert_eq!(checkpoint, self.checkpoint, "told before the head has moved");
                assert_eq!(oldest_retained, self.retained[0].checkpoint);
                assert_eq!(self.under_way.take(), Some(checkpoint));
                self.told = (checkpoint, oldest_retained);
            }
            Effect::KeepSlots(named) => {
                for kept in &self.retained {
                    let manifest = &self.manifests[&kept.checkpoint];
                    assert!(named.manifests.contains(&kept.slot));
                    assert!(manifest.segments.iter().all(|s| named.segments.contains(&s.slot)));
                }
                self.slots.complete(&named);
            }
            Effect::Commit(owed) => {
                let head = &self.manifests[&self.checkpoint];
                assert!(owed.iter().all(|o| head.committables.contains(o)), "before the head");
                assert!(owed.iter().all(|o| !self.acknowledged.contains(o)), "committed twice");
                self.committing.extend(owed);
            }
            Effect::Record(_) => {}
            Effect::End(status) => {
                assert!(self.committing.is_empty() && self.moving.is_none());
                let stopped = self.last_kind == Some(Kind::Stop);
                assert_eq!(stopped, status == HeadStatus::Stopped);
                self.over = true;
            }
            Effect::Fail(error) => panic!("{error}"),
        }
    }

    fn triggered(&mut self, checkpoint: CheckpointId, kind: Kind) {
        assert_eq!(self.under_way.replace(checkpoint), None, "two under way");
        // I6 and mistake y: no number comes again.
        assert!(self.triggers.last().is_none_or(|last| *last < checkpoint));
        self.triggers.push(checkpoint);
        self.last_kind = Some(kind);
        self.acked.clear();
    }

    fn check_manifest(&mut self, manifest: Manifest) {
        // Mistake m.
        assert_eq!(self.acked.len(), 2 + KEYED as usize, "before all have acknowledged");
        let named: BTreeSet<_> = manifest.segments.iter().map(|s| (s.slot, s.version)).collect();
        assert_eq!(named.len(), manifest.segments.len(), "named twice");
        // I7 and mistake k: all that was ever frozen and is behind the horizon, aborted or not.
        for segment in &self.frozen {
            let one = &self.subtasks[usize::from(segment.range.first.0 / 64)];
            let needed = segment.checkpoint > one.horizon;
            assert_eq!(named.contains(&(segment.slot, segment.version)), needed, "{segment:?}");
        }
        // Mistake bb.
        let unacknowledged: BTreeSet<_> = self.reported.difference(&self.acknowledged).collect();
        let listed: BTreeSet<_> = manifest.committables.iter().collect();
        assert_eq!(listed, unacknowledged);
        let slot = self.slots.take(BlockKind::Manifest, 100, manifest.version).unwrap();
        // Mistake j.
        assert!(self.retained.iter().all(|kept| kept.slot != slot));
        self.put = Some((manifest, slot));
    }
}

fn owed_of(subtask: u32, checkpoint: CheckpointId) -> Owed {
    Owed { sink: name("files"), committable: Committable(vec![subtask as u8, checkpoint.0 as u8]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn the_invariants_hold_whatever_happens_when(
        steps in proptest::collection::vec(step(), 1..250), num_retained in 1u32..4,
    ) {
        let mut world = World::new(num_retained);
        for step in steps {
            world.step(step);
        }
    }
}

/// The random test is worth something only if it gets far.
#[test]
fn random_events_complete_many_checkpoints() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut completed = 0;
    for _ in 0..50 {
        let steps = proptest::collection::vec(step(), 250).new_tree(&mut runner).unwrap().current();
        let mut world = World::new(2);
        for step in steps {
            world.step(step);
        }
        completed += world.manifests.len();
    }
    assert!(completed > 150, "only {completed}");
}
