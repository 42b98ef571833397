//! Every promise of stores and heads, asked of a connection.

use std::time::Duration;

use millpond::checkpoint::HeadStore;
use millpond::checkpoint::contract::Resolved;
use millpond::dynamodb::Connection;
use millpond::ids::{Incarnation, Name};
use millpond::{checkpoint, state};

/// Of a server that answers.
pub(crate) async fn kept(connection: &Connection) -> Result<(), String> {
    kept_by(connection, &*connection.heads()).await
}

/// Of one that may not.
pub(crate) async fn kept_in_bad_weather(connection: &Connection) -> Result<(), String> {
    kept_by(connection, &Resolved(connection.heads())).await
}

/// What DynamoDB takes in one item of a value and of a key, less other keys and names.
pub(crate) const ITEM: (usize, usize) = (407_552, 204_800);
/// Much less, to be quick.
pub(crate) const SMALL: (usize, usize) = (50, 1_100);

/// Of values and keys that are too large for one item, of which each has at most so many bytes of a value and of a key.
pub(crate) async fn large_kept(
    connection: &Connection,
    (part_bytes, key_bytes): (usize, usize),
) -> Result<(), String> {
    let job = Name::new("large").unwrap();
    let mut incarnation = 0;
    let fresh = || {
        incarnation += 1;
        connection.scoped(&job, Incarnation(incarnation), Duration::from_secs(60))
    };
    state::contract::large(fresh, part_bytes, key_bytes).await
}

async fn kept_by(connection: &Connection, heads: &dyn HeadStore) -> Result<(), String> {
    let job = Name::new("job").unwrap();
    let mut incarnation = 0;
    state::contract::all(|| {
        incarnation += 1;
        connection.scoped(&job, Incarnation(incarnation), Duration::from_secs(60))
    })
    .await?;
    let mut n = 0;
    let fresh = || {
        n += 1;
        Name::new(format!("job-{n}")).unwrap()
    };
    checkpoint::contract::all(heads, fresh).await
}
