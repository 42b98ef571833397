//! What a barrier freezes, and what of it becomes a segment.

use super::*;

#[test]
fn freezing_copies_what_changes_before_its_turn() {
    let mut one = One::new();
    one.set(1, 10);
    one.set(2, 20);
    one.state.freeze(CheckpointId(1)).unwrap();
    one.set(2, 21);
    one.clear(1);
    assert!(one.state.serialise(usize::MAX).unwrap());
    let mut values = Vec::new();
    for raw in one.state.take_segments() {
        stored(&raw, 1)
            .each(&mut segment::Carry::default(), |entry| {
                values.push(entry.value.map(<[u8]>::to_vec));
                Ok(())
            })
            .unwrap();
    }
    values.sort();
    assert_eq!(values, [Some(vec![10]), Some(vec![20])]);
}

#[test]
fn an_unchanged_interval_makes_no_segment() {
    let mut one = One::new();
    one.set(1, 1);
    assert_eq!(one.complete(1).len(), 1);
    let (barrier, segments) = one.barrier(2);
    assert_eq!((barrier.entries, segments.len()), (0, 0));
}

#[test]
fn what_is_created_and_deleted_between_two_barriers_leaves_no_trace() {
    let mut one = One::new();
    one.set(1, 1);
    one.clear(1);
    assert!(one.complete(1).is_empty());
    assert!(one.clean_all().is_empty());
    assert_eq!(one.state.stats().rows, 0);
}

/// They used to stay until the checkpoint was cleaned, with their keys.
#[test]
fn keys_that_are_set_and_cleared_in_one_interval_leave_memory_with_the_barrier() {
    let mut one = One::new();
    for key in [1, 2, 3, 4] {
        one.set(key, key);
    }
    one.clear(1);
    one.clear(3);
    let (_, segments) = one.barrier(1);
    assert_eq!(segments[0].entries, 2);
    let stats = one.state.stats();
    assert_eq!((stats.rows, stats.pinned_entries), (2, 2));
    // What comes after them takes their rows, and none of what they did.
    one.set(5, 5);
    one.set(1, 6);
    one.clear(2);
    assert_eq!(one.complete(2)[0].entries, 3);
    let writes = one.clean_all();
    assert_eq!(writes.len(), 3, "1, 4 and 5; nobody has an item of 2");
    assert_eq!(one.state.stats().rows, 3);
}

#[test]
fn a_value_that_comes_and_goes_in_one_interval_leaves_the_others_of_its_key() {
    let mut states = States::new();
    let [lasting, passing] =
        ["lasting", "passing"].map(|name| states.value(ValueDescriptor::<u64>::new(name)));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let mut barrier = |n, values: [Option<u64>; 2]| {
        let row = state.find_row(1u64.key_hash(), &1);
        state.set(lasting, row, n);
        for value in values {
            match value {
                Some(value) => state.set(passing, row, value),
                None => state.clear(passing, row),
            }
        }
        state.end_batch();
        state.freeze(CheckpointId(n)).unwrap();
        assert!(state.serialise(usize::MAX).unwrap());
        let row = state.find_row(1u64.key_hash(), &1);
        assert_eq!(state.get(lasting, row), Some(&n));
        assert_eq!(state.get(passing, row), values[1].as_ref());
        let logged: u32 = state.take_segments().iter().map(|raw| raw.entries).sum();
        (logged, state.stats().pinned_entries)
    };
    assert_eq!(barrier(1, [Some(5), None]), (1, 1));
    assert_eq!(barrier(2, [None, Some(6)]), (2, 2));
    assert_eq!(barrier(3, [Some(7), None]), (2, 2), "the log has 6");
}

#[test]
fn a_barrier_number_is_never_used_twice() {
    let mut one = One::new();
    one.state.freeze(CheckpointId(3)).unwrap();
    assert_eq!(one.state.freeze(CheckpointId(3)).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn a_value_that_cannot_be_serialised_is_the_users_error() {
    #[derive(serde::Deserialize)]
    struct Broken;
    impl serde::Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let mut states = States::new();
    let broken = states.value(ValueDescriptor::<Broken>::new("broken"));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    let row = state.find_row(1u64.key_hash(), &1);
    state.set(broken, row, Broken);
    state.freeze(CheckpointId(1)).unwrap();
    state.set(broken, row, Broken);
    let error = state.serialise(usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.message().contains("broken"), "{error}");
}
