//! Amazon's DynamoDB Local keeps the promises of stores and heads, also behind the hostile wrapper; its
//! table is managed; and the sample jobs run on it by their endpoint alone.
//!
//! `.ci/dynamodb-local` starts one and runs these tests; they are left out of `cargo test`, which needs no
//! Java. What DynamoDB Local lacks is stated where it is met.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![cfg(unix)]

mod dynamodb_support;
mod process;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use dynamodb_support::{promises, reader, settings, try_connect};
use millpond::clock::Clock;
use millpond::config::{Credentials, Location, Secret, StoreSettings};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::hostile::{Fault, Hostile, Latency, Plan};
use millpond::ids::Name;
use process::millpond;

/// Where `.ci/dynamodb-local` has started it.
const ENDPOINT: &str = "DYNAMODB_LOCAL_ENDPOINT";

fn endpoint() -> String {
    std::env::var(ENDPOINT).expect(".ci/dynamodb-local sets the endpoint")
}

/// A table of each test's own.
fn at(table: &str) -> StoreSettings {
    let credentials = Credentials::basic("millpond", Secret::new("secret".to_owned()));
    let location = Location::Remote { region: None, endpoint: Some(endpoint()), credentials };
    StoreSettings { table: table.to_owned(), ..settings(location) }
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: .ci/dynamodb-local"]
async fn it_keeps_all_promises() -> Result<(), String> {
    let connection = try_connect(&at("contract"), Execution::Inline, None).await.unwrap();
    assert!(!connection.exclusive());
    promises::kept(&connection).await
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: .ci/dynamodb-local"]
async fn it_takes_large_values_and_keys() -> Result<(), String> {
    let connection = try_connect(&at("large"), Execution::Inline, None).await.unwrap();
    promises::large_kept(&connection, promises::ITEM).await?;
    let connection = try_connect(&at("small-parts"), Execution::Inline, None).await.unwrap();
    let (value, key) = promises::SMALL;
    promises::large_kept(&connection.in_parts_of(value, key), promises::SMALL).await
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: .ci/dynamodb-local"]
async fn it_keeps_them_behind_the_hostile_wrapper() -> Result<(), String> {
    // Those that take long or never reach it are the embedded one's, by a clock that is paused.
    let kinds = [
        Fault::StatementsThrottled,
        Fault::StatementsFailed,
        Fault::Unprocessed,
        Fault::Late,
        Fault::InternalErrorApplied,
        Fault::AnswerLost,
        Fault::ResetAfter,
        Fault::Truncated,
        Fault::Twice,
        Fault::Redelivered,
    ];
    let plan = kinds.into_iter().fold(Plan::calm(), |plan, fault| plan.with(fault, 0.04));
    let ms = Duration::from_millis;
    let plan = Plan { latency: Latency::NONE, timeout: ms(200), late: (ms(0), ms(300)), ..plan };
    let hostile = Hostile::new(1, Clock::system(), plan);
    let wrap = |client| hostile.wrap(client);
    let connection = try_connect(&at("hostile"), Execution::Inline, Some(&wrap)).await.unwrap();
    promises::kept_in_bad_weather(&connection).await?;
    let (value, key) = promises::SMALL;
    let connection = connection.in_parts_of(value, key);
    promises::large_kept(&connection, promises::SMALL).await?;
    let counts = hostile.counts();
    assert!(kinds.into_iter().all(|fault| counts.of(fault) > 0), "{counts}");
    hostile.land_all().await;
    Ok(())
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: .ci/dynamodb-local"]
async fn it_takes_the_statement_of_the_guide() -> Result<(), String> {
    reader::reads_a_native_value(&at("guide")).await
}

async fn reach(settings: &StoreSettings) -> Connection {
    let (job, clock) = (Name::new("job").unwrap(), Clock::system());
    let (execution, wrap) = (Execution::Inline, None);
    Connection::reach(Options { settings, job: &job, clock, seed: 7, execution, wrap })
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: .ci/dynamodb-local"]
async fn its_table_is_made_changed_and_deleted() {
    let mut wanted = StoreSettings { provisioned: Some((5, 6)), ..at("managed") };
    wanted.tags.insert("stage".to_owned(), "test".to_owned());
    let made = reach(&wanted).await.table().apply().await.unwrap();
    assert!(made.exists && made.differences.is_empty(), "{made:?}");
    // It takes tags at the creation and does not tell of them: they are noted as not known.
    let [unknown] = made.unknown.as_slice() else { panic!("{made:?}") };
    assert!(unknown.starts_with("tags: ListTagsOfResource on "), "{unknown}");

    wanted.manage = true;
    wanted.provisioned = Some((7, 8));
    let plan = reach(&wanted).await.table().plan().await.unwrap();
    let differing: Vec<_> = plan.differences.iter().map(|d| d.property).collect();
    assert_eq!(differing, ["billing"]);
    let changed = reach(&wanted).await.table().apply().await.unwrap();
    assert!(changed.differences.is_empty(), "{changed:?}");

    wanted.provisioned = None;
    let on_demand = reach(&wanted).await.table().apply().await.unwrap();
    assert!(on_demand.differences.is_empty(), "{on_demand:?}");

    let table = reach(&wanted).await.table();
    table.destroy().await.unwrap();
    assert!(!table.plan().await.unwrap().exists);
}

fn lines(folder: &Path, job: &str, settings: &[&str]) -> BTreeSet<String> {
    let arguments = [&["run", job, "--no-rest", "--parallelism=1"][..], settings].concat();
    let mut command = millpond(folder, &arguments);
    command.env("AWS_ACCESS_KEY_ID", "millpond").env("AWS_SECRET_ACCESS_KEY", "secret");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs DynamoDB Local: .ci/dynamodb-local"]
fn the_sample_jobs_give_the_same_by_their_endpoint_alone() {
    let folder = tempfile::tempdir().unwrap();
    let on = format!("-Dstate.backend.dynamodb.endpoint={}", endpoint());
    for job in ["route_stats", "word_count"] {
        let memory = "-Dstate.backend.dynamodb.local-in-memory=true";
        let expected = lines(folder.path(), job, &[memory]);
        assert!(expected.len() > 100, "{job}");
        assert!(lines(folder.path(), job, &[&on]) == expected, "{job}");
    }
}
