//! Tests of segments in their slots.

use futures::TryStreamExt;

use super::*;
use crate::checkpoint::assign;
use crate::checkpoint::fakes::{FakeStore, io, name, range, version};
use crate::checkpoint::manifest::{Horizon, Manifest};
use crate::ids::SlotId;
use crate::state::WriteOutcome;

fn data(checkpoint: u64, range: KeyGroupRange, bytes: &'static [u8]) -> SegmentData {
    SegmentData {
        operator: name("counts"),
        range,
        checkpoint: CheckpointId(checkpoint),
        sequence: 0,
        entries: 2,
        bytes: Bytes::from_static(bytes),
    }
}

fn uploader(store: &Arc<FakeStore>, attempt: u64) -> Uploader {
    let slots = Slots::restored(Attempt(attempt), &[]);
    Uploader::new(Arc::<FakeStore>::clone(store), slots, Attempt(attempt), Metrics::default())
}

fn manifest(segments: Vec<SegmentRef>, horizons: Vec<Horizon>) -> Manifest {
    Manifest { segments, horizons, ..Manifest::empty(version(1, 9)) }
}

#[tokio::test]
async fn what_was_put_is_fetched_in_the_order_of_replay_by_range() {
    let store = FakeStore::new();
    let uploader = uploader(&store, 1);
    let mut segments = Vec::new();
    for one in [
        data(3, range(64, 127), b"three right"),
        data(2, range(0, 63), b"two left"),
        data(3, range(0, 63), b"three left"),
        data(1, range(0, 127), b"one"),
    ] {
        segments.push(uploader.put(one).await.unwrap());
    }
    let horizons = vec![Horizon {
        operator: name("counts"),
        range: range(64, 127),
        checkpoint: CheckpointId(1),
    }];
    let manifest = manifest(segments, horizons);
    let fetched = async |range| -> Vec<Bytes> {
        let wanted = assign::segments(&manifest, &name("counts"), range);
        let found = fetch(Arc::<FakeStore>::clone(&store), io(), wanted, 2);
        found.map_ok(|f| f.bytes).try_collect().await.unwrap()
    };
    let left: [&[u8]; 3] = [b"one", b"two left", b"three left"];
    assert_eq!(fetched(range(0, 63)).await, left);
    // What its horizon has passed is not even read.
    assert_eq!(fetched(range(64, 127)).await, [&b"three right"[..]]);
}

/// Mistake b, seen by the reader: whatever else is in the slot is never taken for the segment.
#[tokio::test]
async fn another_version_in_the_slot_is_damage_and_not_data() {
    let store = FakeStore::new();
    let segment = uploader(&store, 1).put(data(2, range(0, 127), b"mine")).await.unwrap();
    let key = BlockKey { kind: BlockKind::Segment, slot: segment.slot, part: 0 };
    // A late copy of an older one does nothing: rule V.
    assert_eq!(store.arrive(key, version(1, 1), vec![1].into()), WriteOutcome::Done);
    assert_eq!(
        fetch_segment(Arc::<FakeStore>::clone(&store), segment.clone()).await.unwrap().bytes,
        &b"mine"[..]
    );
    store.arrive(key, version(2, 1), vec![1].into());
    let error = fetch_segment(Arc::<FakeStore>::clone(&store), segment.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let gone = SegmentRef { slot: SlotId(77), ..segment };
    assert_eq!(fetch_segment(store, gone).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Mistake e: a version without the attempt would take the other attempt's block for one's own.
#[tokio::test]
async fn a_slot_that_a_later_attempt_has_written_fences() {
    let store = FakeStore::new();
    uploader(&store, 2).put(data(5, range(0, 127), b"later")).await.unwrap();
    let error = uploader(&store, 1).put(data(5, range(0, 127), b"earlier")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

/// Mistake l: a segment has no name by which it could be carried before its put is answered.
#[tokio::test(start_paused = true)]
async fn a_segment_is_named_only_once_its_put_is_answered() {
    let store = FakeStore::new();
    let uploader = uploader(&store, 1);
    store.open.send_replace(false);
    let mut put = std::pin::pin!(uploader.put(data(1, range(0, 127), b"late")));
    for _ in 0..10 {
        assert!(futures::poll!(put.as_mut()).is_pending());
    }
    store.open.send_replace(true);
    let segment = put.await.unwrap();
    assert!(fetch_segment(store, segment).await.is_ok());
}

#[tokio::test]
async fn a_segment_that_fits_in_no_block_is_refused_before_it_takes_a_slot() {
    let store = FakeStore::new();
    let large: &'static [u8] = vec![0; MAX_BLOCK_BYTES + 1].leak();
    let error = uploader(&store, 1).put(data(1, range(0, 127), large)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(store.puts.lock().unwrap().is_empty());
}
