//! A table as it is: what DynamoDB says about it.
//!
//! Owns the look at it. What it should be is `plan`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeyType, PointInTimeRecoveryStatus, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveStatus,
};

use super::super::call::{Caller, Refusal};
use super::super::meter::Purpose;
use super::super::retry::{Failure, Reach, Verdict};
use crate::error::{Error, ErrorKind, Result};

/// A key's attribute: its name, what it is, and its type.
pub(super) type KeyAttribute = (String, KeyType, Option<ScalarAttributeType>);

/// How a table is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Billing {
    /// By the request; at most so many (read, write) request units a second.
    OnDemand(Option<u64>, Option<u64>),
    /// (read, write) capacity units.
    Provisioned(u64, u64),
}

impl Billing {
    /// (read, write) capacity units a second, where those are what is paid for.
    pub(super) fn provisioned(self) -> Option<(u64, u64)> {
        match self {
            Self::Provisioned(read, write) if read > 0 && write > 0 => Some((read, write)),
            Self::Provisioned(..) | Self::OnDemand(..) => None,
        }
    }
}

/// A property that a server may not tell: it does not have it, or the right to see it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told<T> {
    /// What it is.
    Is(T),
    /// Why it is not known.
    Hidden(String),
    /// Nobody asked.
    NotAsked,
}

impl<T> Told<T> {
    /// Why it is not known, where it was asked for.
    pub(super) fn hidden(&self) -> Option<&str> {
        match self {
            Self::Hidden(why) => Some(why),
            Self::Is(_) | Self::NotAsked => None,
        }
    }
}

/// What is known of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) status: TableStatus,
    pub(super) arn: Option<String>,
    pub(super) keys: Vec<KeyAttribute>,
    pub(super) billing: Billing,
    pub(super) deletion_protection: bool,
    /// The attribute, where it is on.
    pub(super) ttl: Told<Option<String>>,
    pub(super) point_in_time_recovery: Told<bool>,
    pub(super) tags: Told<BTreeMap<String, String>>,
    /// As DynamoDB last counted them, up to six hours ago.
    pub(super) items: u64,
    pub(super) bytes: u64,
}

impl Found {
    /// Whether items can be read and written: also while it is being changed.
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.status, TableStatus::Active | TableStatus::Updating)
    }
}

/// Which properties are looked at, each at the price of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) recovery: bool,
    pub(super) tags: bool,
}

/// The table as it is, without what needs further calls; `None` where there is none. Given up where
/// nothing has answered for `patience`.
pub(super) async fn describe(caller: &Caller, patience: Duration) -> Result<Option<Found>> {
    let send = || caller.client().describe_table().table_name(caller.table()).send();
    match caller.call_within(patience, Purpose::Protocol, send).await {
        Ok(answer) => Ok(answer.table.as_ref().map(of_description)),
        Err(refusal) if is("ResourceNotFoundException", &refusal) => Ok(None),
        Err(refusal) if matches!(refusal.verdict, Verdict::Retry { .. }) => {
            let message = format!(
                "{} has not answered for {patience:?}: {}; look at the network, and at aws.region and \
                 state.backend.dynamodb.endpoint",
                caller.place(),
                refusal.failure.message
            );
            Err(Error::new(ErrorKind::Store, message))
        }
        Err(refusal) => {
            let error = caller.error("DescribeTable", &refusal);
            Err(advised(&refusal.failure, error))
        }
    }
}

/// The table as one call shows it, where it does: a failure is no error, and not tried again.
pub(super) async fn look(caller: &Caller) -> Option<Found> {
    let sent = caller.client().describe_table().table_name(caller.table()).send();
    match caller.once(Purpose::Protocol, sent).await {
        Ok(answer) => answer.table.as_ref().map(of_description),
        Err(refusal) => {
            let why = &refusal.failure.message;
            tracing::debug!("{}: the table could not be looked at: {why}", caller.place());
            None
        }
    }
}

/// The first call of every run: the reason of a refusal is reported with what to do. An error of what is not allowed
/// has that by itself.
fn advised(failure: &Failure, error: Error) -> Error {
    let advice = match failure.code.as_deref() {
        Some("ExpiredTokenException") => {
            "the credentials have expired: renew them, or choose an aws.credentials.provider that \
             fetches new ones"
        }
        Some("InvalidSignatureException" | "RequestTimeTooSkewed" | "RequestExpired") => {
            "look at the machine's clock, and at aws.credentials.provider and its keys"
        }
        Some(
            "UnrecognizedClientException"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException"
            | "InvalidClientTokenId",
        ) => "look at aws.credentials.provider and its keys",
        None if failure.reach == Reach::NotMade => "look at aws.credentials.provider and its keys",
        None if matches!(failure.reach, Reach::Answered(_)) => "is that a DynamoDB?",
        _ => return error,
    };
    Error::new(error.kind(), format!("{}; {advice}", error.message()))
}

/// `found`, with what needs further calls: one `DescribeTimeToLive`, and one call for each of what is
/// asked for.
pub(super) async fn complete(caller: &Caller, mut found: Found, ask: Ask) -> Result<Found> {
    found.ttl = ttl(caller).await?;
    if ask.recovery {
        found.point_in_time_recovery = recovery(caller).await?;
    }
    if ask.tags {
        found.tags = tags(caller, found.arn.as_deref()).await?;
    }
    Ok(found)
}

/// Whether `refusal` has this code.
pub(super) fn is<E>(code: &str, refusal: &Refusal<E>) -> bool {
    refusal.failure.code.as_deref() == Some(code)
}

fn of_description(table: &TableDescription) -> Found {
    let type_of = |name: &str| {
        let mut all = table.attribute_definitions().iter();
        all.find(|a| a.attribute_name() == name).map(AttributeDefinition::attribute_type).cloned()
    };
    let key = |name: &str, kind: &KeyType| (name.to_owned(), kind.clone(), type_of(name));
    let keys = table.key_schema().iter().map(|k| key(k.attribute_name(), k.key_type()));
    let units = |units: Option<i64>| units.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    let mode = table.billing_mode_summary().and_then(|summary| summary.billing_mode());
    let billing = if mode == Some(&BillingMode::PayPerRequest) {
        let most = table.on_demand_throughput();
        Billing::OnDemand(
            units(most.and_then(|most| most.max_read_request_units())),
            units(most.and_then(|most| most.max_write_request_units())),
        )
    } else {
        let capacity = table.provisioned_throughput();
        Billing::Provisioned(
            units(capacity.and_then(|capacity| capacity.read_capacity_units())).unwrap_or(0),
            units(capacity.and_then(|capacity| capacity.write_capacity_units())).unwrap_or(0),
        )
    };
    Found {
        // One that does not say is waited for.
        status: table.table_status().cloned().unwrap_or(TableStatus::Creating),
        arn: table.table_arn().map(str::to_owned),
        keys: keys.collect(),
        billing,
        deletion_protection: table.deletion_protection_enabled().unwrap_or(false),
        ttl: Told::NotAsked,
        point_in_time_recovery: Told::NotAsked,
        tags: Told::NotAsked,
        items: units(table.item_count()).unwrap_or(0),
        bytes: units(table.table_size_bytes()).unwrap_or(0),
    }
}

/// The attribute of the TTL, where it is on.
pub(super) async fn ttl(caller: &Caller) -> Result<Told<Option<String>>> {
    let send = || caller.client().describe_time_to_live().table_name(caller.table()).send();
    told(caller, "DescribeTimeToLive", caller.call(Purpose::Protocol, send).await, |answer| {
        let ttl = answer.time_to_live_description?;
        let on = matches!(
            ttl.time_to_live_status,
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        );
        ttl.attribute_name.filter(|_| on)
    })
}

async fn recovery(caller: &Caller) -> Result<Told<bool>> {
    let send = || caller.client().describe_continuous_backups().table_name(caller.table()).send();
    let sent = caller.call(Purpose::Protocol, send).await;
    told(caller, "DescribeContinuousBackups", sent, |answer| {
        let backups = answer.continuous_backups_description;
        let recovery = backups.and_then(|backups| backups.point_in_time_recovery_description);
        let status = recovery.and_then(|recovery| recovery.point_in_time_recovery_status);
        status == Some(PointInTimeRecoveryStatus::Enabled)
    })
}

/// A table has at most 50 tags, and a page of them holds 10 or more.
async fn tags(caller: &Caller, arn: Option<&str>) -> Result<Told<BTreeMap<String, String>>> {
    let Some(arn) = arn else { return Ok(Told::Hidden("the server names no ARN".to_owned())) };
    let mut all = BTreeMap::new();
    let mut next: Option<String> = None;
    loop {
        let request = caller.client().list_tags_of_resource().resource_arn(arn);
        let send = || request.clone().set_next_token(next.clone()).send();
        let sent = caller.call(Purpose::Protocol, send).await;
        let page = told(caller, "ListTagsOfResource", sent, |page| page)?;
        let page = match page {
            Told::Is(page) => page,
            Told::Hidden(why) => return Ok(Told::Hidden(why)),
            Told::NotAsked => return Ok(Told::NotAsked),
        };
        let tags = page.tags.unwrap_or_default();
        all.extend(tags.into_iter().map(|tag| (tag.key, tag.value)));
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(Told::Is(all));
        }
    }
}

/// What a server says, or why it does not: one without the operation, or a right that is missing, stops
/// nobody. A disk that fails does.
fn told<T, U, E>(
    caller: &Caller,
    operation: &str,
    sent: std::result::Result<T, Refusal<E>>,
    read: impl FnOnce(T) -> U,
) -> Result<Told<U>> {
    match sent {
        Ok(answer) => Ok(Told::Is(read(answer))),
        Err(refusal) => {
            let error = caller.error(operation, &refusal);
            if error.kind() == ErrorKind::Io {
                return Err(error);
            }
            Ok(Told::Hidden(error.message().to_owned()))
        }
    }
}
