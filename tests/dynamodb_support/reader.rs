//! Another program that reads the table, by the statement that the guide shows.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region, SharedHttpClient};
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use millpond::KeyGroup;
use millpond::config::{Location, StoreSettings};
use millpond::dynamodb::Execution;
use millpond::ids::{Incarnation, Name};
use millpond::state::{Item, ItemKey, ItemWrite, Presence};

use super::{try_connect, version};

fn statement_of_the_guide() -> &'static str {
    let (_, statement) = include_str!("../../docs/guide.md").split_once("```sql\n").unwrap();
    statement.split_once("\n```").unwrap().0
}

/// Whether the guide's statement finds the fields of a value that is written natively.
pub(crate) async fn reads_a_native_value(settings: &StoreSettings) -> Result<(), String> {
    let http = Mutex::new(None);
    let wrap = |client: SharedHttpClient| {
        *http.lock().unwrap() = Some(client.clone());
        client
    };
    let connection = try_connect(settings, Execution::Inline, Some(&wrap)).await.unwrap();
    let store = connection.scoped(
        &Name::new("route_stats").unwrap(),
        Incarnation(1),
        Duration::from_secs(60),
    );
    let value = Bytes::from_static(br#"{"M":{"count":{"N":"7"},"worst":{"S":"AA11"}}}"#);
    let item = Item { native: true, ..Item::new(version(1, 1), Some(value)) };
    let key = ItemKey {
        operator: Name::new("stats").unwrap(),
        state: Name::new("total").unwrap(),
        key_group: KeyGroup(17),
        sort_key: Bytes::from_static(b"key"),
    };
    let write = ItemWrite { key, item, presence: Presence::Absent };
    store.write_items(vec![write]).await.unwrap();

    let endpoint = match &settings.location {
        Location::Remote { endpoint: Some(endpoint), .. } => endpoint,
        _ => "http://embedded.invalid",
    };
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .credentials_provider(Credentials::new("millpond", "secret", None, None, "test"))
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .http_client(http.lock().unwrap().take().unwrap())
        .build();
    let statement = statement_of_the_guide().replace("millpond-state", &settings.table);
    let sent = Client::from_conf(config).execute_statement().statement(&statement).send().await;
    let answer = sent.map_err(|e| format!("{statement}: {}", DisplayErrorContext(e)))?;
    let expected = HashMap::from([
        ("count".to_owned(), AttributeValue::N("7".to_owned())),
        ("worst".to_owned(), AttributeValue::S("AA11".to_owned())),
    ]);
    match answer.items() {
        [found] if *found == expected => Ok(()),
        found => Err(format!("{statement}: {found:?}")),
    }
}
