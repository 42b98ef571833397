//! What DynamoDB does to a client on a bad day delays calls and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use millpond::ErrorKind;
use millpond::checkpoint::contract::sample_head;
use millpond::checkpoint::{HeadAnswer, HeadChange, HeadCondition};
use millpond::clock::Clock;
use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution, Partition};
use millpond::ids::{Attempt, Incarnation, Name, SlotId};
use millpond::state::{BlockKey, BlockKind, ItemRange, ItemWrite, Presence, Store, WriteOutcome};
use serde_json::{Value, json};

use crate::dynamodb_support::logs::warnings;
use crate::dynamodb_support::script::{Act, Script};
use crate::dynamodb_support::{key, settings, try_connect, version, write};

const SEGMENT: BlockKey = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };

async fn scripted() -> (Connection, Arc<dyn Store>, Script) {
    let script = Script::default();
    let settings = settings(Location::EmbeddedMemory);
    let wrap = |inner| script.wrap(inner);
    let connection = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
    let store = connection.scoped(&job(), Incarnation(1), Duration::from_secs(60));
    script.sent();
    (connection, store, script)
}

fn job() -> Name {
    Name::new("job").unwrap()
}

fn writes(numbers: std::ops::Range<u32>, presence: Presence) -> Vec<ItemWrite> {
    numbers.map(|n| write(n, version(1, 1), "value", presence)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_request_and_a_wrong_hint_one_more() {
    let (_connection, store, script) = scripted().await;
    store.write_items(writes(0..50, Presence::Absent)).await.unwrap();
    assert_eq!(script.sent(), ["BatchExecuteStatement"; 2]);
    let later = (0..50).map(|n| write(n, version(1, 2), "later", Presence::Possible)).collect();
    store.write_items(later).await.unwrap();
    assert_eq!(script.sent(), ["BatchExecuteStatement"; 2]);
    // Wrong either way: nothing is there, and something is.
    store.write_items(writes(100..125, Presence::Possible)).await.unwrap();
    assert_eq!(script.sent(), ["BatchExecuteStatement"; 2]);
    let again = (0..25).map(|n| write(n, version(1, 3), "again", Presence::Absent)).collect();
    store.write_items(again).await.unwrap();
    assert_eq!(script.sent(), ["BatchExecuteStatement"; 2]);
    // A late copy is told by the item that the condition shows.
    store.write_items(writes(0..25, Presence::Possible)).await.unwrap();
    assert_eq!(script.sent(), ["BatchExecuteStatement"; 1]);
    store.read_items((0..150).map(key).collect()).await.unwrap();
    assert_eq!(script.sent(), ["BatchGetItem"; 2]);
}

fn all_throttled(request: &Value) -> Value {
    let statements = request["Statements"].as_array().unwrap().len();
    let error = json!({ "Error": { "Code": "ThrottlingError", "Message": "slow down" } });
    json!({ "Responses": vec![error; statements] })
}

/// Says that the second statement was throttled, though it was not.
fn second_throttled(answer: &mut Value) {
    let error = json!({ "Error": { "Code": "ProvisionedThroughputExceeded", "Message": "slow" } });
    answer["Responses"][1] = error;
}

#[tokio::test(start_paused = true)]
async fn statements_throttled_inside_an_answer_200_are_sent_again() {
    let (connection, store, script) = scripted().await;
    for presence in [Presence::Absent, Presence::Possible] {
        let acts = [Act::Reply(all_throttled), Act::Change(second_throttled)];
        script.next("BatchExecuteStatement", acts);
        let outcomes = store.write_items(writes(0..3, presence)).await.unwrap();
        assert_eq!(outcomes, [WriteOutcome::Done; 3]);
        let items = store.read_items((0..3).map(key).collect()).await.unwrap();
        assert!(items.iter().all(Option::is_some), "{items:?}");
    }
    assert_eq!(connection.meter().snapshot().materialise.throttled, 4);
}

fn all_unprocessed(request: &Value) -> Value {
    json!({ "Responses": {}, "UnprocessedKeys": request["RequestItems"] })
}

/// Gives one item and says that the others were not read.
fn one_processed(answer: &mut Value) {
    let items = answer["Responses"]["millpond-state"].as_array_mut().unwrap();
    let left = items.split_off(1);
    let keys: Vec<_> =
        left.iter().map(|item| json!({ "pk": item["pk"], "sk": item["sk"] })).collect();
    answer["UnprocessedKeys"] = json!({ "millpond-state": { "Keys": keys } });
}

#[tokio::test(start_paused = true)]
async fn unprocessed_keys_are_read_again() {
    let (_connection, store, script) = scripted().await;
    store.write_items(writes(0..10, Presence::Absent)).await.unwrap();
    script.next("BatchGetItem", [Act::Reply(all_unprocessed), Act::Change(one_processed)]);
    script.sent();
    let items = store.read_items((0..12).map(key).collect()).await.unwrap();
    assert_eq!(items.iter().filter(|item| item.is_some()).count(), 10);
    assert_eq!(script.sent(), ["BatchGetItem"; 3]);
}

#[tokio::test(start_paused = true)]
async fn every_call_outlasts_trouble() {
    let (_connection, store, script) = scripted().await;
    let trouble = || {
        [
            Act::error(400, "ProvisionedThroughputExceededException"),
            Act::error(400, "ThrottlingException"),
            Act::error(400, "InvalidSignatureException"),
            Act::error(500, "InternalServerError"),
            Act::Answer(503, String::new()),
            Act::Answer(200, "cut sho".to_owned()),
            // Half a refusal does not say that it is one for good.
            Act::Answer(400, r#"{"__type":"Condi"#.to_owned()),
            Act::Refuse,
            Act::LoseAnswer,
        ]
    };
    for operation in ["BatchExecuteStatement", "PutItem", "GetItem", "BatchGetItem"] {
        script.next(operation, trouble());
    }
    let outcomes = store.write_items(writes(0..3, Presence::Absent)).await.unwrap();
    assert_eq!(outcomes, [WriteOutcome::Done; 3]);
    let bytes = Bytes::from_static(b"block");
    let outcome = store.put_block(SEGMENT, version(1, 1), bytes.clone()).await.unwrap();
    assert_eq!(outcome, WriteOutcome::Done);
    assert_eq!(store.get_block(SEGMENT).await.unwrap().unwrap().bytes, bytes);
    assert!(store.read_items(vec![key(0)]).await.unwrap()[0].is_some());
    assert!(script.sent().len() >= 4 * 9);
}

#[tokio::test(start_paused = true)]
async fn servers_without_partiql_get_puts() {
    let (_connection, store, script) = scripted().await;
    script.next("BatchExecuteStatement", [Act::error(400, "UnknownOperationException")]);
    store.write_items(writes(0..3, Presence::Possible)).await.unwrap();
    let fenced =
        store.write_items(vec![write(0, version(2, 1), "new", Presence::Possible)]).await.unwrap();
    assert_eq!(fenced, [WriteOutcome::Done]);
    let late = store.write_items(writes(0..2, Presence::Possible)).await.unwrap();
    assert_eq!(late, [WriteOutcome::Fenced(version(2, 1)), WriteOutcome::Done]);
    let sent = script.sent();
    assert_eq!(sent[0], "BatchExecuteStatement");
    assert_eq!(sent[1..], vec!["PutItem"; 6]);
}

/// All but the first statement are allowed.
fn first_denied(answer: &mut Value) {
    let message = "not authorized to perform: dynamodb:PartiQLInsert";
    answer["Responses"][0] = json!({ "Error": { "Code": "AccessDenied", "Message": message } });
}

fn all_denied(request: &Value) -> Value {
    let statements = request["Statements"].as_array().unwrap().len();
    let error = json!({ "Error": { "Code": "AccessDenied", "Message": "not authorized" } });
    json!({ "Responses": vec![error; statements] })
}

/// Policies that are made by hand lack the actions of PartiQL: that used to show only when the log was materialised,
/// and then failed every attempt.
#[tokio::test(start_paused = true)]
async fn where_statements_are_not_allowed_items_are_put_and_one_warning_says_so() {
    let cases: [fn() -> Act; 3] = [
        || Act::error(400, "AccessDeniedException"),
        || Act::Reply(all_denied),
        || Act::Change(first_denied),
    ];
    for denied in cases {
        let (_connection, store, script) = scripted().await;
        // As many as are under way at a time: each is refused for itself.
        script.next("BatchExecuteStatement", (0..4).map(|_| denied()));
        let writing = warnings(async {
            for presence in [Presence::Absent, Presence::Possible] {
                let outcomes = store.write_items(writes(0..100, presence)).await.unwrap();
                assert_eq!(outcomes, [WriteOutcome::Done; 100]);
            }
        });
        let ((), said) = writing.await;
        let [said] = &said[..] else { panic!("one warning: {said:?}") };
        for part in ["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "`millpond table policy`"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let items = store.read_items((0..100).map(key).collect()).await.unwrap();
        assert!(items.iter().all(Option::is_some), "{items:?}");
        let sent = script.sent();
        let batches = sent.iter().filter(|sent| *sent == "BatchExecuteStatement").count();
        assert!(batches <= 4, "statements are not tried again: {batches}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_retried() {
    let (_connection, store, script) = scripted().await;
    let cases =
        [("EmbeddedStorageFailure", ErrorKind::Io), ("AccessDeniedException", ErrorKind::Store)];
    for (code, kind) in cases {
        script.next("PutItem", [Act::error(400, code), Act::error(400, code)]);
        script.next("BatchExecuteStatement", [Act::error(400, code)]);
        let error = store.put_block(SEGMENT, version(1, 1), Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("in memory"), "{error}");
        let error = store.write_items(writes(0..1, Presence::Absent)).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        let advised = error.to_string().contains("`millpond table policy` prints");
        assert_eq!(advised, kind == ErrorKind::Store, "{error}");
        script.forget();
    }
    // A batch that is not allowed is tried as a put.
    assert_eq!(script.sent().len(), 5);
}

/// Others that succeed used to begin the count anew each time: it was sent without end.
#[tokio::test(start_paused = true)]
async fn a_call_whose_own_signature_is_always_refused_fails_though_others_succeed() {
    let (connection, store, script) = scripted().await;
    let heads = connection.heads();
    let refused =
        || (0..40).flat_map(|_| [Act::error(400, "InvalidSignatureException"), bad_gateway()]);
    let purged = [Partition::SlotsBelow(BlockKind::Segment, SlotId(1))];
    let purge = connection.purge(&job(), Incarnation(1), purged);
    let put = HeadChange::Put(Box::new(sample_head(1, 0)));
    let put = heads.write(&job(), HeadCondition::Absent, put);
    let block = store.put_block(SEGMENT, version(1, 1), Bytes::from_static(b"block"));
    let items = store.write_items(writes(0..3, Presence::Absent));
    let calls: [(&'static str, BoxFuture<'_, millpond::Result<()>>); 5] = [
        ("BatchGetItem", store.read_items(vec![key(1)]).map_ok(drop).boxed()),
        ("BatchExecuteStatement", items.map_ok(drop).boxed()),
        ("PutItem", block.map_ok(drop).boxed()),
        ("UpdateItem", put.map_ok(drop).boxed()),
        ("BatchWriteItem", purge.map_ok(drop).boxed()),
    ];
    for (operation, call) in calls {
        let only = || Act::error(400, "InvalidSignatureException");
        match operation {
            // What may have moved a head is not sent again.
            "UpdateItem" => script.next(operation, (0..40).map(|_| only())),
            _ => script.next(operation, refused()),
        }
        let others = async {
            loop {
                heads.read(&job()).await.unwrap();
                Clock::system().sleep(Duration::from_millis(10)).await;
            }
        };
        let error = tokio::select! {
            ended = call => ended.unwrap_err(),
            never = others => never,
        };
        assert_eq!(error.kind(), ErrorKind::Store, "{operation}");
        assert!(error.to_string().contains("InvalidSignatureException"), "{error}");
        let sent = script.sent().iter().filter(|sent| *sent == operation).count();
        assert!((10..=20).contains(&sent), "{operation}: {sent}");
        script.forget();
    }
}

/// Each segment used to be deleted by a request of its own.
#[tokio::test(start_paused = true)]
async fn a_server_that_reports_no_units_is_sent_more_deletions_at_a_time() {
    let (connection, _store, script) = scripted().await;
    let unreported = |answer: &mut Value| {
        answer.as_object_mut().unwrap().remove("ConsumedCapacity").unwrap();
    };
    script.next("BatchWriteItem", (0..500).map(|_| Act::Change(unreported)));
    let below = [Partition::SlotsBelow(BlockKind::Segment, SlotId(500))];
    assert_eq!(connection.purge(&job(), Incarnation(1), below).await.unwrap(), 500);
    let sent = script.sent().len();
    assert!((20..30).contains(&sent), "{sent}");
}

fn bad_gateway() -> Act {
    Act::Answer(502, "<html>".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_may_have_moved_is_unknown_and_one_that_surely_has_not_is_sent_again() {
    let (connection, _store, script) = scripted().await;
    let heads = connection.heads();
    let put = HeadChange::Put(Box::new(sample_head(1, 0)));
    let not_applied = [
        Act::error(400, "ThrottlingException"),
        Act::error(400, "ProvisionedThroughputExceededException"),
        // The clock was set while the job was running.
        Act::error(400, "InvalidSignatureException"),
        Act::Refuse,
    ];
    script.next("UpdateItem", not_applied);
    let answer = heads.write(&job(), HeadCondition::Absent, put).await.unwrap();
    assert!(matches!(answer, HeadAnswer::Applied(_)), "{answer:?}");
    assert_eq!(script.sent(), ["UpdateItem"; 5]);
    let unknown = [
        Act::LoseAnswer,
        Act::error(500, "InternalServerError"),
        Act::Answer(200, "cut sho".to_owned()),
    ];
    script.next("UpdateItem", unknown);
    for beat in 1..=3 {
        let change = HeadChange::Beat(beat);
        let answer = heads.write(&job(), HeadCondition::Owned(Attempt(1)), change).await.unwrap();
        assert_eq!(answer, HeadAnswer::Unknown);
    }
    assert_eq!(script.sent(), ["UpdateItem"; 3], "nothing was sent twice");
    assert_eq!(heads.read(&job()).await.unwrap().unwrap().beat, 1, "the first one was applied");
    script.next("UpdateItem", [Act::error(400, "AccessDeniedException")]);
    let change = HeadChange::Beat(9);
    let error = heads.write(&job(), HeadCondition::Owned(Attempt(1)), change).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
}

#[tokio::test(start_paused = true)]
async fn health_tells_for_how_long_a_call_is_retried_though_others_succeed() {
    let (_connection, store, script) = scripted().await;
    assert_eq!(store.health().struggling_for, Duration::ZERO);
    let throttled = |_| Act::error(400, "ThrottlingException");
    script.next("BatchGetItem", (0..1000).map(throttled));
    let reading = store.read_items(vec![key(1)]);
    assert!(tokio::time::timeout(Duration::from_secs(60), reading).await.is_err());
    // The call was dropped, so nothing struggles any more.
    assert_eq!(store.health().struggling_for, Duration::ZERO);
    let mut reading = store.read_items(vec![key(1)]);
    let clock = Clock::system();
    tokio::select! {
        _ = &mut reading => panic!("it is throttled"),
        () = clock.sleep(Duration::from_secs(60)) => {
            store.write_items(writes(0..3, Presence::Absent)).await.unwrap();
            assert!(store.health().struggling_for > Duration::from_secs(59));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn units_are_metered_by_purpose() {
    let (connection, store, _script) = scripted().await;
    let kib = |n: usize| Bytes::from(vec![1; n << 10]);
    let before = connection.meter().snapshot();
    store.put_block(SEGMENT, version(1, 1), kib(255)).await.unwrap();
    assert_eq!(connection.meter().snapshot().log.write_units, 256.0);
    // A put that is refused is charged for what is there.
    store.put_block(SEGMENT, version(1, 1), kib(1)).await.unwrap();
    assert_eq!(connection.meter().snapshot().log.write_units, 512.0);
    store.get_block(SEGMENT).await.unwrap();
    assert_eq!(connection.meter().snapshot().log.read_units, 64.0);
    store.write_items(writes(0..30, Presence::Absent)).await.unwrap();
    assert_eq!(connection.meter().snapshot().materialise.write_units, 30.0);
    store.read_items((0..30).map(key).collect()).await.unwrap();
    let now = connection.meter().snapshot();
    assert_eq!((now.read.read_units, now.read.requests), (30.0, 1));
    assert_eq!(now.protocol, before.protocol);
    let put = HeadChange::Put(Box::new(sample_head(1, 0)));
    connection.heads().write(&job(), HeadCondition::Absent, put).await.unwrap();
    let protocol = connection.meter().snapshot().protocol;
    assert_eq!(protocol.write_units - before.protocol.write_units, 1.0);
}

fn being_made(answer: &mut Value) {
    answer["Table"]["TableStatus"] = json!("CREATING");
}

fn of_others(answer: &mut Value) {
    answer["Table"]["KeySchema"][1]["AttributeName"] = json!("range");
}

#[tokio::test(start_paused = true)]
async fn a_missing_table_is_made_and_waited_for() {
    let script = Script::default();
    let wrap = |inner| script.wrap(inner);
    script.next("CreateTable", [Act::error(400, "ThrottlingException"), Act::LoseAnswer]);
    let not_found = Act::error(400, "ResourceNotFoundException");
    script.next("DescribeTable", [not_found, Act::Change(being_made), Act::Change(being_made)]);
    let mut settings = settings(Location::EmbeddedMemory);
    settings.provisioned = Some((20, 20));
    try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
    let sent = script.sent();
    let count = |operation: &str| sent.iter().filter(|sent| *sent == operation).count();
    // The third creation finds the table that the second, unanswered one has made.
    assert_eq!((count("CreateTable"), count("DescribeTable")), (3, 4), "{sent:?}");
    assert_eq!(count("UpdateTimeToLive"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_table_with_other_keys_is_refused() {
    let script = Script::default();
    let wrap = |inner| script.wrap(inner);
    script.next("DescribeTable", [Act::error(400, "ResourceNotFoundException")]);
    script.next("DescribeTable", [Act::Change(of_others)]);
    let settings = settings(Location::EmbeddedMemory);
    let error = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("range"), "{error}");
}

/// Answers that there is nothing, if the question is what the protocol needs.
fn nothing_there(request: &Value) -> Value {
    let tables = request["RequestItems"].as_object();
    let asked = tables.and_then(|tables| tables.values().next()).unwrap_or(request);
    assert_eq!(asked["ConsistentRead"], json!(true), "{request}");
    json!({})
}

/// An old value would be counted on, an old head decided from. The embedded database has no old
/// values to show, so the requests are looked at.
#[tokio::test(start_paused = true)]
async fn every_read_is_strongly_consistent() {
    let (connection, store, script) = scripted().await;
    script.next("BatchGetItem", [Act::Reply(nothing_there), Act::Reply(nothing_there)]);
    script.next("GetItem", [Act::Reply(nothing_there), Act::Reply(nothing_there)]);
    assert_eq!(store.read_items((0..150).map(key).collect()).await.unwrap(), vec![None; 150]);
    assert_eq!(store.get_block(SEGMENT).await.unwrap(), None);
    assert_eq!(connection.heads().read(&job()).await.unwrap(), None);
    script.next("Query", [Act::Reply(nothing_there)]);
    let key = key(0);
    let range = ItemRange {
        operator: key.operator,
        state: key.state,
        key_group: key.key_group,
        from: Bytes::new(),
        to: None,
    };
    assert!(store.scan_items(range).await.unwrap().is_empty());
    let sent = script.sent();
    assert_eq!(sent, ["BatchGetItem", "BatchGetItem", "GetItem", "GetItem", "Query"]);
}
