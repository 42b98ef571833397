//! The wait until a table is there and can be used, or is at rest between two changes.
//!
//! Owns which states of a table are waited for and which have no end, and what is told meanwhile.

use std::time::Duration;

use aws_sdk_dynamodb::types::TableStatus;

use super::super::call::Caller;
use super::super::item::{ONLY, key_of};
use super::super::meter::Purpose;
use super::super::pace::{Ask, Lane, Rank, Size};
use super::super::send::Errand;
use super::found::{Found, describe, is};
use super::{Origin, PATIENCE, POLL, change, found, plan};
use crate::clock::Instant;
use crate::config::{Location, StoreSettings};
use crate::error::{Error, ErrorKind, Result};

/// For how long items of a table that was just made may be answered with that there is none. AWS takes seconds.
const ITEMS_ANSWER: Duration = Duration::from_secs(60);

/// After so long the user is told what is waited for, and then now and again.
const TELL_AFTER: Duration = Duration::from_secs(3);
const TELL_EVERY: Duration = Duration::from_secs(30);

/// A wait for the control plane: from look to look, and told of where it lasts.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    caller: &'a Caller,
    began: Instant,
    told: Option<Instant>,
}

impl<'a> Wait<'a> {
    pub(super) fn new(caller: &'a Caller) -> Self {
        Self { caller, began: caller.clock().now(), told: None }
    }

    /// Waits before the next look; `why` says what was seen.
    pub(super) async fn next(&mut self, why: &str) {
        let now = self.caller.clock().now();
        let passed = now - self.began;
        let due = self.told.is_none_or(|told| now - told >= TELL_EVERY);
        if passed >= TELL_AFTER && due {
            self.told = Some(now);
            let seconds = passed.as_secs();
            tracing::warn!("{}: {why}; waited for {seconds} s, waiting on", self.caller.place());
        }
        self.caller.clock().sleep(POLL).await;
    }
}

/// The table once it can be used, and whose it is.
///
/// # Errors
/// [`ErrorKind::Store`] where it has other keys, may not be made, or is in a state without an end.
pub(super) async fn usable(caller: &Caller, settings: &StoreSettings) -> Result<(Found, Origin)> {
    let mut origin = Origin::Found;
    // It was made here and has not been seen since.
    let mut awaited = false;
    let mut at_once = true;
    let mut wait = Wait::new(caller);
    loop {
        let patience = if at_once { PATIENCE } else { Duration::MAX };
        match describe(caller, patience).await? {
            None if !awaited => {
                awaited = change::create(caller, settings).await?;
                // Looks are not consistent: one that was seen being made may be missing in the next.
                origin =
                    if awaited || origin == Origin::Made { Origin::Made } else { Origin::Anothers };
                if !awaited {
                    wait.next("it is missing and in use").await;
                }
            }
            Some(table) if table.is_usable() => {
                super::check(caller, &plan::plan(caller.place(), settings, Some(&table)))?;
                // The embedded one has no second plane.
                if !at_once && matches!(settings.location, Location::Remote { .. }) {
                    items_answer(caller).await?;
                }
                return Ok((found::complete(caller, table, plan::ask(settings)).await?, origin));
            }
            Some(table) => {
                has_an_end(caller, &table.status)?;
                awaited = false;
                // Whatever comes after it is not ours.
                if table.status == TableStatus::Deleting {
                    origin = Origin::Anothers;
                }
                wait.next(&format!("it is {}", table.status)).await;
            }
            None => wait.next("it is made and not to be seen yet").await,
        }
        at_once = false;
    }
}

/// The table once it is active: no change of it is under way.
///
/// # Errors
/// [`ErrorKind::Store`] where it is gone, or in a state without an end.
pub(super) async fn settled(caller: &Caller) -> Result<Found> {
    let mut wait = Wait::new(caller);
    loop {
        let Some(table) = describe(caller, Duration::MAX).await? else {
            let message = format!("{} was deleted while it was being changed", caller.place());
            return Err(Error::new(ErrorKind::Store, message));
        };
        if table.status == TableStatus::Active {
            return Ok(table);
        }
        has_an_end(caller, &table.status)?;
        wait.next(&format!("it is {}", table.status)).await;
    }
}

/// Refuses a state that no waiting ends.
fn has_an_end(caller: &Caller, status: &TableStatus) -> Result<()> {
    let advice = match status {
        TableStatus::InaccessibleEncryptionCredentials => {
            "DynamoDB may not use the KMS key that it is encrypted with: enable that key and its grant \
             within seven days, after which the table is archived, and start again"
        }
        TableStatus::Archiving | TableStatus::Archived => {
            "its KMS key was out of reach for seven days: restore the backup that DynamoDB has made of \
             it as another table, and set state.backend.dynamodb.table to that"
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Store, format!("{} is {status}: {advice}", caller.place())))
}

/// Waits until items of a table that was just made are answered for: requests of items may not know a table yet
/// that is active already, which is final later on. One `GetItem`, of half a read unit; whatever else that is refused
/// for is left to those who need it.
async fn items_answer(caller: &Caller) -> Result<()> {
    // A name is never empty, so no job has this one.
    let pk = "/";
    let (lane, purpose, size) = (Lane::Read, Purpose::Protocol, Size::Items(1));
    let ask = Ask { lane, purpose, rank: Rank::Head, size };
    let send = || {
        caller
            .client()
            .get_item()
            .table_name(caller.table())
            .set_key(Some(key_of(pk.to_owned(), ONLY)))
            .consistent_read(true)
            .send()
    };
    let deadline = caller.clock().now() + ITEMS_ANSWER;
    let mut wait = Wait::new(caller);
    loop {
        match caller.send(Errand { ask, pks: &[pk] }, send).await {
            Ok(answered) => {
                answered.book(0.0);
                return Ok(());
            }
            Err(refusal) if is("ResourceNotFoundException", &refusal) => {
                if caller.clock().now() >= deadline {
                    return Err(caller.error("GetItem", &refusal));
                }
                wait.next("it is active, and its items are not to be read yet").await;
            }
            Err(refusal) => {
                let message = &refusal.failure.message;
                tracing::debug!(table = caller.table(), "its items may not answer yet: {message}");
                return Ok(());
            }
        }
    }
}
