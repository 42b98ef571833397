//! Codecs of the user's own, of types that the default one cannot read back.

use serde_json::{Value as Json, json};

use super::*;
use crate::codec::{Codec, DecodeError, Value};
use crate::state::{ListDescriptor, MapDescriptor};

pub(super) struct AsJson;

impl<T: Value> Codec<T> for AsJson {
    const ID: &'static str = "json";
    const VERSION: u32 = 1;

    fn encode(value: &T, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        serde_json::to_writer(out, value).map_err(DecodeError::new)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<T, DecodeError> {
        serde_json::from_slice(bytes).map_err(DecodeError::new)
    }
}

#[test]
fn what_was_changed_in_place_is_given_back_by_the_states_own_codec() {
    let mut states = States::new();
    let seen = states.value(ValueDescriptor::<Json>::new("seen").with_codec::<AsJson>());
    let count = states.value(ValueDescriptor::<u64>::new("count").with_codec::<AsJson>());
    let map = states.map(MapDescriptor::<u64, u64>::new("map"));
    let at = RestorePoint { items_sent: true, ..RestorePoint::default() };
    let mut state = KeyedState::<u64>::new(config(1), states.finish().unwrap(), at).unwrap();
    state.finish_restore().unwrap();
    let row = state.find_row(7u64.key_hash(), &7);
    for read in state.take_reads() {
        state.loaded(&read, None).unwrap();
    }
    state.set(seen, row, json!({"a": [1, "b"]}));
    state.set(count, row, 5);
    state.end_batch();
    state.begin_record();
    state.get_mut(seen, row).unwrap()["a"] = json!(null);
    *state.get_mut(count, row).unwrap() += 1;
    assert_eq!(state.map(map, row).get(&1).unwrap_err().kind(), ErrorKind::Suspended);
    assert!(state.end_record().unwrap());
    assert_eq!(state.get(seen, row), Some(&json!({"a": [1, "b"]})));
    assert_eq!(state.get(count, row), Some(&5));
}

#[test]
fn chunks_of_a_list_are_joined_and_bounded_by_the_lists_own_codec() {
    let mut states = States::new();
    let list = states.list(ListDescriptor::<Json>::new("list").with_codec::<AsJson>());
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let row = state.find_row(7u64.key_hash(), &7);
    let freeze = |state: &mut KeyedState<u64>, checkpoint: u64| {
        state.end_batch();
        let entries = state.freeze(CheckpointId(checkpoint)).unwrap().entries;
        assert!(state.serialise(usize::MAX).unwrap());
        state.take_segments();
        state.completed(CheckpointId(checkpoint));
        entries
    };
    let mut written = 0;
    for n in 0..200 {
        state.list(list, row).add(json!({ "n": n }));
        written += freeze(&mut state, n + 1);
    }
    assert!(written > 300, "{written}: some were joined");
    let found: Vec<_> = state.list(list, row).get().unwrap().cloned().collect();
    assert_eq!(found, (0..200).map(|n| json!({ "n": n })).collect::<Vec<_>>());

    let long = "x".repeat(30_000);
    let row = state.find_row(8u64.key_hash(), &8);
    state.list(list, row).add_all((0..64).map(|_| json!(long)));
    // Looked at whenever a chunk has twice as many elements as before.
    assert!((16..=32).contains(&freeze(&mut state, 201)));
}
