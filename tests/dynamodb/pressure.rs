//! A table that takes less than is to be sent delays it: nothing is lost, nearly all that it takes is
//! used, little is refused, and what a checkpoint waits for goes first. By a paused clock, so the figures
//! are the same in every run.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use bytes::Bytes;
use futures::future::join_all;
use millpond::KeyGroup;
use millpond::checkpoint::contract::sample_head;
use millpond::checkpoint::{HeadChange, HeadCondition};
use millpond::clock::Clock;
use millpond::config::{Credentials, Location, Secret, StoreSettings};
use millpond::dynamodb::{Connection, Execution, Partition};
use millpond::hostile::{Fault, Hostile, Limits, Plan, Throughput};
use millpond::ids::{Incarnation, Name, SlotId};
use millpond::state::{
    BlockKey, BlockKind, FILTER_STATE, Item, ItemKey, ItemRange, ItemWrite, Presence, Store,
};

use crate::dynamodb_support::aws::remote;
use crate::dynamodb_support::script::{Act, Script};
use crate::dynamodb_support::{Served, key, settings, try_connect, version, write};

struct Bench {
    hostile: Hostile,
    connection: Connection,
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Bench {
    /// A connection for `provisioned` (read, write) units a second to a table under `plan`.
    async fn new(provisioned: Option<(u64, u64)>, plan: Plan) -> Self {
        let clock = Clock::starting_at(0);
        let hostile = Hostile::new(1, clock, Plan::calm());
        let wrap = |client| hostile.wrap(client);
        let mut settings = settings(Location::EmbeddedMemory);
        settings.provisioned = provisioned;
        let connection = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
        let job = Name::new("job").unwrap();
        let store = connection.scoped(&job, Incarnation(1), Duration::from_secs(60));
        hostile.set(plan);
        Self { hostile, connection, store, clock }
    }

    /// Writes `count` items of a unit each and checks that they are there; units a second.
    async fn write(&self, range: std::ops::Range<u32>) -> f64 {
        let (begun, count) = (self.clock.now(), range.len());
        let writes: Vec<ItemWrite> =
            range.map(|n| write(n, version(1, 1), "value", Presence::Absent)).collect();
        self.store.write_items(writes).await.unwrap();
        count as f64 / (self.clock.now() - begun).as_secs_f64()
    }

    async fn check(&self, range: std::ops::Range<u32>) {
        let items = self.store.read_items(range.map(key).collect()).await.unwrap();
        assert!(items.iter().all(Option::is_some), "an item is lost");
    }

    /// What was sent until now and how much of it was throttled: requests.
    fn requests(&self) -> (u64, u64) {
        let total = self.connection.meter().snapshot().total();
        (total.requests, total.throttled)
    }
}

const SEGMENT: BlockKey = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };

/// A table that is there and is not ours to change is paced and paid as it is, whatever is configured.
#[tokio::test]
async fn what_counts_is_how_the_table_is_found() {
    for (made, configured) in [(Some((30, 20)), None), (None, Some((30, 20)))] {
        let connect = async |location, provisioned| {
            let settings = StoreSettings { provisioned, ..settings(location) };
            try_connect(&settings, Execution::Inline, None).await.unwrap()
        };
        let owner = connect(Location::EmbeddedMemory, made).await;
        assert_eq!(owner.provisioned(), made);
        let served = Served::start(&owner).await;
        let connection = connect(served.location(), configured).await;
        assert_eq!(connection.provisioned(), made);
        let throttling = connection.throttling();
        let limits = throttling.read_limit.zip(throttling.write_limit);
        assert_eq!(limits, made.map(|(read, write)| (read as f64, write as f64)));
        drop(connection);
        served.stop().await;
    }
}

/// Auto scaling changes it. It used to be read once: a job that ran stayed at what the table had at its start.
#[tokio::test(start_paused = true)]
async fn a_capacity_that_changes_is_followed() {
    let inside = OnceLock::new();
    let of_owner = Script::default();
    let take = |client: SharedHttpClient| of_owner.wrap(inside.get_or_init(|| client).clone());
    let as_made =
        StoreSettings { provisioned: Some((20, 20)), ..settings(Location::EmbeddedMemory) };
    let owner = try_connect(&as_made, Execution::Inline, Some(&take)).await.unwrap();
    let server = inside.get().unwrap();

    // The same table as that of a server elsewhere.
    let location = Location::Remote {
        region: Some("eu-west-1".to_owned()),
        endpoint: Some("https://dynamodb.eu-west-1.amazonaws.com".to_owned()),
        credentials: Credentials::basic("id", Secret::new("secret".to_owned())),
    };
    let (clock, script) = (Clock::starting_at(0), Script::default());
    let hostile = Hostile::new(1, clock, Plan::calm().limited(Limits::provisioned(20, 20)));
    let wrap = |_| script.wrap(hostile.wrap(server.clone()));
    let settings = StoreSettings { location, ..as_made };
    let connection = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
    let job = Name::new("job").unwrap();
    let store = connection.scoped(&job, Incarnation(1), Duration::from_secs(60));
    let bench = Bench { hostile, connection, store, clock };
    let scale = async |units: u32| {
        let provisioned = Some((u64::from(units), u64::from(units)));
        let settings = StoreSettings { provisioned, manage: true, ..settings.clone() };
        let calm = |_| server.clone();
        try_connect(&settings, Execution::Inline, Some(&calm)).await.unwrap();
        bench.hostile.set(Plan::calm().limited(Limits::provisioned(units, units)));
    };

    of_owner.sent();
    let follow = bench.connection.follow_capacity();
    let of_embedded = owner.follow_capacity();
    // Elsewhere nothing scales it, and describing it may count all items.
    let of_others = Script::default();
    let others = remote(None, Some("http://table.invalid"));
    let calm = |_| of_others.wrap(server.clone());
    let others = try_connect(&others, Execution::Inline, Some(&calm)).await.unwrap();
    of_others.sent();
    let of_other = others.follow_capacity();
    let work = async {
        let rate = bench.write(0..1_000).await;
        assert!((19.0..=21.0).contains(&rate), "{rate}");
        scale(200).await;
        // A look that fails changes nothing; the next one comes.
        script.next("DescribeTable", [Act::error(400, "AccessDeniedException")]);
        bench.clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(bench.connection.throttling().write_limit, Some(20.0));
        bench.clock.sleep(Duration::from_secs(60)).await;
        // What was saved meanwhile.
        bench.write(1_000..11_000).await;
        let rate = bench.write(11_000..21_000).await;
        println!("{rate:.1} write units a second of 200");
        assert!((190.0..=206.0).contains(&rate), "{rate}");
        scale(20).await;
        bench.clock.sleep(Duration::from_secs(61)).await;
        bench.write(21_000..23_000).await;
        let rate = bench.write(23_000..25_000).await;
        println!("{rate:.1} write units a second of 20");
        assert!((19.0..=21.0).contains(&rate), "{rate}");
        assert_eq!(bench.hostile.counts().over_limit, 0);
        assert_eq!(bench.connection.throttling().last, None);
        script.sent();
        bench.clock.sleep(Duration::from_secs(600)).await;
        script.sent()
    };
    let sent = tokio::select! {
        never = follow => match never {},
        never = of_embedded => match never {},
        never = of_other => match never {},
        sent = work => sent,
    };
    assert_eq!(sent, ["DescribeTable"; 10], "one a minute");
    assert_eq!(of_owner.sent(), [""; 0], "an embedded table is nobody else's");
    assert_eq!(of_others.sent(), [""; 0], "nothing scales a table elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_provisioned_table_is_written_at_its_rate_and_never_throttles() {
    let plan = Plan::calm().limited(Limits::provisioned(20, 20));
    let bench = Bench::new(Some((20, 20)), plan).await;
    let rate = bench.write(0..3000).await;
    println!("{rate:.2} write units a second of 20");
    assert!((19.0..=20.3).contains(&rate), "{rate}");
    let begun = bench.clock.now();
    bench.check(0..3000).await;
    let rate = 3000.0 / (bench.clock.now() - begun).as_secs_f64();
    // Reads begin with what was saved meanwhile.
    println!("{rate:.2} read units a second of 20");
    assert!((20.0..=40.0).contains(&rate), "{rate}");
    assert_eq!(bench.hostile.counts().over_limit, 0);
    assert_eq!(bench.connection.throttling().last, None);
}

/// So that a checkpoint which needs longer than its timeout for that does not count as failed.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_capacity_is_seen_to_struggle_but_for_what_nobody_waits_for() {
    let bench = Bench::new(Some((20, 20)), Plan::calm().limited(Limits::provisioned(20, 20))).await;
    let struggling = || bench.store.health().struggling_for;
    let write = bench.write(0..2000);
    tokio::pin!(write);
    let short = bench.clock.sleep(Duration::from_secs(30));
    tokio::select! { _ = &mut write => panic!("2,000 units of 20 a second"), () = short => {} }
    assert_eq!(struggling(), Duration::ZERO, "only what materialises waits");
    let put = |slot| {
        let key = BlockKey { slot: SlotId(slot), ..SEGMENT };
        bench.store.put_block(key, version(1, 1), vec![7; 300_000].into())
    };
    // The first one leaves before all of its units are there, and the other waits for that.
    let puts = futures::future::try_join(put(0), put(1));
    tokio::pin!(puts);
    let short = bench.clock.sleep(Duration::from_secs(10));
    tokio::select! { _ = &mut puts => panic!("586 units of 20 a second"), () = short => {} }
    assert!(struggling() >= Duration::from_secs(9), "{:?}", struggling());
    puts.await.unwrap();
    assert_eq!(struggling(), Duration::ZERO);
}

/// It used to stand in line with them, with all of its key groups: a record waited for a minute, and the time-outs of
/// checkpoints were excused meanwhile.
#[tokio::test(start_paused = true)]
async fn a_filter_that_is_read_back_does_not_keep_records_waiting() {
    let bench = Bench::new(Some((20, 20)), Plan::calm().limited(Limits::provisioned(20, 20))).await;
    let chunk = |n: u32| {
        let state = Name::new(FILTER_STATE).unwrap();
        let value = Some(Bytes::from(vec![1; 900]));
        let key = ItemKey { state, key_group: KeyGroup(0), ..key(n) };
        ItemWrite { key, item: Item::new(version(1, 1), value), presence: Presence::Absent }
    };
    bench.store.write_items((0..400).map(chunk).collect()).await.unwrap();
    let ItemKey { operator, state, key_group, .. } = chunk(0).key;
    let all = ItemRange { operator, state, key_group, from: Bytes::new(), to: None };
    let scan = || async {
        let mut range = all.clone();
        loop {
            let page = bench.store.scan_page(range, 64 << 10).await.unwrap();
            assert!(page.items.len() <= 64, "{} items", page.items.len());
            range = page.rest.unwrap_or_else(|| all.clone());
        }
    };
    let scans = join_all((0..8).map(|_| scan()));
    let records = async {
        // Until nothing is left of what was saved.
        bench.clock.sleep(Duration::from_secs(300)).await;
        assert!(bench.connection.throttling().waiting > 4, "{:?}", bench.connection.throttling());
        assert_eq!(bench.store.health().struggling_for, Duration::ZERO, "nobody waits for them");
        let mut longest = Duration::ZERO;
        for n in 0..10 {
            let begun = bench.clock.now();
            bench.store.read_items(vec![key(n)]).await.unwrap();
            longest = longest.max(bench.clock.now() - begun);
            bench.clock.sleep(Duration::from_secs(1)).await;
        }
        longest
    };
    let longest = tokio::select! { _ = scans => panic!("for ever"), longest = records => longest };
    println!("a record waits for {longest:?} at most");
    // One page, which has just left.
    assert!(longest < Duration::from_millis(1_500), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_on_demand_that_is_too_small_is_found_out() {
    let limit = Throughput { write_units: 300, read_units: 900, burst: Duration::from_secs(1) };
    let limits = Limits { partitions: 1, partition: limit, table: limit, provisioned: false };
    let bench = Bench::new(None, Plan::calm().limited(limits)).await;
    bench.write(0..3_000).await;
    let before = bench.requests();
    let rate = bench.write(3_000..15_000).await;
    let now = bench.requests();
    let share = (now.1 - before.1) as f64 / (now.0 - before.0) as f64;
    println!("{rate:.0} write units a second of 300; {:.1} % of requests throttled", share * 100.0);
    assert!((270.0..=301.0).contains(&rate), "{rate}");
    assert!(share < 0.2, "{share}");
    bench.check(0..15_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_passes_and_the_rate_recovers() {
    let limits = Limits::new_table();
    let bench = Bench::new(None, Plan::storm(50).limited(limits)).await;
    let stormy = bench.write(0..500).await;
    let seen = bench.connection.throttling();
    println!("in the storm {stormy:.0} units a second, limit {:?}", seen.write_limit);
    assert!(seen.write_limit.is_some() && seen.reasons.len() >= 4, "{seen:?}");
    bench.hostile.set(Plan::calm().limited(limits));
    bench.write(500..10_500).await;
    let rate = bench.write(10_500..20_500).await;
    println!("afterwards {rate:.0}");
    assert!(rate > 5.0 * stormy, "{rate}");
    bench.check(0..20_500).await;
    bench.clock.sleep(Duration::from_secs(61)).await;
    bench.write(20_500..20_501).await;
    assert_eq!(bench.connection.throttling().write_limit, None, "nothing has been throttled since");
}

#[tokio::test(start_paused = true)]
async fn what_a_checkpoint_waits_for_goes_before_materialising() {
    let plan = Plan::calm().limited(Limits::provisioned(20, 20));
    let bench = Bench::new(Some((20, 20)), plan).await;
    let checkpoint = async {
        bench.clock.sleep(Duration::from_secs(10)).await;
        let mut longest = Duration::ZERO;
        for n in 1..=20 {
            let begun = bench.clock.now();
            let bytes = Bytes::from(vec![1; 10 << 10]);
            bench.store.put_block(SEGMENT, version(1, n), bytes).await.unwrap();
            let manifest = BlockKey { kind: BlockKind::Manifest, ..SEGMENT };
            let bytes = Bytes::from_static(b"manifest");
            bench.store.put_block(manifest, version(1, n), bytes).await.unwrap();
            let moving = bench.clock.now();
            let put = HeadChange::Put(Box::new(sample_head(1, n)));
            let other = Name::new(format!("job{n}")).unwrap();
            bench.connection.heads().write(&other, HeadCondition::Absent, put).await.unwrap();
            assert!(bench.clock.now() - moving < Duration::from_millis(100), "a head waits");
            longest = longest.max(bench.clock.now() - begun);
            bench.clock.sleep(Duration::from_secs(3)).await;
        }
        longest
    };
    let (rate, longest) = tokio::join!(bench.write(0..4_000), checkpoint);
    println!("checkpoints of 12 units take {longest:?} while {rate:.1} are materialised a second");
    // Eleven units and what the batch before has overdrawn, at 20 units a second.
    assert!(longest < Duration::from_millis(2_500), "{longest:?}");
    assert!(rate > 17.0, "{rate}");
    bench.check(0..4_000).await;
}

/// It used to delete 25 segments at once, of 6,400 units, and ask for 25: all that the table had for seconds, while
/// the job that had just begun afresh wrote.
#[tokio::test(start_paused = true)]
async fn large_segments_are_deleted_so_slowly_that_nobody_else_is_throttled() {
    const SEGMENTS: u64 = 60;
    let bench = Bench::new(None, Plan::calm()).await;
    let job = Name::new("job").unwrap();
    let block = |slot| BlockKey { slot: SlotId(slot), ..SEGMENT };
    for slot in 0..SEGMENTS {
        // Most are small where there is little to write.
        let bytes = if slot % 3 == 0 { 1 << 10 } else { 255 << 10 };
        bench.store.put_block(block(slot), version(1, 1), vec![1; bytes].into()).await.unwrap();
    }
    bench.hostile.set(Plan::calm().limited(Limits::new_table()));
    let partition = Partition::SlotsBelow(BlockKind::Segment, SlotId(SEGMENTS));
    let begun = bench.clock.now();
    let purge = bench.connection.purge(&job, Incarnation(1), [partition]);
    let other = bench.connection.scoped(&job, Incarnation(2), Duration::from_secs(60));
    let job = async {
        for n in 0..10 {
            let bytes = Bytes::from(vec![1; 255 << 10]);
            other.put_block(block(n), version(2, 1), bytes).await.unwrap();
            bench.clock.sleep(Duration::from_secs(1)).await;
        }
    };
    let (deleted, ()) = tokio::join!(purge, job);
    assert_eq!(deleted.unwrap(), SEGMENTS);
    assert_eq!(bench.hostile.counts().over_limit, 0);
    assert_eq!(bench.connection.throttling().reasons, BTreeMap::new());
    let took = (bench.clock.now() - begun).as_secs_f64();
    println!("{SEGMENTS} segments are deleted in {took:.0} s");
    // 40 of 256 units and 20 of two, at 500 units a second.
    assert!((20.0..25.0).contains(&took), "{took}");
    for slot in 0..SEGMENTS {
        assert!(bench.store.get_block(block(slot)).await.unwrap().is_none(), "{slot}");
    }
}

/// A request for more than its second of units leaves, and is waited for afterwards by whoever comes next.
#[tokio::test(start_paused = true)]
async fn deletion_from_a_small_table_lets_a_checkpoint_pass() {
    let bench = Bench::new(Some((20, 20)), Plan::calm().limited(Limits::provisioned(20, 20))).await;
    let large = |n| {
        let item = Item::new(version(1, 1), Some(vec![1; 4_000].into()));
        ItemWrite { key: key(n), item, presence: Presence::Absent }
    };
    bench.store.write_items((0..400).map(large).collect()).await.unwrap();
    // Until the last of these is paid for.
    bench.clock.sleep(Duration::from_secs(10)).await;
    let state = |key_group| Partition::State {
        operator: key(0).operator,
        state: key(0).state,
        key_group: KeyGroup(key_group),
    };
    let job = Name::new("job").unwrap();
    let purge = bench.connection.purge(&job, Incarnation(1), (0..16).map(state));
    let checkpoints = async {
        let mut longest = Duration::ZERO;
        for n in 1..=20 {
            bench.clock.sleep(Duration::from_secs(3)).await;
            let begun = bench.clock.now();
            let bytes = Bytes::from_static(b"segment");
            let other = bench.connection.scoped(&job, Incarnation(2), Duration::from_secs(60));
            other.put_block(SEGMENT, version(2, n), bytes).await.unwrap();
            longest = longest.max(bench.clock.now() - begun);
        }
        longest
    };
    let (deleted, longest) = tokio::join!(purge, checkpoints);
    assert_eq!(deleted.unwrap(), 400);
    println!("a checkpoint of a unit waits for {longest:?} at most");
    assert!(longest < Duration::from_millis(100), "{longest:?}");
    assert_eq!(bench.hostile.counts().over_limit, 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_waits_for_nobody_even_where_segments_are_larger_than_a_second_s_units() {
    let plan = Plan::calm();
    let bench = Bench::new(Some((20, 20)), plan).await;
    let bytes = Bytes::from(vec![1; 250 << 10]);
    bench.store.put_block(SEGMENT, version(1, 1), bytes).await.unwrap();
    let begun = bench.clock.now();
    let put = HeadChange::Put(Box::new(sample_head(1, 0)));
    let job = Name::new("job").unwrap();
    bench.connection.heads().write(&job, HeadCondition::Absent, put).await.unwrap();
    assert!(bench.clock.now() - begun < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_named_by_reason_and_place() {
    let bench = Bench::new(None, Plan::calm()).await;
    let storm = Plan::calm().with(Fault::Throttled, 0.9);
    bench.hostile.set(storm);
    bench.store.put_block(SEGMENT, version(1, 1), Bytes::from_static(b"b")).await.unwrap();
    let seen = bench.connection.throttling();
    let named = |reason: &String| {
        (reason.starts_with("TableWrite") || reason.starts_with("IndexWrite"))
            && (reason.ends_with("Exceeded"))
    };
    assert!(seen.reasons.keys().all(named) && !seen.reasons.is_empty(), "{seen:?}");
    assert!(seen.last.as_ref().unwrap().ends_with(" on log slot 0"), "{seen:?}");
    bench.hostile.set(Plan::calm().with(Fault::StatementsThrottled, 0.9));
    bench.write(17..18).await;
    let seen = bench.connection.throttling();
    assert!(seen.last.as_ref().unwrap().ends_with(" on key group 1 of counts/total"), "{seen:?}");
}

/// A throttled statement is a throttled unit, not a throttled batch.
#[tokio::test(start_paused = true)]
async fn statements_count_as_their_own() {
    let bench = Bench::new(None, Plan::calm()).await;
    bench.write(0..2_500).await;
    assert_eq!(bench.connection.throttling().write_limit, None);
    bench.hostile.set(Plan::calm().with(Fault::StatementsThrottled, 0.02));
    bench.write(2_500..12_500).await;
    let seen = bench.connection.throttling();
    let limit = seen.write_limit.unwrap();
    println!("{:?}, {limit:.0} units a second", seen.reasons);
    assert!(limit > 5_000.0, "{limit}");
    bench.check(0..12_500).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_time() {
    let mut times = Vec::new();
    for _ in 0..2 {
        let plan = Plan::rough(0.02).limited(Limits::provisioned(40, 40));
        let bench = Bench::new(Some((50, 50)), plan).await;
        let begun = bench.clock.now();
        let all = (0..4).map(|n| bench.write(n * 500..(n + 1) * 500));
        join_all(all).await;
        times.push(bench.clock.now() - begun);
    }
    println!("{times:?}");
    assert_eq!(times[0], times[1]);
}
