//! Large entries: a request asks for no more than AWS answers at once, and than a slow line carries in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millpond::KeyGroup;
use millpond::clock::{Clock, Instant};
use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution};
use millpond::hostile::{Hostile, Latency, Plan};
use millpond::ids::{Incarnation, Name};
use millpond::state::{Item, ItemKey, ItemWrite, Presence, Store};
use tokio::time::timeout;

use crate::dynamodb_support::{settings, try_connect, version};

struct Table {
    hostile: Hostile,
    connection: Connection,
    store: Arc<dyn Store>,
    clock: Clock,
    since: Instant,
}

impl Table {
    async fn open() -> Self {
        let clock = Clock::starting_at(0);
        let plan = Plan { latency: Latency::NONE, ..Plan::calm() };
        let hostile = Hostile::new(1, clock, plan);
        let wrap = |client| hostile.wrap(client);
        let settings = settings(Location::EmbeddedMemory);
        let connection = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
        let job = Name::new("job").unwrap();
        let store = connection.scoped(&job, Incarnation(1), Duration::from_secs(60));
        Self { hostile, connection, store, clock, since: clock.now() }
    }

    /// Writes so many entries of so many bytes, spread over so many key groups.
    async fn write(&self, entries: u32, bytes: usize, groups: u32) {
        let write = |n: u32| {
            let value = Some(Bytes::from(vec![n as u8; bytes]));
            let item = Item::new(version(1, 1), value);
            ItemWrite { key: key(n, groups), item, presence: Presence::Absent }
        };
        self.store.write_items((0..entries).map(write).collect()).await.unwrap();
    }

    /// Reads them, and says by how many requests.
    async fn read(&self, entries: u32, bytes: usize, groups: u32) -> u64 {
        let before = self.connection.meter().snapshot().read.requests;
        let keys = (0..entries).map(|n| key(n, groups)).collect();
        let found = self.store.read_items(keys).await.unwrap();
        for (n, item) in found.iter().enumerate() {
            let value = item.as_ref().unwrap().value.as_ref().unwrap();
            assert!(value.len() == bytes && value.iter().all(|byte| *byte == n as u8), "{n}");
        }
        self.connection.meter().snapshot().read.requests - before
    }

    fn line(&self, bytes_a_second: u64) {
        self.hostile.set(Plan { line: Some(bytes_a_second), ..self.hostile.plan() });
    }

    fn passed(&self) -> Duration {
        self.clock.now() - self.since
    }

    fn was_never_throttled(&self) {
        assert_eq!(self.connection.throttling().reasons, [].into());
        assert_eq!(self.connection.throttling().read_limit, None);
        assert_eq!(self.connection.meter().snapshot().total().throttled, 0);
        assert_eq!(self.store.health().struggling_for, Duration::ZERO);
    }
}

fn key(n: u32, groups: u32) -> ItemKey {
    ItemKey {
        operator: Name::new("operator").unwrap(),
        state: Name::new("state").unwrap(),
        key_group: KeyGroup((n % groups) as u16),
        sort_key: Bytes::copy_from_slice(&n.to_be_bytes()),
    }
}

/// All of its parts are under one partition key, of which AWS answers 1 MB.
#[tokio::test(start_paused = true)]
async fn a_value_of_5_mb_is_read_in_few_requests_and_none_is_throttled() {
    let table = Table::open().await;
    table.write(1, 5 << 20, 1).await;
    let requests = table.read(1, 5 << 20, 1).await;
    assert_eq!(requests, 1 + 6, "two parts each");
    table.was_never_throttled();
    assert!(table.passed() < Duration::from_millis(10), "{:?}", table.passed());
}

/// How large entries are shows once some of them were read.
#[tokio::test(start_paused = true)]
async fn what_a_partition_has_beyond_a_mb_is_asked_for_at_once() {
    let table = Table::open().await;
    table.write(60, 100_000, 1).await;
    assert_eq!(table.read(60, 100_000, 1).await, 8, "10 of an unknown size, then 8 each");
    assert_eq!(table.read(60, 100_000, 1).await, 8, "8 each, at the same time");
    table.was_never_throttled();
    assert!(table.passed() < Duration::from_millis(10), "{:?}", table.passed());
}

#[tokio::test(start_paused = true)]
async fn many_large_entries_come_over_a_slow_line() {
    let table = Table::open().await;
    table.write(40, 160_000, 16).await;
    // Four of them in 8 s, in base64.
    table.line(120_000);
    let long = Duration::from_secs(600);
    let read = timeout(long, table.read(40, 160_000, 16)).await;
    assert!(read.as_ref().is_ok_and(|requests| *requests < 40), "{read:?}");
    let taken = table.passed();
    table.read(40, 160_000, 16).await;
    assert!(table.passed() - taken < taken, "it has learnt how large they are");
}

#[tokio::test(start_paused = true)]
async fn many_large_entries_go_over_a_slow_line() {
    let table = Table::open().await;
    table.line(50_000);
    let long = Duration::from_secs(600);
    let written = timeout(long, table.write(40, 160_000, 16)).await;
    assert!(written.is_ok(), "{:?}", table.hostile.counts());
    table.line(u64::MAX);
    table.read(40, 160_000, 16).await;
}
