//! Tests of manifests in their slots.

use super::*;
use crate::checkpoint::fakes::{FakeStore, name, version};
use crate::checkpoint::messages::Owed;
use crate::handover::Committable;
use crate::ids::Attempt;

fn manifest(attempt: u64, checkpoint: u64, bytes: usize) -> Manifest {
    Manifest {
        committables: vec![Owed { sink: name("files"), committable: Committable(vec![7; bytes]) }],
        ..Manifest::empty(version(attempt, checkpoint))
    }
}

#[tokio::test]
async fn a_manifest_of_many_parts_is_read_back_as_it_was_put() {
    let store = FakeStore::new();
    let slots = Slots::restored(Attempt(1), &[]);
    let put = put(Arc::<FakeStore>::clone(&store), slots, manifest(1, 1, 1_000_000)).await.unwrap();
    assert_eq!(store.puts.lock().unwrap().len(), 3);
    let read = read_manifest(store, put.retained).await.unwrap();
    assert_eq!(read.manifest, manifest(1, 1, 1_000_000));
    assert_eq!(read.bytes, put.bytes);
}

/// Mistakes c and r: a late part of an older manifest does not get into a slot that is in use again;
/// and where a slot shows another version than the head names, that is said, not read.
#[tokio::test]
async fn every_part_must_show_the_version_that_the_head_names() {
    let store = FakeStore::new();
    let slots = Slots::restored(Attempt(1), &[]);
    let put = put(Arc::<FakeStore>::clone(&store), slots, manifest(1, 2, 1_000_000)).await.unwrap();
    let part = |part| BlockKey { kind: BlockKind::Manifest, slot: put.retained.slot, part };
    assert_eq!(store.arrive(part(1), version(1, 1), vec![1].into()), WriteOutcome::Done);
    assert!(read_manifest(Arc::<FakeStore>::clone(&store), put.retained).await.is_ok());
    assert_eq!(store.arrive(part(1), version(2, 3), vec![1].into()), WriteOutcome::Done);
    let error = read_manifest(Arc::<FakeStore>::clone(&store), put.retained).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("2.3") && error.message().contains("1.2"), "{error}");
    store.blocks.lock().unwrap().remove(&part(1));
    let error = read_manifest(store, put.retained).await.unwrap_err();
    assert!(error.message().contains("part 1 of checkpoint 2 is missing"), "{error}");
}

#[tokio::test]
async fn a_later_attempts_version_in_the_slot_fences() {
    let store = FakeStore::new();
    let key = BlockKey { kind: BlockKind::Manifest, slot: SlotId(0), part: 0 };
    store.arrive(key, version(9, 1), vec![1].into());
    let slots = Slots::restored(Attempt(1), &[]);
    let error = put(store, slots, manifest(1, 2, 10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}
