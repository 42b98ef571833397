//! Tests of the coordinator: sentences, and random events against the invariants.

mod random;

use super::*;
use crate::checkpoint::fakes::{name, range, segment, version};
use crate::checkpoint::messages::VertexPlan;
use crate::clock::Clock;
use crate::handover::{Committable, SplitState};
use crate::ids::SlotId;
use crate::state::unkeyed::{Elements, OperatorStateKind, SavedState};

pub(super) fn settings() -> Checkpointing {
    Checkpointing {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(60),
        min_pause: Duration::ZERO,
        tolerable_failed: 0,
        num_retained: 1,
    }
}

pub(super) fn plan(sources: u32, keyed: u32) -> Plan {
    let source = VertexPlan {
        source: Some(name("numbers")),
        keyed: None,
        operator_state: None,
        parallelism: sources,
    };
    let counts = VertexPlan {
        source: None,
        keyed: Some(name("counts")),
        operator_state: None,
        parallelism: keyed,
    };
    Plan { vertices: vec![source, counts], ..Plan::default() }
}

/// A coordinator over one source and one keyed subtask, with a clock of its own.
struct Bench {
    coordinator: Coordinator,
    now: Instant,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Checkpointing)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        Self::beginning(settings, None).0
    }

    fn beginning(settings: Checkpointing, manifest: Option<&Manifest>) -> (Self, Vec<Effect>) {
        let now = Clock::starting_at(0).now();
        let checkpoint = manifest.map_or(CheckpointId::NONE, |m| m.checkpoint);
        let retained = manifest.map(|m| Kept {
            retained: Retained { checkpoint, slot: SlotId(90), version: m.version },
            segments: m.segments.iter().map(|s| s.slot).collect(),
        });
        let beginning = Beginning {
            plan: plan(1, 1),
            settings,
            attempt: Attempt(2),
            checkpoint,
            retained: retained.into_iter().collect(),
            manifest,
            sources: vec![],
        };
        let (coordinator, effects) = Coordinator::new(beginning, now);
        (Self { coordinator, now }, effects)
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.coordinator.on(event, self.now, 0)
    }

    fn pass(&mut self, secs: u64) -> Vec<Effect> {
        self.now += Duration::from_secs(secs);
        self.on(Event::Tick { struggling: false })
    }

    fn ack(&mut self, vertex: usize, checkpoint: u64, snapshot: SubtaskSnapshot) -> Vec<Effect> {
        let checkpoint = CheckpointId(checkpoint);
        self.on(Event::Ack { vertex, subtask: 0, checkpoint, snapshot })
    }

    /// All acknowledge; gives the manifest.
    fn acks(&mut self, checkpoint: u64, keyed: SubtaskSnapshot) -> Manifest {
        self.ack(0, checkpoint, SubtaskSnapshot::default());
        let effects = self.ack(1, checkpoint, keyed);
        let put = effects.into_iter().find_map(|e| match e {
            Effect::PutManifest(manifest) => Some(*manifest),
            _ => None,
        });
        put.expect("all have acknowledged")
    }

    fn put(&mut self, checkpoint: u64) -> Vec<Effect> {
        let version = version(2, checkpoint);
        let slot = SlotId(checkpoint);
        let retained = Retained { checkpoint: version.checkpoint, slot, version };
        self.on(Event::ManifestPut { retained, bytes: 1 })
    }

    fn moved(&mut self, checkpoint: u64) -> Vec<Effect> {
        self.on(Event::HeadMoved { checkpoint: CheckpointId(checkpoint) })
    }

    fn complete(&mut self, checkpoint: u64, keyed: SubtaskSnapshot) -> Vec<Effect> {
        self.acks(checkpoint, keyed);
        self.put(checkpoint);
        self.moved(checkpoint)
    }
}

fn triggered(effects: &[Effect]) -> Option<(u64, Kind)> {
    effects.iter().find_map(|e| match e {
        Effect::Trigger { checkpoint, kind } => Some((checkpoint.0, *kind)),
        _ => None,
    })
}

fn committed(effects: &[Effect]) -> Vec<Owed> {
    let lists = effects.iter().filter_map(|e| match e {
        Effect::Commit(owed) => Some(owed.clone()),
        _ => None,
    });
    lists.flatten().collect()
}

fn ended(effects: &[Effect]) -> Option<HeadStatus> {
    effects.iter().find_map(|e| match e {
        Effect::End(status) => Some(*status),
        _ => None,
    })
}

fn failed(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Fail(_)))
}

fn owed(byte: u8) -> Owed {
    Owed { sink: name("files"), committable: Committable(vec![byte]) }
}

fn keyed(segments: Vec<crate::checkpoint::SegmentRef>, committables: Vec<Owed>) -> SubtaskSnapshot {
    SubtaskSnapshot {
        segments,
        committables,
        range: Some(range(0, 127)),
        ..SubtaskSnapshot::default()
    }
}

#[test]
fn checkpoints_begin_an_interval_apart_and_a_pause_after_the_last() {
    let mut bench = Bench::new(|s| s.min_pause = Duration::from_secs(4));
    assert_eq!(triggered(&bench.pass(9)), None);
    assert_eq!(triggered(&bench.pass(1)), Some((1, Kind::Periodic)));
    assert_eq!(triggered(&bench.pass(9)), None);
    // It took nine of the ten seconds: the pause decides.
    bench.complete(1, keyed(vec![], vec![]));
    assert_eq!(triggered(&bench.pass(3)), None);
    assert_eq!(triggered(&bench.pass(1)), Some((2, Kind::Periodic)));
}

#[test]
fn a_longer_interval_holds_from_the_next_checkpoint_on() {
    let mut bench = Bench::new(|_| {});
    bench.coordinator.lengthen(3);
    assert_eq!(triggered(&bench.pass(10)), Some((1, Kind::Periodic)));
    bench.complete(1, keyed(vec![], vec![]));
    assert_eq!(triggered(&bench.pass(29)), None);
    bench.coordinator.lengthen(1);
    assert_eq!(triggered(&bench.pass(1)), Some((2, Kind::Periodic)));
    bench.complete(2, keyed(vec![], vec![]));
    assert_eq!(triggered(&bench.pass(10)), Some((3, Kind::Periodic)));
}

#[test]
fn memory_pressure_triggers_early_and_once() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(triggered(&bench.on(Event::MemoryPressure)), Some((1, Kind::Periodic)));
    let effects = bench.complete(1, keyed(vec![], vec![]));
    assert_eq!(triggered(&effects), None);
}

/// Whoever asked for it asks again and again until its barrier has come, and used to get another one.
#[test]
fn who_asks_for_memory_while_a_checkpoint_is_under_way_gets_no_second_one() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(triggered(&bench.on(Event::MemoryPressure)), Some((1, Kind::Periodic)));
    assert_eq!(triggered(&bench.on(Event::MemoryPressure)), None);
    assert_eq!(triggered(&bench.complete(1, keyed(vec![], vec![]))), None);
    assert_eq!(triggered(&bench.on(Event::MemoryPressure)), Some((2, Kind::Periodic)));
}

/// It used to wait for the interval, with the sources stopped all the time.
#[test]
fn an_early_checkpoint_that_times_out_is_followed_by_another_after_the_pause() {
    let mut bench = Bench::new(|s| {
        s.interval = Duration::from_secs(3600);
        s.min_pause = Duration::from_secs(4);
        s.tolerable_failed = 9;
    });
    assert_eq!(triggered(&bench.on(Event::MemoryPressure)), Some((1, Kind::Periodic)));
    assert_eq!(triggered(&bench.pass(60)), None);
    assert_eq!(bench.coordinator.wake(), Some(bench.now + Duration::from_secs(4)));
    assert_eq!(triggered(&bench.pass(3)), None);
    assert_eq!(triggered(&bench.pass(1)), Some((2, Kind::Periodic)));
    bench.complete(2, keyed(vec![], vec![]));
    assert_eq!(triggered(&bench.pass(60)), None, "it is satisfied");
    assert_eq!(triggered(&bench.pass(3540)), Some((3, Kind::Periodic)));
    bench.pass(60);
    assert_eq!(triggered(&bench.pass(4)), None, "nobody wants memory back");
}

#[test]
fn the_pause_holds_for_early_checkpoints_too() {
    let mut bench = Bench::new(|s| s.min_pause = Duration::from_secs(4));
    bench.pass(10);
    bench.complete(1, keyed(vec![], vec![]));
    assert_eq!(triggered(&bench.on(Event::MemoryPressure)), None);
    assert_eq!(triggered(&bench.pass(4)), Some((2, Kind::Periodic)));
}

/// Mistake m: nothing is put before all have acknowledged, and nothing moves before that is answered.
#[test]
fn a_manifest_waits_for_all_acknowledgements_and_the_move_for_its_manifest() {
    let mut bench = Bench::new(|_| {});
    bench.pass(10);
    let first = bench.ack(1, 1, keyed(vec![segment(0, 2, 1)], vec![]));
    assert!(first.iter().all(|e| matches!(e, Effect::Record(_))), "{first:?}");
    let all = bench.ack(0, 1, SubtaskSnapshot::default());
    assert!(all.iter().any(|e| matches!(e, Effect::PutManifest(_))));
    assert!(!all.iter().any(|e| matches!(e, Effect::MoveHead { .. })));
    let put = bench.put(1);
    assert!(matches!(
        &put[..],
        [Effect::MoveHead { previous: CheckpointId(0), checkpoint: CheckpointId(1), .. }]
    ));
}

/// Mistakes k, l, y: an aborted checkpoint's segments come again under the next number, each once, and
/// its late acknowledgements are not taken.
#[test]
fn an_aborted_checkpoint_is_carried_into_the_next() {
    let mut bench = Bench::new(|s| s.tolerable_failed = 1);
    bench.pass(10);
    bench.ack(1, 1, keyed(vec![segment(0, 2, 1)], vec![owed(1)]));
    let effects = bench.pass(60);
    assert!(matches!(effects[0], Effect::Abort { checkpoint: CheckpointId(1) }));
    assert_eq!(triggered(&effects), Some((2, Kind::Periodic)));
    assert!(bench.ack(0, 1, SubtaskSnapshot::default()).is_empty(), "late");
    let carried = keyed(vec![segment(0, 2, 1), segment(1, 2, 2)], vec![owed(1), owed(2)]);
    let manifest = bench.acks(2, carried.clone());
    assert_eq!(manifest.segments, carried.segments);
    assert_eq!(manifest.committables, carried.committables);
    bench.put(2);
    bench.moved(2);
    // The subtask had not heard of it when the next barrier came: each is named once all the same.
    bench.pass(10);
    let again = keyed([&carried.segments[..], &[segment(2, 2, 3)]].concat(), carried.committables);
    let manifest = bench.acks(3, again);
    assert_eq!(manifest.segments.len(), 3);
    assert_eq!(manifest.committables.len(), 2);
}

#[test]
fn failures_in_a_row_fail_the_attempt_unless_the_store_is_struggling() {
    let mut bench = Bench::new(|s| s.tolerable_failed = 1);
    bench.pass(10);
    for _ in 0..5 {
        bench.now += Duration::from_secs(60);
        let effects = bench.on(Event::Tick { struggling: true });
        assert!(matches!(effects[0], Effect::Abort { .. }) && !failed(&effects));
    }
    assert!(!failed(&bench.pass(60)));
    bench.complete(7, keyed(vec![], vec![]));
    bench.pass(10);
    assert!(!failed(&bench.pass(60)), "a completed one has ended the row");
    assert!(failed(&bench.pass(60)));
    assert!(bench.pass(60).is_empty(), "it is over");
}

/// Mistake r: a move that was sent is waited for, however long; its manifest's slot stays taken.
#[test]
fn a_move_that_was_sent_is_never_aborted() {
    let mut bench = Bench::new(|_| {});
    bench.pass(10);
    bench.acks(1, keyed(vec![], vec![]));
    bench.put(1);
    assert!(bench.coordinator.wake().is_none());
    for _ in 0..10 {
        assert!(bench.pass(100).is_empty());
    }
    assert!(bench.moved(1).iter().any(|e| matches!(e, Effect::Completed { .. })));
}

#[test]
fn a_manifest_put_that_takes_too_long_is_given_up_and_its_answer_ignored() {
    let mut bench = Bench::new(|s| s.tolerable_failed = 9);
    bench.pass(10);
    bench.acks(1, keyed(vec![], vec![]));
    assert!(matches!(bench.pass(60)[0], Effect::Abort { checkpoint: CheckpointId(1) }));
    assert!(bench.put(1).is_empty());
    assert!(bench.moved(1).is_empty());
    bench.acks(2, keyed(vec![], vec![]));
    assert!(bench.put(1).is_empty(), "of another version");
}

/// Mistake bb: what is not acknowledged is named by every manifest that follows, and no more after.
#[test]
fn a_committable_is_named_until_it_is_acknowledged() {
    let mut bench = Bench::new(|_| {});
    bench.pass(10);
    let effects = bench.complete(1, keyed(vec![], vec![owed(1)]));
    assert_eq!(committed(&effects), [owed(1)]);
    bench.pass(10);
    let manifest = bench.acks(2, keyed(vec![], vec![owed(2)]));
    assert_eq!(manifest.committables, [owed(1), owed(2)]);
    bench.put(2);
    bench.on(Event::Acknowledged(vec![owed(1)]));
    assert_eq!(committed(&bench.moved(2)), [owed(2)], "the first one is not committed again");
    bench.pass(10);
    assert_eq!(bench.acks(3, keyed(vec![], vec![])).committables, [owed(2)]);
}

#[test]
fn what_the_restored_manifest_owes_is_committed_at_once_and_named_until_then() {
    let mut bench = Bench::new(|_| {});
    bench.pass(10);
    let manifest = bench.acks(1, keyed(vec![], vec![owed(1)]));
    let (mut bench, effects) = Bench::beginning(settings(), Some(&manifest));
    assert_eq!(committed(&effects), [owed(1)]);
    assert_eq!(triggered(&bench.pass(10)), Some((2, Kind::Periodic)));
    assert_eq!(bench.acks(2, keyed(vec![], vec![])).committables, [owed(1)]);
}

#[test]
fn the_end_of_all_input_takes_a_last_checkpoint_until_one_completes_and_is_committed() {
    let mut bench = Bench::new(|s| s.tolerable_failed = 9);
    let effects = bench.on(Event::Exhausted { vertex: 0, subtask: 0 });
    assert_eq!(triggered(&effects), Some((1, Kind::Final)));
    assert_eq!(triggered(&bench.pass(60)), Some((2, Kind::Final)));
    let effects = bench.complete(2, keyed(vec![], vec![owed(7)]));
    assert_eq!((ended(&effects), committed(&effects)), (None, vec![owed(7)]));
    assert!(bench.pass(1000).is_empty(), "no more checkpoints");
    let effects = bench.on(Event::Acknowledged(vec![owed(7)]));
    assert_eq!(ended(&effects), Some(HeadStatus::Finished));
}

#[test]
fn a_stop_takes_a_last_checkpoint_after_the_one_under_way() {
    let mut bench = Bench::new(|_| {});
    bench.pass(10);
    assert!(bench.on(Event::Stop).is_empty());
    let effects = bench.complete(1, keyed(vec![], vec![]));
    assert_eq!(triggered(&effects), Some((2, Kind::Stop)));
    let effects = bench.complete(2, keyed(vec![], vec![]));
    assert_eq!(ended(&effects), Some(HeadStatus::Stopped));
}

#[test]
fn splits_that_no_subtask_reads_any_more_stay_in_the_manifest() {
    let split = |id: &str, state, done| SplitState { id: id.to_owned(), state: vec![state], done };
    let mut bench = Bench::new(|_| {});
    bench.coordinator.base.sources = vec![SourceSplits {
        operator: name("numbers"),
        splits: vec![split("a", 9, true), split("b", 1, false)],
    }];
    bench.pass(10);
    let snapshot =
        SubtaskSnapshot { splits: vec![split("b", 2, false)], ..SubtaskSnapshot::default() };
    bench.ack(1, 1, keyed(vec![], vec![]));
    let effects = bench.ack(0, 1, snapshot);
    let Some(Effect::PutManifest(manifest)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(manifest.sources[0].splits, [split("a", 9, true), split("b", 2, false)]);
}

#[test]
fn the_last_number_is_an_error_and_not_a_number_used_twice() {
    let mut bench = Bench::new(|_| {});
    bench.coordinator.last_used = CheckpointId::MAX;
    assert!(failed(&bench.pass(10)));
}

fn saved(operator_state: Vec<SavedState>) -> SubtaskSnapshot {
    SubtaskSnapshot { operator_state, ..SubtaskSnapshot::default() }
}

fn list(bytes: usize) -> Vec<SavedState> {
    let mut elements = Elements::default();
    elements.extend([&vec![0; bytes][..]]);
    vec![SavedState { state: name("waiting"), kind: OperatorStateKind::List, elements }]
}

#[test]
fn operator_state_is_what_the_acknowledgement_says_whatever_was_before() {
    let mut bench = Bench::new(|s| s.tolerable_failed = 1);
    bench.coordinator.plan.vertices[1].operator_state = Some(name("pairs"));
    let waiting = |manifest: Manifest| manifest.operator_states[0].subtasks.clone();
    assert!(triggered(&bench.pass(10)).is_some());
    assert_eq!(waiting(bench.acks(1, saved(list(3)))), [list(3)]);
    // Aborted: the next one needs nothing of it.
    assert!(triggered(&bench.pass(600)).is_some());
    assert_eq!(waiting(bench.acks(2, saved(vec![]))), [vec![]]);
    bench.put(2);
    bench.moved(2);
    assert!(triggered(&bench.pass(10)).is_some());
    assert_eq!(waiting(bench.acks(3, saved(list(4)))), [list(4)]);
}

#[test]
fn more_operator_state_than_the_limit_fails_the_attempt_and_says_whose() {
    let limit = rules::MAX_OPERATOR_STATE_BYTES as usize;
    for (bytes, fails) in [(limit - 3, false), (limit - 2, true)] {
        let mut bench = Bench::new(|s| s.tolerable_failed = 1);
        bench.coordinator.plan.vertices[1].operator_state = Some(name("pairs"));
        bench.pass(10);
        bench.ack(0, 1, SubtaskSnapshot::default());
        let effects = bench.ack(1, 1, saved(list(bytes)));
        let error = effects.iter().find_map(|e| match e {
            Effect::Fail(error) => Some(error.to_string()),
            _ => None,
        });
        assert_eq!(error.is_some(), fails);
        let text = error.unwrap_or_default();
        assert!(!fails || text.contains("the list waiting of operator pairs"), "{text}");
    }
}
