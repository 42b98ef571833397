//! Each kind of fault of a hostile DynamoDB does what it says: seen by a client of the SDK, and by what is
//! in the table afterwards.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Region};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity,
    WriteRequest,
};
use futures::future::join_all;
use millpond::clock::Clock;
use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution};
use millpond::hostile::{Fault, Hostile, Latency, Limits, Plan, Throughput};

use crate::dynamodb_support::{settings, try_connect};

const TABLE: &str = "millpond-state";

/// A hostile DynamoDB, and a client of the SDK that tries once.
struct Bench {
    hostile: Hostile,
    client: Client,
    clock: Clock,
    lines: Arc<Mutex<Vec<String>>>,
    _connection: Connection,
}

fn key(pk: &str) -> HashMap<String, AttributeValue> {
    let sk = AttributeValue::B(vec![0].into());
    HashMap::from([("pk".to_owned(), AttributeValue::S(pk.to_owned())), ("sk".to_owned(), sk)])
}

fn item(pk: &str, value: &str) -> HashMap<String, AttributeValue> {
    let mut item = key(pk);
    item.insert("v".to_owned(), AttributeValue::S(value.to_owned()));
    item
}

fn statement(pk: &str, value: &str) -> BatchStatementRequest {
    let text = format!(r#"INSERT INTO "{TABLE}" VALUE {{'pk': ?, 'sk': ?, 'v': ?}}"#);
    let mut all = item(pk, value);
    let parameters = ["pk", "sk", "v"].map(|name| all.remove(name).unwrap());
    let request = BatchStatementRequest::builder().statement(text);
    request.set_parameters(Some(parameters.into())).build().unwrap()
}

impl Bench {
    /// A calm one, with a table.
    async fn new() -> Self {
        let clock = Clock::starting_at(0);
        let hostile = Hostile::new(1, clock, Plan { latency: Latency::NONE, ..Plan::calm() });
        let http = Mutex::new(None);
        let wrap = |inner| {
            let wrapped = hostile.wrap(inner);
            *http.lock().unwrap() = Some(wrapped.clone());
            wrapped
        };
        let settings = settings(Location::EmbeddedMemory);
        let connection = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .allow_no_auth()
            .region(Region::from_static("embedded"))
            .endpoint_url("http://embedded.invalid")
            .http_client(http.lock().unwrap().take().unwrap())
            .build();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        hostile.trace(move |line| to.lock().unwrap().push(line.to_string()));
        let client = Client::from_conf(config);
        Self { hostile, client, clock, lines, _connection: connection }
    }

    /// From now on each call that can have this fault has it.
    fn only(&self, fault: Fault) {
        self.set(Plan::calm().with(fault, 1.0));
    }

    fn calm(&self) {
        self.set(Plan::calm());
    }

    fn set(&self, plan: Plan) {
        self.hostile.set(Plan { latency: Latency::NONE, ..plan });
    }

    /// Puts, and gives the error in words.
    async fn put(&self, pk: &str, value: &str) -> Result<(), String> {
        let put = self.client.put_item().table_name(TABLE).set_item(Some(item(pk, value)));
        put.send().await.map(drop).map_err(|e| DisplayErrorContext(e).to_string())
    }

    /// Reads the value that is there, in calm weather.
    async fn value(&self, pk: &str) -> Option<String> {
        let plan = self.hostile.plan();
        self.calm();
        let value = self.read(pk, true).await;
        self.hostile.set(plan);
        value
    }

    async fn read(&self, pk: &str, consistent: bool) -> Option<String> {
        let get = self.client.get_item().table_name(TABLE).set_key(Some(key(pk)));
        let answer = get.consistent_read(consistent).send().await.unwrap();
        answer.item.map(|item| item["v"].as_s().unwrap().clone())
    }

    async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    fn count(&self, fault: Fault) -> u64 {
        self.hostile.counts().of(fault)
    }
}

/// What a caller is told, and whether the write is there, at once and an hour later.
#[tokio::test(start_paused = true)]
async fn a_fault_that_ends_a_call_says_one_thing_and_does_another() {
    let cases = [
        (Fault::Unreachable, "connection refused", false, false),
        (Fault::ResetBefore, "connection reset", false, false),
        (Fault::TimedOut, "no answer within 8000 ms", false, false),
        (Fault::Late, "no answer within 8000 ms", false, true),
        (Fault::Throttled, "ThroughputExceeded", false, false),
        (Fault::InternalError, "nternal", false, false),
        (Fault::InternalErrorApplied, "nternal", true, true),
        (Fault::AnswerLost, "no answer within 8000 ms", true, true),
        (Fault::ResetAfter, "connection reset", true, true),
        (Fault::Truncated, "unhandled error", true, true),
    ];
    for (fault, told, at_once, later) in cases {
        let bench = Bench::new().await;
        bench.only(fault);
        let began = bench.clock.now();
        let error = bench.put("a", "new").await.unwrap_err();
        assert!(error.contains(told), "{fault:?}: {error}");
        let timed_out = told.contains("8000");
        assert_eq!(bench.clock.now() - began >= Duration::from_secs(8), timed_out, "{fault:?}");
        assert_eq!(bench.count(fault), 1, "{fault:?}");
        assert_eq!(bench.value("a").await.is_some(), at_once, "{fault:?}");
        bench.pass(Duration::from_secs(3600)).await;
        assert_eq!(bench.value("a").await.is_some(), later, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_throttling_reason_comes_with_its_exception() {
    let bench = Bench::new().await;
    bench.only(Fault::Throttled);
    let mut found = BTreeSet::new();
    for _ in 0..200 {
        let put = bench.client.put_item().table_name(TABLE).set_item(Some(item("a", "b")));
        let error = put.send().await.unwrap_err().into_service_error();
        let reasons = match &error {
            PutItemError::ThrottlingException(e) => e.throttling_reasons(),
            PutItemError::ProvisionedThroughputExceededException(e) => e.throttling_reasons(),
            PutItemError::RequestLimitExceeded(e) => e.throttling_reasons(),
            other => panic!("{other:?}"),
        };
        let [reason] = reasons else { panic!("{error:?} has {reasons:?}") };
        assert!(reason.resource().unwrap().contains(&format!("table/{TABLE}")), "{reason:?}");
        assert!(error.message().is_some());
        found.insert((reason.reason().unwrap().to_owned(), error.code().unwrap().to_owned()));
    }
    let exception = |limit: &str| match limit {
        "ProvisionedThroughputExceeded" => "ProvisionedThroughputExceededException",
        "AccountLimitExceeded" => "RequestLimitExceeded",
        _ => "ThrottlingException",
    };
    let limits = [
        "KeyRangeThroughputExceeded",
        "ProvisionedThroughputExceeded",
        "AccountLimitExceeded",
        "MaxOnDemandThroughputExceeded",
    ];
    let expected = ["TableWrite", "IndexWrite"].into_iter().flat_map(|resource| {
        limits.map(|limit| (format!("{resource}{limit}"), exception(limit).to_owned()))
    });
    assert_eq!(found, expected.collect());
    assert_eq!(bench.value("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_undoes_what_was_written_since() {
    let bench = Bench::new().await;
    bench.only(Fault::Twice);
    bench.put("a", "old").await.unwrap();
    bench.calm();
    bench.put("a", "new").await.unwrap();
    assert_eq!(bench.hostile.late(), 1);
    assert_eq!(bench.value("a").await.unwrap(), "new");
    bench.pass(Duration::from_secs(600)).await;
    assert_eq!(bench.value("a").await.unwrap(), "old");
    assert_eq!((bench.hostile.late(), bench.hostile.counts().landed_late), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_write_is_refused_by_its_own_first_copy() {
    let bench = Bench::new().await;
    bench.only(Fault::Redelivered);
    let put = bench.client.put_item().table_name(TABLE).set_item(Some(item("a", "mine")));
    let error = put.condition_expression("attribute_not_exists(pk)").send().await.unwrap_err();
    assert_eq!(error.code(), Some("ConditionalCheckFailedException"));
    assert_eq!(bench.value("a").await.unwrap(), "mine");
}

#[tokio::test(start_paused = true)]
async fn a_request_lands_after_its_caller_gave_up() {
    let bench = Bench::new().await;
    let under_way = Latency::micros(100_000, 100_000);
    for (rate, lands) in [(0.0, false), (1.0, true)] {
        let plan = Plan::calm().with(Fault::Abandoned, rate);
        bench.hostile.set(Plan { latency: under_way, ..plan });
        let put = tokio::time::timeout(Duration::from_millis(10), bench.put("a", "zombie"));
        assert!(put.await.is_err());
        assert_eq!(bench.value("a").await, None);
        bench.pass(Duration::from_secs(3600)).await;
        assert_eq!(bench.value("a").await.is_some(), lands);
    }
    assert_eq!(bench.count(Fault::Abandoned), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_take_their_time_and_overtaken_ones_come_later() {
    let bench = Bench::new().await;
    bench.only(Fault::Slow);
    let began = bench.clock.now();
    bench.put("a", "slow").await.unwrap();
    let took = bench.clock.now() - began;
    assert!((Duration::from_millis(100)..=Duration::from_secs(5)).contains(&took), "{took:?}");
    bench.only(Fault::Overtaken);
    // The value that stays is that of the request that came last.
    let mut last = BTreeSet::new();
    for round in 0..10 {
        let pk = round.to_string();
        join_all(["1", "2", "3"].map(|value| bench.put(&pk, value))).await;
        last.insert(bench.value(&pk).await.unwrap());
    }
    assert!(last.len() > 1, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn latency_is_as_planned_on_the_given_clock() {
    let bench = Bench::new().await;
    let latency = Latency::micros(4_000, 12_000);
    bench.hostile.set(Plan { latency, ..Plan::calm() });
    let mut took = Vec::new();
    for _ in 0..500 {
        let began = bench.clock.now();
        bench.put("a", "b").await.unwrap();
        took.push((bench.clock.now() - began).as_micros());
    }
    took.sort_unstable();
    assert!((3_000..=5_000).contains(&took[250]), "{}", took[250]);
    assert!((9_000..=16_000).contains(&took[495]), "{}", took[495]);
    // What is shorter than a timer's tick is saved up, and not lost.
    bench.hostile.set(Plan { latency: Latency::micros(200, 200), ..Plan::calm() });
    let began = bench.clock.now();
    for _ in 0..500 {
        bench.put("a", "b").await.unwrap();
    }
    let took = (bench.clock.now() - began).as_millis();
    assert!((98..=102).contains(&took), "{took}");
}

async fn statements(bench: &Bench, pks: &[String]) -> Vec<Option<String>> {
    let statements = pks.iter().map(|pk| statement(pk, "v")).collect();
    let batch = bench.client.batch_execute_statement().set_statements(Some(statements));
    let answer = batch.send().await.unwrap();
    let code = |error: &aws_sdk_dynamodb::types::BatchStatementError| {
        error.code().unwrap().as_str().to_owned()
    };
    answer.responses().iter().map(|response| response.error().map(code)).collect()
}

fn pks(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

#[tokio::test(start_paused = true)]
async fn statements_are_throttled_alone_and_those_are_not_executed() {
    let bench = Bench::new().await;
    bench.only(Fault::StatementsThrottled);
    let mut codes = BTreeSet::new();
    for round in 0..20 {
        let pks = pks(&format!("{round}/"), 10);
        let answers = statements(&bench, &pks).await;
        assert_eq!(answers.len(), 10);
        assert!(answers.iter().any(Option::is_some));
        for (pk, error) in pks.iter().zip(answers) {
            assert_eq!(bench.value(pk).await.is_some(), error.is_none());
            codes.extend(error);
        }
    }
    let all = ["ProvisionedThroughputExceeded", "RequestLimitExceeded", "ThrottlingError"];
    assert_eq!(codes, all.map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn statements_that_say_they_failed_may_have_been_executed() {
    let bench = Bench::new().await;
    bench.only(Fault::StatementsFailed);
    let mut failed = BTreeSet::new();
    for round in 0..5 {
        let pks = pks(&format!("{round}/"), 10);
        for (pk, error) in pks.iter().zip(statements(&bench, &pks).await) {
            let there = bench.value(pk).await.is_some();
            match error.as_deref() {
                None => assert!(there, "{pk}"),
                Some(code) => {
                    assert_eq!(code, "InternalServerError");
                    failed.insert(there);
                }
            }
        }
    }
    assert_eq!(failed, [false, true].into(), "some were, and some were not");
}

#[tokio::test(start_paused = true)]
async fn parts_of_batches_come_back_unprocessed() {
    let bench = Bench::new().await;
    bench.only(Fault::Unprocessed);
    let pks = pks("a", 20);
    let put = |pk: &String| {
        let put = PutRequest::builder().set_item(Some(item(pk, "v"))).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let batch = bench.client.batch_write_item();
    let batch = batch.request_items(TABLE, pks.iter().map(put).collect());
    let left = batch.send().await.unwrap().unprocessed_items.unwrap().remove(TABLE).unwrap();
    let mut written = 0;
    for pk in &pks {
        written += usize::from(bench.value(pk).await.is_some());
    }
    assert!((1..20).contains(&left.len()) && written + left.len() == 20);
    let keys = pks.iter().map(|pk| key(pk)).collect();
    let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
    let batch = bench.client.batch_get_item().request_items(TABLE, keys.build().unwrap());
    let answer = batch.send().await.unwrap();
    let left = answer.unprocessed_keys.unwrap().remove(TABLE).unwrap();
    assert!((1..20).contains(&left.keys().len()) && left.consistent_read() == Some(true));
    assert!(answer.responses.unwrap()[TABLE].len() <= written);
    assert_eq!(bench.count(Fault::Unprocessed), 2);
}

#[tokio::test(start_paused = true)]
async fn only_reads_that_do_not_ask_for_it_see_old_values() {
    let bench = Bench::new().await;
    bench.only(Fault::Stale);
    bench.put("a", "old").await.unwrap();
    bench.pass(Duration::from_secs(60)).await;
    assert_eq!(bench.read("a", false).await.unwrap(), "old", "nothing has changed for a minute");
    bench.put("a", "new").await.unwrap();
    assert_eq!(bench.read("a", true).await.unwrap(), "new");
    assert_eq!(bench.count(Fault::Stale), 0);
    assert_eq!(bench.read("a", false).await.unwrap(), "old");
    let keys = ["a", "b"].map(key).into();
    let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().unwrap();
    bench.put("b", "just now").await.unwrap();
    let batch = bench.client.batch_get_item().request_items(TABLE, keys);
    let items = batch.send().await.unwrap().responses.unwrap().remove(TABLE).unwrap();
    assert_eq!(items, [item("a", "old")], "the second one was not there");
    assert_eq!(bench.count(Fault::Stale), 2);
    bench.pass(Duration::from_secs(5)).await;
    assert_eq!(bench.read("a", false).await.unwrap(), "new");
}

/// A new table's limits, of which a second's unused units are kept.
fn limited() -> Plan {
    let limits = Limits::new_table();
    let partition = Throughput { burst: Duration::from_secs(1), ..limits.partition };
    Plan::calm().limited(Limits { partition, ..limits })
}

#[tokio::test(start_paused = true)]
async fn a_partition_takes_1000_write_units_a_second() {
    let bench = Bench::new().await;
    bench.set(limited());
    // 101 write units each, 26 read units.
    let large = "x".repeat(100 << 10);
    let began = bench.clock.now();
    let (mut written, mut refused) = (0, None);
    while bench.clock.now() - began < Duration::from_secs(3) {
        match bench.put("a", &large).await {
            Ok(()) => written += 101,
            Err(error) => refused = Some(error),
        }
        bench.pass(Duration::from_millis(50)).await;
    }
    // A second's units were there at first, and the last write may leave a debt.
    assert!((3_900..=4_101).contains(&written), "{written}");
    let refused = refused.unwrap();
    assert!(refused.contains("TableWriteKeyRangeThroughputExceeded"), "{refused}");
    assert_eq!(bench.hostile.consumed().write_units, f64::from(written));
    assert!(bench.hostile.counts().over_limit > 10);
    // Reads have units of their own.
    let get = bench.client.get_item().table_name(TABLE).set_key(Some(key("a")));
    let get = get.consistent_read(true);
    let mut read = 0;
    while get.clone().send().await.is_ok() {
        read += 26;
    }
    assert!((3_000..3_026).contains(&read), "{read}");
}

#[tokio::test(start_paused = true)]
async fn batches_over_a_limit_are_answered_in_part() {
    let bench = Bench::new().await;
    bench.set(limited());
    // One of four partitions is used up.
    while bench.put("a", &"x".repeat(300 << 10)).await.is_ok() {}
    let pks = pks("k", 20);
    let errors: Vec<_> = statements(&bench, &pks).await;
    let throttled = errors.iter().flatten().count();
    assert!((1..15).contains(&throttled), "{errors:?}");
    assert!(errors.iter().flatten().all(|code| code == "ThrottlingError"));
    for (pk, error) in pks.iter().zip(errors) {
        assert_eq!(bench.value(pk).await.is_some(), error.is_none());
    }
}

/// The database behind reports what it has used, too: by another hand.
#[tokio::test(start_paused = true)]
async fn units_are_those_that_the_database_reports() {
    let bench = Bench::new().await;
    bench.set(Plan::calm().limited(Limits::new_table()));
    let mut reported = 0.0;
    for bytes in [10, 5_000, 1_000, 1_010, 1_030, 0] {
        let put = bench.client.put_item().table_name(TABLE);
        let put = put.set_item(Some(item("a", &"x".repeat(bytes))));
        let answer = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
        reported += answer.unwrap().consumed_capacity.unwrap().capacity_units.unwrap();
        assert_eq!(bench.hostile.consumed().write_units, reported, "{bytes}");
    }
    let mut reported = 0.0;
    for (pk, consistent) in [("a", true), ("a", false), ("none", true)] {
        let get = bench.client.get_item().table_name(TABLE).set_key(Some(key(pk)));
        let get = get.consistent_read(consistent);
        let answer = get.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
        reported += answer.unwrap().consumed_capacity.unwrap().capacity_units.unwrap();
        assert_eq!(bench.hostile.consumed().read_units, reported, "{pk} {consistent}");
    }
    // What no answer reports is charged all the same.
    let before = bench.hostile.consumed().write_units;
    bench.put("a", &"x".repeat(3_000)).await.unwrap();
    let put = bench.client.put_item().table_name(TABLE).set_item(Some(item("a", "small")));
    put.condition_expression("attribute_not_exists(pk)").send().await.unwrap_err();
    assert_eq!(bench.hostile.consumed().write_units - before, 3.0 + 3.0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_over_when_it_is_called_off() {
    let bench = Bench::new().await;
    bench.hostile.set(Plan::outage());
    for _ in 0..20 {
        assert!(bench.put("a", "v").await.is_err());
    }
    assert_eq!(bench.count(Fault::Unreachable), 20);
    bench.hostile.calm();
    bench.put("a", "v").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_trace_tells_time_operation_item_and_outcome() {
    let bench = Bench::new().await;
    bench.put("a", "secret").await.unwrap();
    bench.pass(Duration::from_secs(2)).await;
    bench.only(Fault::AnswerLost);
    bench.put("a", "secret").await.unwrap_err();
    let lines = bench.lines.lock().unwrap().join("\n");
    let first = lines.lines().next().unwrap();
    assert!(first.ends_with(" PutItem a AA==: 200"), "{first}");
    let last = lines.lines().last().unwrap();
    assert!(last.ends_with(" PutItem a AA==: no answer, answer-lost"), "{last}");
    assert!(!lines.contains("secret"), "{lines}");
}
