//! Tests of the driver on a paused clock: lost answers, fencing, time-outs, ends.

use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;
use crate::checkpoint::Turn;
use crate::checkpoint::claim::{ClaimOptions, Claimer};
use crate::checkpoint::fakes::{
    FakeHeads, FakeSink, FakeStore, Fault, LEASE, identity, io, name, range, version,
};
use crate::checkpoint::head::{Head, HeadChange};
use crate::checkpoint::messages::{SegmentRef, SubtaskSnapshot, VertexPlan};
use crate::checkpoint::rules::StartMode;
use crate::checkpoint::segments::{SegmentData, Uploader};
use crate::checkpoint::stats::Status;
use crate::cost_control::CostControl;
use crate::ids::Attempt;
use crate::metrics::Metrics;
use crate::state::{BlockKind, Health};
use crate::{Error, ErrorKind};

/// What all attempts of a test share.
struct World {
    heads: Arc<FakeHeads>,
    store: Arc<FakeStore>,
    sink: Arc<FakeSink>,
    clock: Clock,
    history: History,
    settings: Checkpointing,
    /// Everything that any subtask was told.
    told: Arc<Mutex<Vec<Command>>>,
}

/// What the subtasks of one attempt do.
#[derive(Clone, Copy, Default)]
struct Behaviour {
    /// The source has nothing left after this many checkpoints.
    exhausted_after: Option<u64>,
    /// The source fails at the first trigger.
    fails: bool,
    /// The keyed subtask never has everything written.
    never_drained: bool,
    /// A graceful stop is wanted after this long.
    stop_after: Option<Duration>,
}

impl World {
    fn new(change: impl FnOnce(&mut Checkpointing)) -> Self {
        let mut settings = Checkpointing {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
            min_pause: Duration::ZERO,
            tolerable_failed: 0,
            num_retained: 1,
        };
        change(&mut settings);
        Self {
            heads: FakeHeads::with(None),
            store: FakeStore::new(),
            sink: Arc::default(),
            clock: Clock::starting_at(0),
            history: History::default(),
            settings,
            told: Arc::default(),
        }
    }

    async fn claim(&self, seed: u8) -> (Claimed, Heartbeat) {
        let options = ClaimOptions {
            job: name("job"),
            identity: identity("g"),
            mode: StartMode::Auto,
            exclusive: true,
            roll_back: None,
            abandon_output: false,
            lease: LEASE,
        };
        let store = Arc::clone(&self.store);
        let open: crate::checkpoint::OpenStore =
            Arc::new(move |_| Arc::clone(&store) as Arc<dyn Store>);
        let sink = Arc::clone(&self.sink);
        let heads = Arc::clone(&self.heads);
        let mut claimer = Claimer::new(options, heads, open, sink, io(), self.clock, [seed; 32]);
        match claimer.claim(&|_| {}).await.unwrap() {
            Turn::Mine(mine) => *mine,
            Turn::Over(over) => panic!("{over:?}"),
        }
    }

    fn setup(&self) -> DriverSetup {
        let source = VertexPlan {
            source: Some(name("numbers")),
            keyed: None,
            operator_state: None,
            parallelism: 1,
        };
        let counts = VertexPlan {
            source: None,
            keyed: Some(name("counts")),
            operator_state: None,
            parallelism: 1,
        };
        DriverSetup {
            job: name("job"),
            plan: Plan { vertices: vec![source, counts], ..Plan::default() },
            sources: vec![],
            settings: self.settings.clone(),
            cost_control: CostControl::default(),
            heads: Arc::<FakeHeads>::clone(&self.heads),
            committer: Arc::<FakeSink>::clone(&self.sink),
            io: io(),
            clock: self.clock,
            history: self.history.clone(),
        }
    }

    /// One attempt of driver and subtasks.
    async fn attempt(&self, seed: u8, behaviour: Behaviour) -> Result<Ended> {
        let (claimed, mut heartbeat) = self.claim(seed).await;
        let (source_tx, source_rx) = mpsc::unbounded_channel();
        let (keyed_tx, keyed_rx) = mpsc::unbounded_channel();
        let (reports_tx, reports) = mpsc::channel(4);
        let clock = self.clock;
        let stop = async move {
            match behaviour.stop_after {
                Some(after) => clock.sleep(after).await,
                None => std::future::pending().await,
            }
        };
        let channels = Channels {
            commands: vec![vec![source_tx], vec![keyed_tx]],
            reports,
            stop: stop.boxed(),
        };
        let subtasks = self.subtasks(&claimed, behaviour, source_rx, keyed_rx, reports_tx);
        tokio::select! {
            biased;
            ended = run(self.setup(), &claimed, &mut heartbeat, channels) => ended,
            () = subtasks => Err(Error::internal("the subtasks ended first")),
        }
    }

    /// A source and a keyed subtask in one: a segment and a committable for each checkpoint.
    async fn subtasks(
        &self,
        claimed: &Claimed,
        behaviour: Behaviour,
        mut source: mpsc::UnboundedReceiver<Command>,
        mut keyed: mpsc::UnboundedReceiver<Command>,
        reports: mpsc::Sender<Report>,
    ) {
        let store = Arc::clone(&claimed.store);
        let attempt = claimed.mine.attempt;
        let uploader = Uploader::new(store, claimed.slots.clone(), attempt, Metrics::default());
        let (mut segments, mut committables) = (Vec::<SegmentRef>::new(), Vec::<Owed>::new());
        let mut triggers = 0;
        if behaviour.exhausted_after == Some(0) {
            drop(reports.send(Report::SourceExhausted { vertex: 0, subtask: 0 }).await);
        }
        loop {
            // Barriers overtake news of completion: the harder order.
            let command = tokio::select! {
                biased;
                Some(command) = source.recv() => command,
                Some(command) = keyed.recv() => {
                    self.told.lock().unwrap().push(command);
                    if let Command::Completed { checkpoint, .. } = command {
                        segments.retain(|s| s.checkpoint > checkpoint);
                        committables.retain(|o| o.committable.0[1] as u64 > checkpoint.0);
                    }
                    if command == Command::Drain && !behaviour.never_drained {
                        drop(reports.send(Report::Drained { vertex: 1, subtask: 0 }).await);
                    }
                    continue;
                }
            };
            let Command::Trigger { checkpoint, .. } = command else { continue };
            self.told.lock().unwrap().push(command);
            if behaviour.fails {
                drop(reports.send(Report::Failed(Error::new(ErrorKind::User, "boom"))).await);
                continue;
            }
            let put = uploader.put(SegmentData {
                operator: name("counts"),
                range: range(0, 127),
                checkpoint,
                sequence: 0,
                entries: 1,
                bytes: Bytes::from_static(b"changes"),
            });
            segments.push(put.await.unwrap());
            let committable = Committable(vec![attempt.0 as u8, checkpoint.0 as u8]);
            committables.push(Owed { sink: name("files"), committable });
            let snapshot = SubtaskSnapshot {
                segments: segments.clone(),
                committables: committables.clone(),
                range: Some(range(0, 127)),
                ..SubtaskSnapshot::default()
            };
            for (vertex, snapshot) in [(0, SubtaskSnapshot::default()), (1, snapshot)] {
                let snapshot = Box::new(snapshot);
                drop(reports.send(Report::Ack { vertex, subtask: 0, checkpoint, snapshot }).await);
            }
            triggers += 1;
            if behaviour.exhausted_after == Some(triggers) {
                drop(reports.send(Report::SourceExhausted { vertex: 0, subtask: 0 }).await);
            }
        }
    }

    fn published(&self) -> Vec<Vec<u8>> {
        self.sink.published.lock().unwrap().iter().map(|(_, c)| c.0.clone()).collect()
    }

    fn moves(&self) -> Vec<HeadChange> {
        let sent = self.heads.sent.lock().unwrap();
        let moves = sent.iter().filter(|(_, c)| matches!(c, HeadChange::Advance { .. }));
        moves.map(|(_, change)| change.clone()).collect()
    }

    async fn for_secs(
        &self,
        secs: u64,
        attempt: impl Future<Output = Result<Ended>>,
    ) -> Option<Error> {
        tokio::select! {
            ended = attempt => Some(ended.expect_err("it does not end by itself")),
            () = self.clock.sleep(Duration::from_secs(secs)) => None,
        }
    }
}

fn bounded(checkpoints: u64) -> Behaviour {
    Behaviour { exhausted_after: Some(checkpoints), ..Behaviour::default() }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_input_ends_with_everything_committed_and_a_head_that_says_so() {
    let world = World::new(|_| {});
    assert_eq!(world.attempt(1, bounded(2)).await.unwrap(), Ended::Finished);
    let head = world.heads.shown();
    assert_eq!((head.status, head.checkpoint), (HeadStatus::Finished, CheckpointId(3)));
    assert_eq!(world.published(), [[1, 1], [1, 2], [1, 3]]);
    let overview = world.history.overview();
    assert_eq!((overview.counts.completed, overview.counts.failed), (3, 0));
    let last = overview.latest_completed.unwrap();
    assert_eq!((last.kind, last.status, last.entries), (Kind::Final, Status::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn the_head_says_finished_only_once_keyed_subtasks_have_written_everything() {
    let world = World::new(|_| {});
    let behaviour = Behaviour { never_drained: true, ..bounded(2) };
    assert!(world.for_secs(60, world.attempt(1, behaviour)).await.is_none());
    let head = world.heads.shown();
    assert_eq!((head.status, head.checkpoint), (HeadStatus::Running, CheckpointId(3)));
    assert_eq!(world.published().len(), 3, "what was committed did not wait");
    assert_eq!(world.told.lock().unwrap().last(), Some(&Command::Drain));
}

/// Mistake d, and the rule that a move goes out unchanged until it is answered or seen: with any
/// answer lost the job ends as without, and copies that land afterwards change nothing.
#[tokio::test(start_paused = true)]
async fn lost_answers_of_moves_lose_nothing() {
    for faults in [
        vec![Fault::None, Fault::AnswerLost],
        vec![Fault::None, Fault::RequestLost, Fault::RequestLost],
        vec![Fault::None, Fault::Late, Fault::Late, Fault::AnswerLost, Fault::Late],
    ] {
        let world = World::new(|_| {});
        world.heads.fail(&faults);
        assert_eq!(world.attempt(1, bounded(3)).await.unwrap(), Ended::Finished);
        let before = world.heads.shown();
        let landed = world.heads.land();
        assert!(landed.iter().all(|a| *a == crate::checkpoint::HeadAnswer::Refused));
        assert_eq!(world.heads.shown(), before);
        assert_eq!(world.published().len(), 4);
        let mut moves = world.moves();
        moves.dedup();
        assert_eq!(moves.len(), 4, "a move that is sent again is the same move");
    }
}

/// Mistake r: whatever the time-out, a move that was sent is not given up.
#[tokio::test(start_paused = true)]
async fn a_move_without_an_answer_outlives_the_timeout() {
    let world = World::new(|s| s.timeout = Duration::from_secs(2));
    world.heads.fail(&[Fault::None]);
    world.heads.fail(&[Fault::RequestLost; 40]);
    assert_eq!(world.attempt(1, bounded(1)).await.unwrap(), Ended::Finished);
    assert!(!world.told.lock().unwrap().iter().any(|c| matches!(c, Command::Aborted { .. })));
}

fn rival(world: &World) -> Head {
    let mut head = world.heads.shown();
    head.attempt = Attempt(7);
    head.owner = "rival".to_owned();
    head
}

/// I3: whoever is replaced cannot move the head, and says who has it.
#[tokio::test(start_paused = true)]
async fn a_replaced_attempt_is_fenced_and_names_the_new_owner() {
    let world = World::new(|_| {});
    let replaced = async {
        world.clock.sleep(Duration::from_millis(2_500)).await;
        *world.heads.head.lock().unwrap() = Some(rival(&world));
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        ended = world.attempt(1, Behaviour::default()) => ended.unwrap_err(),
        () = replaced => unreachable!(),
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("attempt 7 of owner rival"), "{error}");
    let head = world.heads.shown();
    assert_eq!((head.attempt, head.checkpoint), (Attempt(7), CheckpointId(2)));
    assert_eq!(world.published().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_beat_moves_three_times_a_lease_and_notices_a_new_owner() {
    let world = World::new(|s| s.interval = Duration::from_secs(3600));
    assert!(world.for_secs(50, world.attempt(1, Behaviour::default())).await.is_none());
    let beats = *world.heads.beats.lock().unwrap();
    assert!((29..=32).contains(&beats), "{beats}");
    let attempt = world.attempt(2, Behaviour::default());
    let replaced = async {
        world.clock.sleep(Duration::from_secs(1)).await;
        *world.heads.head.lock().unwrap() = Some(rival(&world));
        std::future::pending::<Result<Ended>>().await
    };
    let error = tokio::select! { e = attempt => e, e = replaced => e }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

/// A process that was stopped for longer than its lease sees that it was replaced before it puts
/// anything.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_wakes_up_after_a_lease_confirms_the_head_first() {
    let world = World::new(|_| {});
    let (claimed, mut heartbeat) = world.claim(1).await;
    let (_reports_tx, reports) = mpsc::channel(4);
    let stop = std::future::pending().boxed();
    let channels = Channels { commands: vec![], reports, stop };
    let mut driver = Driver::new(world.setup(), &claimed, &mut heartbeat, channels.commands);
    tokio::time::advance(LEASE * 2).await;
    *world.heads.head.lock().unwrap() = Some(rival(&world));
    let manifest = Manifest::empty(version(1, 1));
    driver.put_manifest(manifest);
    let answer = driver.calls.next().await.unwrap();
    assert_eq!(answer.err().unwrap().kind(), ErrorKind::Fenced);
    assert!(world.store.puts.lock().unwrap().is_empty());
}

/// Mistakes k and y: what was given up while the store did not answer is carried into the next
/// manifest under a new number, and does not count as failed.
#[tokio::test(start_paused = true)]
async fn a_struggling_store_delays_and_loses_nothing() {
    let world = World::new(|s| s.timeout = Duration::from_secs(2));
    *world.store.health.lock().unwrap() = Health { struggling_for: Duration::from_secs(1) };
    let trouble = async {
        world.clock.sleep(Duration::from_millis(900)).await;
        // Segments get through; the manifest's put, a moment later, does not.
        world.store.open.send_replace(false);
        world.clock.sleep(Duration::from_secs(7)).await;
        world.store.open.send_replace(true);
        std::future::pending::<Result<Ended>>().await
    };
    let attempt = world.attempt(1, bounded(5));
    let ended = tokio::select! { ended = attempt => ended, ended = trouble => ended };
    assert_eq!(ended.unwrap(), Ended::Finished);
    let aborted: Vec<u64> = world
        .told
        .lock()
        .unwrap()
        .iter()
        .filter_map(
            |c| if let Command::Aborted { checkpoint } = c { Some(checkpoint.0) } else { None },
        )
        .collect();
    assert!(aborted.len() >= 2, "{aborted:?}");
    let head = world.heads.shown();
    let (manifests, _) = world.claim(2).await;
    assert!(manifests.manifest.is_none(), "it has finished: a fresh start");
    let retained = head.retained[0];
    let store: Arc<dyn Store> = Arc::<FakeStore>::clone(&world.store);
    let last = archive::read_manifest(store, retained).await.unwrap().manifest;
    let named: Vec<u64> = last.segments.iter().map(|s| s.checkpoint.0).collect();
    assert_eq!(named, (1..=head.checkpoint.0).collect::<Vec<_>>(), "aborted: {aborted:?}");
    assert_eq!(world.published().len() as u64, head.checkpoint.0);
}

#[tokio::test(start_paused = true)]
async fn too_many_timeouts_fail_the_attempt() {
    let world = World::new(|s| s.timeout = Duration::from_secs(2));
    world.store.open.send_replace(false);
    let error = world.attempt(1, Behaviour::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert_eq!(world.history.overview().counts.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_after_a_checkpoint_that_is_committed() {
    let world = World::new(|s| s.interval = Duration::from_secs(3600));
    *world.sink.retries.lock().unwrap() = 3;
    let stop_after = Some(Duration::from_secs(5));
    let ended = world.attempt(1, Behaviour { stop_after, ..Behaviour::default() }).await;
    assert_eq!(ended.unwrap(), Ended::Stopped);
    assert_eq!(world.heads.shown().status, HeadStatus::Stopped);
    assert_eq!(world.published(), [[1, 1]]);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_of_a_subtask_ends_the_attempt() {
    let world = World::new(|_| {});
    let fails = Behaviour { fails: true, ..Behaviour::default() };
    let error = world.attempt(1, fails).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::User, "boom"));
}

/// Mistake bb, and a crash between the head's move and its commits: what is owed is committed by the
/// next attempt, once.
#[tokio::test(start_paused = true)]
async fn what_a_crash_left_uncommitted_is_committed_by_the_next_attempt() {
    let world = World::new(|_| {});
    *world.sink.retries.lock().unwrap() = u32::MAX;
    assert!(world.for_secs(4, world.attempt(1, Behaviour::default())).await.is_none());
    assert!(world.published().is_empty());
    let moved = world.heads.shown().checkpoint.0;
    assert!(moved >= 3);
    *world.sink.retries.lock().unwrap() = 0;
    assert_eq!(world.attempt(2, bounded(0)).await.unwrap(), Ended::Finished);
    let mut published = world.published();
    published.sort();
    let mut expected: Vec<Vec<u8>> = (1..=moved).map(|n| vec![1, n as u8]).collect();
    expected.push(vec![2, moved as u8 + 1]);
    assert_eq!(published, expected);
}

/// I5: over many checkpoints and attempts the job lives in a handful of slots.
#[tokio::test(start_paused = true)]
async fn manifest_slots_are_used_in_turn() {
    let world = World::new(|s| s.num_retained = 2);
    for seed in 1..4 {
        assert!(world.for_secs(20, world.attempt(seed, Behaviour::default())).await.is_none());
    }
    let blocks = world.store.blocks.lock().unwrap();
    let slots = blocks.keys().filter(|k| k.kind == BlockKind::Manifest).count();
    // Two retained and one in flight, for each of the few sizes that a growing manifest had.
    assert!((3..=15).contains(&slots), "{slots}");
}

#[tokio::test(start_paused = true)]
async fn the_last_report_is_not_waited_for_when_all_subtasks_are_gone() {
    let world = World::new(|_| {});
    let (claimed, mut heartbeat) = world.claim(1).await;
    let (stop_tx, stop_rx) = oneshot::channel::<()>();
    let (reports_tx, reports) = mpsc::channel(4);
    drop(reports_tx);
    let stop = async move { drop(stop_rx.await) }.boxed();
    let channels = Channels { commands: vec![], reports, stop };
    let driver = run(world.setup(), &claimed, &mut heartbeat, channels);
    // Nothing spins and nothing panics; the runtime, which dropped the subtasks, drops this too.
    assert!(world.for_secs(5, driver).await.is_none());
    drop(stop_tx);
}

/// A subtask whose segment finds a later attempt's version knows a number only; the driver names the
/// owner.
#[tokio::test(start_paused = true)]
async fn a_fenced_subtask_ends_the_attempt_with_the_new_owner_named() {
    let world = World::new(|_| {});
    let (claimed, mut heartbeat) = world.claim(1).await;
    let (reports_tx, reports) = mpsc::channel(4);
    let fenced = Error::new(ErrorKind::Fenced, "attempt 7 has taken over this job");
    reports_tx.send(Report::Failed(fenced)).await.unwrap();
    let stop = std::future::pending().boxed();
    let channels = Channels { commands: vec![], reports, stop };
    *world.heads.head.lock().unwrap() = Some(rival(&world));
    let error = run(world.setup(), &claimed, &mut heartbeat, channels).await.unwrap_err();
    assert!(error.message().contains("owner rival"), "{error}");
}
