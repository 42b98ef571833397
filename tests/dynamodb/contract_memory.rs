//! The in-memory twins keep the promises of stores and heads.

use std::sync::Arc;

use millpond::checkpoint::MemoryHeads;
use millpond::ids::Name;
use millpond::state::MemoryStore;
use millpond::{checkpoint, state};

#[tokio::test]
async fn the_store_in_memory_keeps_its_promises() -> Result<(), String> {
    state::contract::all(|| Arc::new(MemoryStore::new())).await
}

#[tokio::test]
async fn the_store_in_memory_takes_large_values_and_keys() -> Result<(), String> {
    state::contract::large(|| Arc::new(MemoryStore::new()), 400_000, 200_000).await
}

#[tokio::test]
async fn the_heads_in_memory_keep_their_promises() -> Result<(), String> {
    let mut n = 0;
    let fresh = || {
        n += 1;
        Name::new(format!("job-{n}")).unwrap()
    };
    checkpoint::contract::all(&MemoryHeads::new(), fresh).await
}
