//! The embedded DynamoDB keeps the promises of stores and heads: in memory, on a file, on one thread,
//! and served over loopback.

use std::sync::Arc;
use std::time::Duration;

use millpond::config::Location;
use millpond::dynamodb::Execution;
use millpond::ids::{Incarnation, Name};
use millpond::io::Io;
use millpond::state;

use crate::dynamodb_support::{Served, Tokio, connect, promises, reader, settings};

#[tokio::test]
async fn in_memory_on_one_thread() -> Result<(), String> {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    promises::kept(&connection).await
}

#[tokio::test]
async fn in_memory_on_a_thread_of_its_own() -> Result<(), String> {
    let connection = connect(Location::EmbeddedMemory, Execution::Thread(Io::new(Tokio))).await;
    promises::kept(&connection).await
}

#[tokio::test]
async fn in_memory_with_values_and_keys_of_megabytes() -> Result<(), String> {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    promises::large_kept(&connection, promises::ITEM).await
}

#[tokio::test]
async fn in_memory_with_values_and_keys_of_many_small_parts() -> Result<(), String> {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let (value, key) = promises::SMALL;
    promises::large_kept(&connection.in_parts_of(value, key), promises::SMALL).await
}

#[tokio::test]
async fn by_the_statement_of_the_guide() -> Result<(), String> {
    reader::reads_a_native_value(&settings(Location::EmbeddedMemory)).await
}

#[tokio::test]
async fn on_a_file() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::EmbeddedFile(Some(folder.path().join("state.db")));
    let connection = connect(location, Execution::Thread(Io::new(Tokio))).await;
    promises::kept(&connection).await?;
    let (value, key) = promises::SMALL;
    promises::large_kept(&connection.in_parts_of(value, key), promises::SMALL).await
}

#[tokio::test]
async fn served_over_loopback_to_two_clients() -> Result<(), String> {
    let owner = connect(Location::EmbeddedMemory, Execution::Thread(Io::new(Tokio))).await;
    let served = Served::start(&owner).await;
    let client = || connect(served.location(), Execution::Inline);
    let (one, two) = tokio::join!(client(), client());
    assert!(one.describe().contains("http://127.0.0.1:") && !one.exclusive());
    promises::kept(&one).await?;
    promises::large_kept(&two, promises::ITEM).await?;
    // The other client sees what the first has written.
    let job = Name::new("job-1").unwrap();
    assert!(two.heads().read(&job).await.unwrap().is_some());
    drop((one, two));
    served.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_connection_says_where_it_is_and_that_it_is_exclusive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let location = Location::EmbeddedFile(Some(path.clone()));
    let execution = || Execution::Thread(Io::new(Tokio));
    let first = connect(location.clone(), execution()).await;
    assert!(first.exclusive());
    assert!(first.describe().contains(&*path.to_string_lossy()), "{}", first.describe());
    let error =
        crate::dynamodb_support::try_connect(&settings(location.clone()), execution(), None).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("state.db"), "{text}");
    first.close().await.unwrap();
    let second = connect(location, execution()).await;
    // A store that outlives its connection fails instead of hanging.
    let store = second.scoped(&Name::new("job").unwrap(), Incarnation(1), Duration::ZERO);
    second.close().await.unwrap();
    assert!(store.read_items(vec![crate::dynamodb_support::key(1)]).await.is_err());
    let _: Arc<dyn state::Store> = store;
}
