//! Behind a hostile DynamoDB stores and heads keep all their promises, and each kind of fault does what
//! it says.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod dynamodb_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynamodb_support::{settings, try_connect};
use millpond::clock::Clock;
use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution};
use millpond::hostile::{Hostile, Plan};
use millpond::ids::{Incarnation, Name};
use millpond::state;

async fn connect(hostile: &Hostile) -> Connection {
    let wrap = |client| hostile.wrap(client);
    let settings = settings(Location::EmbeddedMemory);
    try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap()
}

async fn stores_keep_their_promises(connection: &Connection) -> Result<(), String> {
    let job = Name::new("job").unwrap();
    let mut incarnation = 0;
    state::contract::all(|| {
        incarnation += 1;
        connection.scoped(&job, Incarnation(incarnation), Duration::from_secs(60))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn stores_keep_their_promises_behind_it() -> Result<(), String> {
    for seed in 0..4 {
        let hostile = Hostile::new(seed, Clock::starting_at(0), Plan::rough(0.03));
        let connection = connect(&hostile).await;
        stores_keep_their_promises(&connection)
            .await
            .map_err(|broken| format!("seed {seed}: {broken}"))?;
        println!("seed {seed}: {}", hostile.counts());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    let mut traces = Vec::new();
    for seed in [1, 1, 2] {
        let hostile = Hostile::new(seed, Clock::starting_at(0), Plan::rough(0.03));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        hostile.trace(move |line| to.lock().unwrap().push(line.to_string()));
        let connection = connect(&hostile).await;
        stores_keep_their_promises(&connection).await.unwrap();
        traces.push(std::mem::take(&mut *lines.lock().unwrap()));
    }
    assert!(traces[0].len() > 100, "{:?}", traces[0]);
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}
