//! What the tap tells of writes is what the table then holds: the suite that every store passes, with
//! a listener below it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use millpond::checkpoint;
use millpond::clock::Clock;
use millpond::config::{Config, Location, StoreSettings};
use millpond::dynamodb::{Connection, Execution, Options, Row, Written, join, tap};
use millpond::ids::{Incarnation, Name};
use millpond::state;

#[derive(Default)]
struct Told {
    heads: BTreeMap<Name, checkpoint::Head>,
    items: BTreeMap<(Incarnation, state::ItemKey), Row>,
    blocks: BTreeMap<(Incarnation, state::BlockKey), state::Block>,
}

impl Told {
    fn take(&mut self, written: Written) {
        match written {
            Written::Head(job, Some(head)) => drop(self.heads.insert(job, *head)),
            Written::Item(_, of, key, Some(item)) => drop(self.items.insert((of, key), item)),
            Written::Block(_, of, key, Some(block)) => drop(self.blocks.insert((of, key), block)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_told_is_what_the_table_holds() {
    let told = Arc::new(Mutex::new(Told::default()));
    let listener = Arc::clone(&told);
    let wrap = move |client: SharedHttpClient| {
        let listener = Arc::clone(&listener);
        tap(client, Arc::new(move |written| listener.lock().unwrap().take(written)))
    };
    let location = Location::EmbeddedMemory;
    let settings = StoreSettings { location, ..Config::default().store };
    let job = Name::new("job").unwrap();
    let options = Options {
        settings: &settings,
        job: &job,
        clock: Clock::starting_at(0),
        seed: 7,
        execution: Execution::Inline,
        wrap: Some(&wrap),
    };
    let connection = Connection::open(options).await.unwrap();
    let scope = |n| connection.scoped(&job, Incarnation(n), Duration::from_secs(60));
    let mut scopes = 0;
    let suite = state::contract::all(|| {
        scopes += 1;
        scope(scopes)
    });
    suite.await.unwrap();
    let mut names = 0;
    let heads = connection.heads();
    let suite = checkpoint::contract::all(&*heads, || {
        names += 1;
        Name::new(format!("job-{names}")).unwrap()
    });
    suite.await.unwrap();

    let told = std::mem::take(&mut *told.lock().unwrap());
    assert!(told.items.len() > 300 && told.blocks.len() > 5 && told.heads.len() > 5);
    for ((incarnation, mut key), row) in told.items {
        key.sort_key = row.key.clone().unwrap_or(key.sort_key);
        let item = join(row, [], 0).unwrap().map(|joined| joined.item);
        let found = scope(incarnation.0).read_items(vec![key.clone()]).await.unwrap();
        assert!(found == [item], "{key:?}");
    }
    for ((incarnation, key), block) in told.blocks {
        let found = scope(incarnation.0).get_block(key).await.unwrap();
        assert!(found == Some(block), "{key:?}");
    }
    for (job, head) in told.heads {
        assert_eq!(heads.read(&job).await.unwrap(), Some(head));
    }
}
