//! The table: made where it is missing, waited for, checked, its TTL switched on.
//!
//! Owns the schema of keys and the life of the table up to the first read. Capacity, tags and the
//! rest of a table's management belong here, too.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ProvisionedThroughput,
    ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};

use super::call::{Caller, Refusal};
use super::item::{PK, SK, TTL};
use super::meter::Purpose;
use crate::error::{Error, ErrorKind, Result};

/// Between two looks at a table that is being made. AWS takes 5 to 20 s.
const POLL: Duration = Duration::from_millis(500);

/// Makes sure that the table can be used: one `DescribeTable` and one `DescribeTimeToLive` where it is
/// there already. `provisioned` is (read, write) units; `None` is on demand.
///
/// An `embedded` table is known by its TTL alone: describing it counts its items, which takes 0.1 s for a
/// million of them, and a restart must not take longer because there is more state.
///
/// # Errors
/// [`ErrorKind::Store`] where it has other keys, or may not be made.
pub(super) async fn ensure(
    caller: &Caller,
    provisioned: Option<(u64, u64)>,
    embedded: bool,
) -> Result<()> {
    if embedded && has_our_ttl(caller).await {
        return Ok(());
    }
    let mut asked_for = false;
    loop {
        match describe(caller).await? {
            None if !asked_for => {
                create(caller, provisioned).await?;
                asked_for = true;
            }
            Some(table) if usable(&table) => {
                check_keys(caller, &table)?;
                return ensure_ttl(caller).await;
            }
            // Being made, by us or by another; or not to be seen yet.
            _ => caller.clock().sleep(POLL).await,
        }
    }
}

fn usable(table: &TableDescription) -> bool {
    matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating))
}

fn is(code: &str, failure: &super::retry::Failure) -> bool {
    failure.code.as_deref() == Some(code)
}

async fn describe(caller: &Caller) -> Result<Option<TableDescription>> {
    let send = || caller.client().describe_table().table_name(caller.table()).send();
    match caller.call(Purpose::Protocol, send).await {
        Ok(answer) => Ok(answer.table),
        Err(refusal) if is("ResourceNotFoundException", &refusal.failure) => Ok(None),
        Err(refusal) => Err(caller.error("DescribeTable", &refusal)),
    }
}

async fn create(caller: &Caller, provisioned: Option<(u64, u64)>) -> Result<()> {
    let incomplete = |e| Error::internal(format!("the table's definition is not complete: {e}"));
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
    };
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let mut request = caller
        .client()
        .create_table()
        .table_name(caller.table())
        .attribute_definitions(attribute(PK, ScalarAttributeType::S).map_err(incomplete)?)
        .attribute_definitions(attribute(SK, ScalarAttributeType::B).map_err(incomplete)?)
        .key_schema(key(PK, KeyType::Hash).map_err(incomplete)?)
        .key_schema(key(SK, KeyType::Range).map_err(incomplete)?);
    request = match provisioned {
        None => request.billing_mode(BillingMode::PayPerRequest),
        Some((read, write)) => {
            let units = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let throughput = ProvisionedThroughput::builder()
                .read_capacity_units(units(read))
                .write_capacity_units(units(write))
                .build()
                .map_err(incomplete)?;
            request.billing_mode(BillingMode::Provisioned).provisioned_throughput(throughput)
        }
    };
    tracing::info!(table = caller.table(), "the table is made");
    match caller.call(Purpose::Protocol, || request.clone().send()).await {
        Ok(_) => Ok(()),
        // Another process was first, or an answer of ours was lost.
        Err(refusal) if is("ResourceInUseException", &refusal.failure) => Ok(()),
        Err(refusal) => Err(caller.error("CreateTable", &refusal)),
    }
}

fn check_keys(caller: &Caller, table: &TableDescription) -> Result<()> {
    let type_of = |name: &str| {
        let mut all = table.attribute_definitions().iter();
        all.find(|a| a.attribute_name() == name).map(AttributeDefinition::attribute_type)
    };
    let keys: Vec<_> = table
        .key_schema()
        .iter()
        .map(|key| (key.attribute_name(), key.key_type().clone(), type_of(key.attribute_name())))
        .collect();
    let expected = [
        (PK, KeyType::Hash, Some(&ScalarAttributeType::S)),
        (SK, KeyType::Range, Some(&ScalarAttributeType::B)),
    ];
    if keys == expected {
        return Ok(());
    }
    let found: Vec<_> = keys.iter().map(|(name, ..)| *name).collect();
    Err(Error::new(
        ErrorKind::Store,
        format!(
            "table {} was not made by Millpond: its keys are {found:?}, not pk (S) and sk (B); \
             set state.backend.dynamodb.table to another name",
            caller.table()
        ),
    ))
}

/// Whether the table is there and has the TTL that [`ensure`] gave it last of all.
async fn has_our_ttl(caller: &Caller) -> bool {
    let describe = || caller.client().describe_time_to_live().table_name(caller.table()).send();
    let Ok(answer) = caller.call(Purpose::Protocol, describe).await else { return false };
    answer.time_to_live_description().is_some_and(|ttl| {
        ttl.attribute_name() == Some(TTL)
            && ttl.time_to_live_status() == Some(&TimeToLiveStatus::Enabled)
    })
}

/// Without TTL tombstones stay, which costs storage and no correctness: so a server that has none, or
/// a right that is missing, is a warning.
async fn ensure_ttl(caller: &Caller) -> Result<()> {
    let describe = || caller.client().describe_time_to_live().table_name(caller.table()).send();
    let answer = match caller.call(Purpose::Protocol, describe).await {
        Ok(answer) => answer,
        Err(refusal) => return tolerate(caller, &refusal),
    };
    let status = answer.time_to_live_description().and_then(|d| d.time_to_live_status());
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder()
        .attribute_name(TTL)
        .enabled(true)
        .build()
        .map_err(|e| Error::internal(format!("the TTL's definition is not complete: {e}")))?;
    let enable = || {
        caller
            .client()
            .update_time_to_live()
            .table_name(caller.table())
            .time_to_live_specification(specification.clone())
            .send()
    };
    match caller.call(Purpose::Protocol, enable).await {
        Ok(_) => Ok(()),
        Err(refusal) => tolerate(caller, &refusal),
    }
}

fn tolerate<E>(caller: &Caller, refusal: &Refusal<E>) -> Result<()> {
    if caller.error("TTL", refusal).kind() == ErrorKind::Io {
        return Err(caller.error("UpdateTimeToLive", refusal));
    }
    tracing::warn!(
        table = caller.table(),
        "TTL could not be switched on, so tombstones stay in the table: {}",
        refusal.failure.message
    );
    Ok(())
}
