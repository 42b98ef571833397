//! How much memory and log a simulated process may take.
//!
//! Owns the bound: what is configured, what was restored, and what is admitted beyond that because a barrier
//! stands behind it. When it is looked at is `world`'s and `endure`'s.

use super::process::Process;
use super::scenario::Verdict;
use crate::config::Config;

/// Edges of a graph, at most.
const EDGES: u64 = 4;

/// The least that a filter takes, however small the cache.
const FILTER_BYTES: u64 = 32;

/// What a chunk of a filter takes in memory with some hashes, and the least that an entry does.
const CHUNK_BYTES: u64 = 200;
const ENTRY_BYTES: u64 = 50;

/// What a process may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    log_max_bytes: u64,
    /// Records that may be in channels, in batches that are being filled, and parked.
    on_the_way: u64,
    /// What the state of one key takes at most.
    key_bytes: u64,
    /// Key groups, each with a chunk of a filter that takes more hashes; 0 without filters.
    chunks: u64,
    /// What the filters of all subtasks take with nothing in them.
    filters: u64,
}

impl Bounds {
    /// Of a process with these settings.
    pub(super) fn of(config: &Config, key_bytes: u64) -> Self {
        let parallelism = u64::from(config.parallelism);
        let channels = EDGES * parallelism * parallelism;
        let batches = u64::from(config.exchange.channel_batches) + 2;
        let on_the_way = channels * batches * u64::from(config.exchange.batch_records);
        let chunks = if config.state.filter { config.max_parallelism.into() } else { 0 };
        let filters = if config.state.filter { EDGES * parallelism * FILTER_BYTES } else { 0 };
        Self { log_max_bytes: config.state.log_max_bytes, on_the_way, key_bytes, chunks, filters }
    }
}

impl Process {
    /// Whether its memory and its log are within their bounds, where the sources were `given` so many records.
    pub(super) fn memory_is_bounded(&self, given: u64) -> Verdict {
        let status = self.status.borrow();
        let memory = status.memory;
        let Bounds { log_max_bytes, on_the_way, key_bytes, chunks, filters } = self.bounds;
        let on_the_way = on_the_way.min(given);
        let restored = status.checkpoints.restored.map_or(0, |restore| restore.entries);
        // Whose items are written, the log's own entries and those beyond, puts a hash into some chunk, which is in
        // the log then.
        let chunks = chunks.min(on_the_way + restored + log_max_bytes / ENTRY_BYTES);
        let beyond = (on_the_way + restored) * key_bytes + chunks * CHUNK_BYTES;
        let bounded = memory.most_bytes <= memory.budget_bytes + filters + beyond
            && memory.log_bytes <= log_max_bytes + beyond;
        if bounded {
            return Ok(());
        }
        let number = self.number;
        Err(format!(
            "process {number} takes {memory:?}; besides what is configured ({log_max_bytes} of log), \
             {on_the_way} records on their way and {restored} restored ones may, of {key_bytes} bytes each, \
             and {chunks} chunks of filters"
        ))
    }

    /// Whether the sources have nothing left to read.
    pub(super) fn has_read_all(&self) -> bool {
        self.status.borrow().lag.records == Some(0)
    }

    /// Whether its memory and its log are what is configured, where the sources have nothing left to read and a few
    /// checkpoints have passed.
    pub(super) fn memory_is_at_rest(&self) -> Verdict {
        let memory = self.status.borrow().memory;
        let state = memory.used_bytes.saturating_sub(memory.filter_bytes);
        let log_max_bytes = self.bounds.log_max_bytes;
        if state <= memory.budget_bytes && memory.log_bytes <= log_max_bytes {
            return Ok(());
        }
        Err(format!("with nothing left to read, process {} takes {memory:?}", self.number))
    }
}
