//! Purging against heads of every status, in memory.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::checkpoint::contract::sample_head;
use crate::error::ErrorKind;
use crate::ids::{SlotId, Version};
use crate::runtime::MemoryBackend;
use crate::state::{BlockKey, BlockKind, Store};

fn job() -> Name {
    Name::new("job").unwrap()
}

fn head(status: HeadStatus, checkpoint: u64) -> Head {
    let head = sample_head(3, checkpoint);
    Head { retained: Vec::new(), incarnation: Incarnation(2), status, ..head }
}

async fn backend(head: Head) -> MemoryBackend {
    let backend = MemoryBackend::new();
    for incarnation in [1, 2] {
        let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
        let segment = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
        let store = backend.memory_store(&job(), Incarnation(incarnation));
        store.put_block(segment, version, Bytes::from_static(b"b")).await.unwrap();
    }
    put(&backend, HeadCondition::Absent, head).await;
    backend
}

async fn put(backend: &MemoryBackend, condition: HeadCondition, head: Head) {
    let change = HeadChange::Put(Box::new(head));
    let answer = backend.heads().write(&job(), condition, change).await.unwrap();
    assert!(matches!(answer, HeadAnswer::Applied(_)), "{answer:?}");
}

async fn left(backend: &MemoryBackend, incarnation: u64) -> bool {
    let segment = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
    let store = backend.memory_store(&job(), Incarnation(incarnation));
    store.get_block(segment).await.unwrap().is_some()
}

async fn purged(backend: &MemoryBackend, options: PurgeOptions) -> Result<Purged> {
    purge(backend, &job(), options, Clock::starting_at(0), [7; 32]).await
}

#[tokio::test(start_paused = true)]
async fn all_of_a_stopped_job_goes_but_its_head_which_lets_the_next_run_start_afresh() {
    let backend = backend(head(HeadStatus::Stopped, 9)).await;
    let done = purged(&backend, PurgeOptions::default()).await.unwrap();
    assert_eq!(done.incarnations, 2);
    assert!(!left(&backend, 1).await && !left(&backend, 2).await);
    let head = backend.heads().read(&job()).await.unwrap().unwrap();
    assert_eq!((head.attempt, head.incarnation), (Attempt(4), Incarnation(3)));
    assert_eq!((head.status, head.checkpoint), (HeadStatus::Finished, CheckpointId::NONE));
    // Once more, nothing is claimed and nothing is left.
    assert_eq!(purged(&backend, PurgeOptions::default()).await.unwrap(), Purged::default());
    assert_eq!(backend.heads().read(&job()).await.unwrap().unwrap(), head);
}

#[tokio::test(start_paused = true)]
async fn only_former_incarnations_go_where_that_is_asked_for_and_the_head_is_untouched() {
    let running = head(HeadStatus::Running, 9);
    let backend = backend(running.clone()).await;
    let options = PurgeOptions { former_only: true, ..PurgeOptions::default() };
    assert_eq!(purged(&backend, options).await.unwrap().incarnations, 1);
    assert!(!left(&backend, 1).await && left(&backend, 2).await);
    let shown = backend.heads().read(&job()).await.unwrap().unwrap();
    assert_eq!(shown, Head { clean_below: Incarnation(2), ..running });
}

/// Fresh starts that crash before they write anything used to hide what was before them from every later
/// purge.
#[tokio::test(start_paused = true)]
async fn what_lies_before_many_incarnations_that_left_nothing_is_found() {
    let later = |clean| Head {
        incarnation: Incarnation(20),
        clean_below: Incarnation(clean),
        ..head(HeadStatus::Stopped, 0)
    };
    let of = |clean| async move {
        let backend = backend(later(clean)).await;
        let options = PurgeOptions { former_only: true, ..PurgeOptions::default() };
        let found = purged(&backend, options).await.unwrap().incarnations;
        let shown = backend.heads().read(&job()).await.unwrap().unwrap();
        assert_eq!(shown.clean_below, Incarnation(20));
        assert_eq!(found == 2, !left(&backend, 1).await);
        found
    };
    assert_eq!(of(1).await, 2);
    assert_eq!(of(2).await, 1, "what the head says is deleted is not looked at again");
    assert_eq!(of(18).await, 0);
}

/// Such an incarnation used to be found by its first slot alone.
#[tokio::test(start_paused = true)]
async fn a_first_checkpoint_that_ended_in_the_midst_is_found_by_any_segment() {
    let backend = MemoryBackend::new();
    put(&backend, HeadCondition::Absent, head(HeadStatus::Stopped, 9)).await;
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let segment = BlockKey { kind: BlockKind::Segment, slot: SlotId(9), part: 0 };
    let store = backend.memory_store(&job(), Incarnation(1));
    store.put_block(segment, version, Bytes::from_static(b"b")).await.unwrap();
    let options = PurgeOptions { former_only: true, ..PurgeOptions::default() };
    assert_eq!(purged(&backend, options).await.unwrap(), Purged { incarnations: 1, items: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_there_is_told() {
    let error = purged(&MemoryBackend::new(), PurgeOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "memory has no job job");
}

/// As a table that others reach, too.
#[derive(Debug)]
struct Shared(MemoryBackend);

impl Backend for Shared {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn heads(&self) -> std::sync::Arc<dyn crate::checkpoint::HeadStore> {
        self.0.heads()
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> std::sync::Arc<dyn Store> {
        self.0.store(job, incarnation)
    }

    fn purge(
        &self,
        job: &Name,
        incarnation: Incarnation,
        left: crate::runtime::Left,
    ) -> futures::future::BoxFuture<'static, Result<u64>> {
        self.0.purge(job, incarnation, left)
    }

    fn consumed(&self) -> crate::runtime::CapacityUnits {
        self.0.consumed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_job_is_refused_unless_it_is_taken_over_or_has_stood_still_for_a_lease() {
    let shared = Shared(backend(head(HeadStatus::Running, 9)).await);
    let clock = Clock::starting_at(0);
    let options = PurgeOptions::default();
    let beats = async {
        clock.sleep(Duration::from_secs(1)).await;
        let beat = HeadChange::Beat(2);
        shared.heads().write(&job(), HeadCondition::Owned(Attempt(3)), beat).await.unwrap();
    };
    let name = job();
    let (refused, ()) = tokio::join!(purge(&shared, &name, options, clock, [7; 32]), beats);
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("--take-over"), "{error}");
    assert!(left(&shared.0, 2).await);
    // Its owner is silent now.
    let done = purge(&shared, &job(), options, clock, [7; 32]).await.unwrap();
    assert_eq!(done.incarnations, 2);

    let shared = Shared(backend(head(HeadStatus::Running, 9)).await);
    let options = PurgeOptions { take_over: true, ..options };
    let before = clock.now();
    assert_eq!(purge(&shared, &job(), options, clock, [7; 32]).await.unwrap().incarnations, 2);
    assert_eq!(clock.now(), before, "it does not wait");
}
