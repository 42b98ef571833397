//! The changes of a table, one call each, and the wait until they are done.
//!
//! Owns the control plane's requests. Whether they may be made is `plan`'s.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Duration;

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
use super::found::{Billing, Found, Told, is, ttl};
use super::plan::{billing, our_keys};
use super::ready::{Wait, settled};
use crate::config::StoreSettings;
use crate::error::{Error, Result};

/// For how long a table may refuse that its TTL is switched on, since it is in use or not known yet: where that is
/// waited for.
const TTL_SETTLES: Duration = Duration::from_secs(60);

/// A change that was not made.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// Only for now: so many changes are made in a day, or at once.
    pub(super) by_limit: bool,
}

impl Refused {
    fn new<E>(caller: &Caller, what: &str, refusal: &Refusal<E>) -> Self {
        let by_limit = is("LimitExceededException", refusal);
        Self { error: caller.error(what, refusal), by_limit }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, by_limit: false }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

pub(super) type Changed = std::result::Result<(), Refused>;

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

/// (read, write) request units a second.
type Bounds = (Option<u64>, Option<u64>);

/// What takes a bound away.
const UNBOUNDED: i64 = -1;

/// What makes bounds of those that are there; `None` where there are none, and none are wanted.
fn bounds(wanted: Bounds, there: Bounds) -> Option<OnDemandThroughput> {
    let of =
        |wanted: Option<u64>, there: Option<u64>| wanted.map(units).or(there.map(|_| UNBOUNDED));
    let (read, write) = (of(wanted.0, there.0), of(wanted.1, there.1));
    read.or(write)?;
    let bounds = OnDemandThroughput::builder()
        .set_max_read_request_units(read)
        .set_max_write_request_units(write);
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
            Err(mut refusal) => {
                refusal.verdict = retries.judge(refusal.verdict);
                if !matches!(refusal.verdict, Verdict::Retry { .. }) {
                    return Err(refusal);
                }
                retries.wait(&refusal.failure).await;
            }
            answer => return answer,
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
            .set_on_demand_throughput(bounds((read, write), (None, None))),
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

/// Has the table paid as `settings` say, and waits until it is.
pub(super) async fn pay(caller: &Caller, settings: &StoreSettings) -> Changed {
    let differing = |found: &Found, request: UpdateTableFluentBuilder| {
        let (wanted, found) = (billing(settings, Some(found.billing)), found.billing);
        if wanted == found {
            return Ok(None);
        }
        Ok(Some(match (wanted, found) {
            (Billing::OnDemand(read, write), Billing::OnDemand(was_read, was_write)) => {
                let bounds = bounds((read, write), (was_read, was_write));
                request.set_on_demand_throughput(bounds)
            }
            (Billing::OnDemand(read, write), Billing::Provisioned(..)) => request
                .billing_mode(BillingMode::PayPerRequest)
                .set_on_demand_throughput(bounds((read, write), (None, None))),
            (Billing::Provisioned(read, write), was) => {
                let was_on_demand = matches!(was, Billing::OnDemand(..));
                request
                    .set_billing_mode(was_on_demand.then_some(BillingMode::Provisioned))
                    .provisioned_throughput(capacity(read, write)?)
            }
        }))
    };
    update(caller, differing).await
}

/// Protects the table from deletion, or not, and waits until it is so.
pub(super) async fn protect(caller: &Caller, on: bool) -> Changed {
    let differing = |found: &Found, request: UpdateTableFluentBuilder| {
        let differs = found.deletion_protection != on;
        Ok(differs.then(|| request.deletion_protection_enabled(on)))
    };
    update(caller, differing).await
}

/// One change at a time: those before it are waited for. `differing` completes the request for the table as it then is;
/// it gives `None` where nothing differs any more, since another process has done it, or a request of ours whose
/// answer was lost. DynamoDB refuses such a request, and calls it not valid.
async fn update(
    caller: &Caller,
    differing: impl Fn(&Found, UpdateTableFluentBuilder) -> Result<Option<UpdateTableFluentBuilder>>,
) -> Changed {
    let mut wait = Wait::new(caller);
    let mut not_valid = None;
    loop {
        let found = settled(caller).await?;
        let request = caller.client().update_table().table_name(caller.table());
        let Some(request) = differing(&found, request)? else { return Ok(()) };
        if let Some(error) = not_valid {
            return Err(error);
        }
        match send(caller, || request.clone().send()).await {
            Ok(_) => return Ok(settled(caller).await.map(drop)?),
            Err(refusal) if is("ResourceInUseException", &refusal) => {
                wait.next("another change of it is under way").await;
            }
            Err(refusal) if is("ValidationException", &refusal) => {
                not_valid = Some(Refused::new(caller, "UpdateTable", &refusal));
            }
            Err(refusal) => return Err(Refused::new(caller, "UpdateTable", &refusal)),
        }
    }
}

/// Switches the TTL on, and waits until that is possible where it `may_wait`; the failure where it cannot be.
pub(super) async fn expire(
    caller: &Caller,
    may_wait: bool,
) -> Result<std::result::Result<(), Failure>> {
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
    let deadline = caller.clock().now() + if may_wait { TTL_SETTLES } else { Duration::ZERO };
    let mut wait = Wait::new(caller);
    loop {
        let refusal = match send(caller, || request.clone().send()).await {
            Ok(_) => return Ok(Ok(())),
            Err(refusal) => refusal,
        };
        let passes =
            is("ResourceInUseException", &refusal) || is("ResourceNotFoundException", &refusal);
        if passes && caller.clock().now() < deadline {
            wait.next("its TTL cannot be changed yet").await;
            continue;
        }
        // Another process was first, or an answer of ours was lost.
        let is_on = is("ValidationException", &refusal)
            && ttl(caller).await? == Told::Is(Some(TTL.to_owned()));
        return Ok(if is_on { Ok(()) } else { Err(refusal.failure) });
    }
}

/// Switches continuous backups on or off.
pub(super) async fn back_up(caller: &Caller, on: bool) -> Changed {
    let specification = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(on)
        .build()
        .map_err(incomplete)?;
    let request = caller
        .client()
        .update_continuous_backups()
        .table_name(caller.table())
        .point_in_time_recovery_specification(specification);
    let mut wait = Wait::new(caller);
    loop {
        match send(caller, || request.clone().send()).await {
            Ok(_) => return Ok(()),
            // A table that was just made has its backups a moment later.
            Err(refusal) if is("ContinuousBackupsUnavailableException", &refusal) => {
                wait.next("its backups cannot be changed yet").await;
            }
            Err(refusal) => return Err(Refused::new(caller, "UpdateContinuousBackups", &refusal)),
        }
    }
}

/// Gives the table tags, or other values of those that it has.
pub(super) async fn label(caller: &Caller, arn: &str, tags: &BTreeMap<String, String>) -> Changed {
    let tags = tags.iter().map(tag).collect::<Result<Vec<_>>>()?;
    let request = caller.client().tag_resource().resource_arn(arn).set_tags(Some(tags));
    let mut wait = Wait::new(caller);
    loop {
        match send(caller, || request.clone().send()).await {
            Ok(_) => return Ok(()),
            Err(refusal) if is("ResourceInUseException", &refusal) => {
                wait.next("its tags cannot be changed yet").await;
            }
            Err(refusal) => return Err(Refused::new(caller, "TagResource", &refusal)),
        }
    }
}

/// Deletes the table with all that is in it, and waits until it is gone; one that is gone is as good.
pub(super) async fn delete(caller: &Caller) -> Result<()> {
    let request = caller.client().delete_table().table_name(caller.table());
    let mut wait = Wait::new(caller);
    loop {
        match send(caller, || request.clone().send()).await {
            Ok(_) => {}
            Err(refusal) if is("ResourceNotFoundException", &refusal) => return Ok(()),
            // Being made, changed or deleted already.
            Err(refusal) if is("ResourceInUseException", &refusal) => {}
            Err(refusal) => return Err(caller.error("DeleteTable", &refusal)),
        }
        wait.next("it is being deleted").await;
    }
}
