//! Tests of what an attempt takes up.

use super::*;
use crate::checkpoint::{Slots, Uploader};
use crate::codec::Key;
use crate::connector::testing::inline_io;
use crate::connector::{MemorySink, Reader, ReaderContext, Source};
use crate::ids::{Attempt, Version};
use crate::state::{
    Call, Columns, KeyedConfig, KeyedState, MemoryStore, RestorePoint, States, ValueDescriptor,
    ValueState,
};
use crate::stream::StreamEnvironment;
use crate::task::{SegmentPuts, rebuild};

#[derive(Debug)]
struct Twice;

impl Source for Twice {
    type Item = u64;

    fn describe(&self) -> String {
        "twice".to_owned()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn discover(&self, _parallelism: u32) -> Result<Vec<SplitState>> {
        let split = SplitState { id: "one".to_owned(), state: Vec::new(), done: false };
        Ok(vec![split.clone(), split])
    }

    fn check(&self, _splits: &[SplitState]) -> Result<()> {
        Ok(())
    }

    fn reader(
        &self,
        _splits: Vec<SplitState>,
        _context: ReaderContext,
    ) -> Result<Box<dyn Reader<u64>>> {
        Err(Error::internal("it is not read"))
    }
}

#[test]
fn two_splits_of_one_id_are_an_error_that_names_it() {
    let env = StreamEnvironment::new();
    env.source(Twice).uid("numbers").sink(MemorySink::new());
    let error = discover(&env.build().unwrap(), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    let text = error.to_string();
    assert!(text.starts_with("source numbers: two splits have the id \"one\""), "{text}");
}

/// Values of so many bytes, of which compression leaves little.
const VALUE_BYTES: usize = 200 << 10;
const CHECKPOINTS: u64 = 40;

/// All I/O is done inline, more of it than Tokio lets a task do in one turn.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(tokio::task::unconstrained(future))
}

fn declared() -> (ValueState<String>, Columns) {
    let mut states = States::new();
    let text = states.value(ValueDescriptor::new("text"));
    (text, states.finish().unwrap())
}

/// A log in which the values of two keys have changed again and again.
async fn written(store: &MemoryStore) -> Manifest {
    let KeyedConfig { operator, range, attempt, .. } = KeyedConfig::of_all_groups(1);
    let (text, columns) = declared();
    let config = KeyedConfig::of_all_groups(1);
    let mut state = KeyedState::<u64>::new(config, columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let slots = Slots::restored(attempt, &[]);
    let uploader = Uploader::new(Arc::new(store.clone()), slots, attempt, Metrics::default());
    let puts = SegmentPuts { operator, range, attempt, io: inline_io(), uploader };
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(CHECKPOINTS) };
    let mut manifest = Manifest::empty(version);
    for checkpoint in 1..=CHECKPOINTS {
        for key in 0..2u64 {
            let row = state.find_row(key.key_hash(), &key);
            state.set(text, row, format!("{checkpoint}{}", "x".repeat(VALUE_BYTES)));
        }
        state.freeze(CheckpointId(checkpoint)).unwrap();
        assert!(state.serialise(usize::MAX).unwrap());
        for raw in state.take_segments() {
            manifest.segments.push(puts.put(raw).await.unwrap());
        }
    }
    manifest
}

/// All of it used to be unpacked before the first of it was replayed, for each subtask.
#[test]
fn a_log_is_in_memory_compressed_and_once_for_all_subtasks() {
    let store = MemoryStore::new();
    let manifest = block_on(written(&store));
    let stored: u64 = manifest.segments.iter().map(|at| at.bytes).sum();
    let unpacked = CHECKPOINTS * 2 * VALUE_BYTES as u64;
    assert!(stored < unpacked / 100, "{stored} bytes");
    let of = KeyedConfig::of_all_groups(2);
    let ranges = [0, 1].map(|subtask| of.max_parallelism.range_of(subtask, 2));
    let (mut rows, mut of_use) = (0, HashSet::new());
    let memory = allocation_counter::measure(|| {
        let of_store: Arc<dyn Store> = Arc::new(store.clone());
        let io = inline_io();
        let logs = block_on(read_logs(of_store, &manifest, &of.operator, &ranges, &io));
        for (restored, range) in logs.unwrap().into_iter().zip(ranges) {
            assert_eq!(restored.segments.len(), manifest.segments.len());
            let at = (CheckpointId(CHECKPOINTS), CheckpointId(CHECKPOINTS));
            let config = KeyedConfig { range, ..of.clone() };
            let (state, log) = rebuild::<u64>(config, declared().1, restored, at, 0, 2).unwrap();
            rows += state.stats().rows;
            of_use.extend(log.into_values().flatten().map(|at| at.slot));
        }
    });
    assert_eq!(rows, 2);
    assert_eq!(of_use.len(), manifest.segments.len());
    let read = store.script().count(Call::GetBlock);
    assert_eq!(read, manifest.segments.len() as u64, "each once");
    assert!(memory.bytes_max < unpacked / 5, "{} bytes of {unpacked}", memory.bytes_max);
}

#[test]
fn a_damaged_segment_is_named_with_its_operator_and_checkpoint() {
    let store = MemoryStore::new();
    let manifest = block_on(written(&store));
    let of = KeyedConfig::of_all_groups(2);
    let of_store: Arc<dyn Store> = Arc::new(store.clone());
    let (io, ranges) = (inline_io(), [of.range]);
    let logs = block_on(read_logs(of_store, &manifest, &of.operator, &ranges, &io));
    let mut restored = logs.unwrap().remove(0);
    let mut bytes = restored.segments[3].bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    restored.segments[3].bytes = bytes.into();
    let of_checkpoint = restored.segments[3].segment.checkpoint;
    let at = (CheckpointId(CHECKPOINTS), CheckpointId(CHECKPOINTS));
    let error = rebuild::<u64>(of, declared().1, restored, at, 0, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let expected = format!("operator counts, checkpoint {of_checkpoint}: segment: checksum is ");
    assert!(error.to_string().starts_with(&expected), "{error}");
}
