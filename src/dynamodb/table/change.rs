//! The changes of a table, one call each, and the wait until they are done.
//!
//! Owns the control plane's requests. Whether they may be made is `plan`'s.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_table::builders::UpdateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, OnDemandThroughput,
    PointInTimeRecoverySpecification, ProvisionedThroughput, Tag, TimeToLiveSpecification,
};

use super::super::call::{Caller, Refusal};
use super::super::item::TTL;
use super::super::meter::Purpose;
use super::super::pace::Rank;
use super::super::retry::{Failure, Verdict};
use super::POLL;
use super::found::{Billing, is, is_active};
use super::plan::{billing, our_keys};
use crate::config::StoreSettings;
use crate::error::{Error, Result};

fn incomplete(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("the table's definition is not complete: {error}"))
}

fn units(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn capacity(read: u64, write: u64) -> Result<ProvisionedThroughput> {
    let capacity = ProvisionedThroughput::builder()
        .read_capacity_units(units(read))
        .write_capacity_units(units(write));
    capacity.build().map_err(incomplete)
}

/// `None` where nothing is bounded.
fn bounds(read: Option<u64>, write: Option<u64>) -> Option<OnDemandThroughput> {
    read.or(write)?;
    let bounds = OnDemandThroughput::builder()
        .set_max_read_request_units(read.map(units))
        .set_max_write_request_units(write.map(units));
    Some(bounds.build())
}

fn tag((name, value): (&String, &String)) -> Result<Tag> {
    Tag::builder().key(name).value(value).build().map_err(incomplete)
}

/// Sends a change until it is answered. A limit of the control plane (so many changes a day) is final:
/// waiting would take hours.
async fn send<T, E, F>(
    caller: &Caller,
    mut send: impl FnMut() -> F,
) -> std::result::Result<T, Refusal<E>>
where
    F: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + StdError + 'static,
{
    let mut retries = caller.retries(Rank::Head);
    loop {
        match caller.once(Purpose::Protocol, send()).await {
            Err(refusal) if is("LimitExceededException", &refusal) => return Err(refusal),
            Err(refusal) if is("ResourceInUseException", &refusal) => return Err(refusal),
            Err(refusal) if matches!(refusal.verdict, Verdict::Retry { .. }) => {
                retries.wait(&refusal.failure).await;
            }
            ended => return ended,
        }
    }
}

/// Makes the table; whether that was done here: another process may be first.
pub(super) async fn create(caller: &Caller, settings: &StoreSettings) -> Result<bool> {
    let mut request = caller
        .client()
        .create_table()
        .table_name(caller.table())
        .set_deletion_protection_enabled(settings.deletion_protection.filter(|on| *on));
    for (name, kind, of) in our_keys() {
        let attribute = AttributeDefinition::builder().attribute_name(&name).set_attribute_type(of);
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
        request = request
            .attribute_definitions(attribute.build().map_err(incomplete)?)
            .key_schema(key.build().map_err(incomplete)?);
    }
    for pair in &settings.tags {
        request = request.tags(tag(pair)?);
    }
    request = match billing(settings, None) {
        Billing::OnDemand(read, write) => request
            .billing_mode(BillingMode::PayPerRequest)
            .set_on_demand_throughput(bounds(read, write)),
        Billing::Provisioned(read, write) => request
            .billing_mode(BillingMode::Provisioned)
            .provisioned_throughput(capacity(read, write)?),
    };
    match send(caller, || request.clone().send()).await {
        Ok(_) => {
            tracing::info!(table = caller.table(), "the table is made");
            Ok(true)
        }
        // Another process was first, or an answer of ours was lost; or it is being deleted.
        Err(refusal) if is("ResourceInUseException", &refusal) => Ok(false),
        Err(refusal) => Err(caller.error("CreateTable", &refusal)),
    }
}

/// Has the table paid in another way, and waits until it is.
pub(super) async fn pay(caller: &Caller, wanted: Billing, found: Billing) -> Result<()> {
    let request = caller.client().update_table().table_name(caller.table());
    let was_on_demand = matches!(found, Billing::OnDemand(..));
    let request = match wanted {
        Billing::OnDemand(read, write) => {
            let mode = (!was_on_demand).then_some(BillingMode::PayPerRequest);
            request.set_billing_mode(mode).set_on_demand_throughput(bounds(read, write))
        }
        Billing::Provisioned(read, write) => {
            let mode = was_on_demand.then_some(BillingMode::Provisioned);
            request.set_billing_mode(mode).provisioned_throughput(capacity(read, write)?)
        }
    };
    update(caller, request).await
}

/// Protects the table from deletion, or not, and waits until it is so.
pub(super) async fn protect(caller: &Caller, on: bool) -> Result<()> {
    let request = caller.client().update_table().table_name(caller.table());
    update(caller, request.deletion_protection_enabled(on)).await
}

/// One change at a time: those before it are waited for.
async fn update(caller: &Caller, request: UpdateTableFluentBuilder) -> Result<()> {
    loop {
        settle(caller).await?;
        match send(caller, || request.clone().send()).await {
            Ok(_) => return settle(caller).await,
            Err(refusal) if is("ResourceInUseException", &refusal) => {
                caller.clock().sleep(POLL).await;
            }
            Err(refusal) => return Err(caller.error("UpdateTable", &refusal)),
        }
    }
}

/// Waits until no change of the table is under way.
async fn settle(caller: &Caller) -> Result<()> {
    while !is_active(caller).await? {
        caller.clock().sleep(POLL).await;
    }
    Ok(())
}

/// Switches the TTL on; the failure where it cannot be.
pub(super) async fn expire(caller: &Caller) -> Result<std::result::Result<(), Failure>> {
    let specification = TimeToLiveSpecification::builder()
        .attribute_name(TTL)
        .enabled(true)
        .build()
        .map_err(incomplete)?;
    let request = caller
        .client()
        .update_time_to_live()
        .table_name(caller.table())
        .time_to_live_specification(specification);
    let sent = send(caller, || request.clone().send()).await;
    Ok(sent.map(drop).map_err(|refusal| refusal.failure))
}

/// Switches continuous backups on or off.
pub(super) async fn back_up(caller: &Caller, on: bool) -> Result<()> {
    let specification = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(on)
        .build()
        .map_err(incomplete)?;
    let request = caller
        .client()
        .update_continuous_backups()
        .table_name(caller.table())
        .point_in_time_recovery_specification(specification);
    loop {
        match send(caller, || request.clone().send()).await {
            Ok(_) => return Ok(()),
            // A table that was just made has its backups a moment later.
            Err(refusal) if is("ContinuousBackupsUnavailableException", &refusal) => {
                caller.clock().sleep(POLL).await;
            }
            Err(refusal) => return Err(caller.error("UpdateContinuousBackups", &refusal)),
        }
    }
}

/// Gives the table tags, or other values of those that it has.
pub(super) async fn label(
    caller: &Caller,
    arn: &str,
    tags: &BTreeMap<String, String>,
) -> Result<()> {
    let tags = tags.iter().map(tag).collect::<Result<Vec<_>>>()?;
    let request = caller.client().tag_resource().resource_arn(arn).set_tags(Some(tags));
    loop {
        match send(caller, || request.clone().send()).await {
            Ok(_) => return Ok(()),
            Err(refusal) if is("ResourceInUseException", &refusal) => {
                caller.clock().sleep(POLL).await;
            }
            Err(refusal) => return Err(caller.error("TagResource", &refusal)),
        }
    }
}

/// Deletes the table with all that is in it, and waits until it is gone; one that is gone is as good.
pub(super) async fn delete(caller: &Caller) -> Result<()> {
    let request = caller.client().delete_table().table_name(caller.table());
    loop {
        match send(caller, || request.clone().send()).await {
            Ok(_) => {}
            Err(refusal) if is("ResourceNotFoundException", &refusal) => return Ok(()),
            // Being made, changed or deleted already.
            Err(refusal) if is("ResourceInUseException", &refusal) => {}
            Err(refusal) => return Err(caller.error("DeleteTable", &refusal)),
        }
        caller.clock().sleep(POLL).await;
    }
}
