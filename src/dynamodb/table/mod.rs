//! The table: made where it is missing, waited for, compared with the configuration, and changed where
//! that says so.
//!
//! ```text
//! ready (looks, until it can be used) ─► plan (pure: what differs, what may be done) ─► change (one call each)
//! ```
//!
//! Owns what a start does about the table, and the operations of `millpond table`. A table that was
//! there already is changed only where `table.manage` is true, one of other keys never.

mod change;
mod found;
mod plan;
mod policy;
mod ready;

use std::time::Duration;

use change::{Changed, Refused};
use found::{Found, Told};
pub use plan::{Difference, Plan, Remedy};
pub use policy::policy;

use plan::{TAGS, TTL_ATTRIBUTE};
use ready::usable;

use super::call::Caller;
use super::item::TTL;
use crate::config::StoreSettings;
use crate::error::{Error, ErrorKind, Result};

/// Between two looks at a table that is being made. AWS takes 5 to 20 s.
const POLL: Duration = Duration::from_millis(500);

/// How long a start waits for a server that has never answered it: one that is not there, or whose region
/// or name is mistyped, would be waited for without end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long AWS may take until it shows tags that it was given.
const TAGS_SHOW: Duration = Duration::from_secs(30);

/// Whose table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was there.
    Found,
    /// Missing, and made by another process before us: it may be of another configuration.
    Anothers,
    /// Made here.
    Made,
}

/// Makes sure that the table can be used: one `DescribeTable` and one `DescribeTimeToLive` where it is
/// there already, and one call for tags and for continuous backups where those are configured.
///
/// An `embedded` table is known by its TTL alone where nothing of a table is configured: describing it counts its
/// items, which takes 0.1 s for a million of them, and a restart must not take longer because there is more state.
///
/// Gives its provisioned capacity, in (read, write) units a second, `None` on demand: what was found, whatever
/// is configured, where the table is not to be changed.
///
/// # Errors
/// [`ErrorKind::Store`] where it has other keys, or may not be made.
pub(super) async fn ensure(
    caller: &Caller,
    settings: &StoreSettings,
    embedded: bool,
) -> Result<Option<(u64, u64)>> {
    let as_it_comes = embedded && !plan::is_configured(settings);
    if as_it_comes && found::ttl(caller).await? == Told::Is(Some(TTL.to_owned())) {
        return Ok(settings.provisioned);
    }
    let (found, origin) = usable(caller, settings).await?;
    let plan = plan::plan(caller.place(), settings, Some(&found));
    check(caller, &plan)?;
    tell_of_hidden(caller, &found, origin);
    if settings.manage || origin == Origin::Made {
        // A job does not wait for the TTL of a table that has been there.
        let may_wait = origin != Origin::Found;
        let Err(refused) = carry_out(caller, settings, &found, origin, may_wait).await else {
            return Ok(settings.provisioned);
        };
        return left_as_it_is(caller, refused).await;
    }
    // A run like this one has made it, and may have ended before that.
    let expires = embedded || origin == Origin::Anothers;
    if expires {
        expire(caller, &found, origin != Origin::Found).await?;
    }
    for difference in plan.differences.iter().filter(|d| !expires || d.property != TTL_ATTRIBUTE) {
        let Difference { property, found, wanted, .. } = difference;
        tracing::warn!(
            table = caller.table(),
            "{property}: {found}; configured: {wanted}; left as it is, since \
             state.backend.dynamodb.table.manage is false"
        );
    }
    Ok(found.billing.provisioned())
}

/// The capacity that the table has now, in (read, write) units a second, `None` on demand; `None` of that where it
/// was not told, for whatever reason. One `DescribeTable`.
pub(super) async fn capacity(caller: &Caller) -> Option<Option<(u64, u64)>> {
    let found = found::look(caller).await?;
    Some(found.billing.provisioned())
}

/// A job can run though a limit has kept it from changing its table, perhaps until tomorrow: it is told of that, and
/// starts on the table as it is. Gives its capacity.
async fn left_as_it_is(caller: &Caller, refused: Refused) -> Result<Option<(u64, u64)>> {
    let Refused { error: refused, by_limit: true } = refused else { return Err(refused.error) };
    match found::describe(caller, Duration::MAX).await? {
        Some(found) if found.is_usable() => {
            tracing::warn!(
                table = caller.table(),
                "left as it is, since a change was refused: {}; `millpond table plan` says what differs",
                refused.message()
            );
            Ok(found.billing.provisioned())
        }
        _ => Err(refused),
    }
}

/// What is configured and cannot be seen is not changed: whoever relies on it is to know. Tags of a table
/// that was made here were given with it.
fn tell_of_hidden(caller: &Caller, found: &Found, origin: Origin) {
    if let Told::Hidden(why) = &found.ttl {
        tracing::debug!(table = caller.table(), "not known: {TTL_ATTRIBUTE}: {why}");
    }
    let tags = Some(&found.tags).filter(|_| origin != Origin::Made).and_then(Told::hidden);
    let recovery = found.point_in_time_recovery.hidden();
    for (property, why) in [(TAGS, tags), ("point-in-time recovery", recovery)] {
        if let Some(why) = why {
            tracing::warn!(
                table = caller.table(),
                "{property}: configured, and not to be seen, so left as it is: {why}"
            );
        }
    }
}

fn check(caller: &Caller, plan: &Plan) -> Result<()> {
    let obstacles = plan.obstacles();
    if obstacles.is_empty() {
        return Ok(());
    }
    let advice = "set state.backend.dynamodb.table to another name";
    let message = format!("{} was not made by Millpond: its {obstacles}; {advice}", caller.place());
    Err(Error::new(ErrorKind::Store, message))
}

/// Changes what differs and may be changed.
async fn carry_out(
    caller: &Caller,
    settings: &StoreSettings,
    found: &Found,
    origin: Origin,
    may_wait: bool,
) -> Changed {
    let changed = change_all(caller, settings, found, origin).await;
    expire(caller, found, may_wait).await?;
    changed
}

/// All but the TTL: each of them, though another was refused. Of a table that was made here billing, tags and protection are as they were asked for, whether
/// or not the server shows them yet.
async fn change_all(
    caller: &Caller,
    settings: &StoreSettings,
    found: &Found,
    origin: Origin,
) -> Changed {
    let mut changed = Ok(());
    if origin != Origin::Made {
        if plan::billing(settings, Some(found.billing)) != found.billing {
            changed = change::pay(caller, settings).await;
        }
        let protection = settings.deletion_protection;
        if let Some(on) = protection.filter(|on| *on != found.deletion_protection) {
            changed = first_refused(changed, change::protect(caller, on).await);
        }
        if let (Told::Is(tags), Some(arn)) = (&found.tags, &found.arn) {
            let missing = plan::missing_tags(settings, tags);
            if !missing.is_empty() {
                changed = first_refused(changed, change::label(caller, arn, &missing).await);
            }
        }
    }
    if let (Some(on), Told::Is(is)) =
        (settings.point_in_time_recovery, &found.point_in_time_recovery)
        && on != *is
    {
        changed = first_refused(changed, change::back_up(caller, on).await);
    }
    changed
}

/// The first one that was refused, by whatever ends a start where there is one.
fn first_refused(before: Changed, next: Changed) -> Changed {
    match (&before, &next) {
        (Err(Refused { by_limit: true, .. }), Err(Refused { by_limit: false, .. })) => next,
        (Err(_), _) => before,
        (Ok(()), _) => next,
    }
}

/// Without TTL tombstones stay, which costs storage and no correctness: so a server that has none, or
/// a right that is missing, is a warning.
async fn expire(caller: &Caller, found: &Found, may_wait: bool) -> Result<()> {
    let why = match &found.ttl {
        Told::Is(Some(attribute)) if attribute == TTL => return Ok(()),
        Told::Is(Some(other)) => format!("it is on for {other:?}: switch that off first"),
        Told::Hidden(why) => why.clone(),
        Told::Is(None) | Told::NotAsked => match change::expire(caller, may_wait).await? {
            Ok(()) => return Ok(()),
            Err(failure) => {
                let error = failure.to_error("UpdateTimeToLive", caller.place());
                if error.kind() == ErrorKind::Io {
                    return Err(error);
                }
                failure.message
            }
        },
    };
    tracing::warn!(
        table = caller.table(),
        "TTL could not be switched on, so tombstones stay in the table: {why}"
    );
    Ok(())
}

/// The table of a connection, to be looked at and managed: what `millpond table` does.
#[derive(Debug)]
pub struct Table {
    caller: Caller,
    settings: StoreSettings,
}

impl Table {
    pub(super) fn new(caller: Caller, settings: StoreSettings) -> Self {
        Self { caller, settings }
    }

    /// Compares the table with the configuration, and changes nothing. Two to four requests, none of
    /// them charged.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] where the table may not be seen.
    pub async fn plan(&self) -> Result<Plan> {
        self.look(Duration::MAX).await
    }

    /// The same, given up where the server has not answered the first request for `patience`.
    ///
    /// # Errors
    /// As [`Table::plan`]; [`ErrorKind::Store`] where it is silent.
    pub async fn look(&self, patience: Duration) -> Result<Plan> {
        let found = match found::describe(&self.caller, patience).await? {
            Some(found) => {
                Some(found::complete(&self.caller, found, plan::ask(&self.settings)).await?)
            }
            None => None,
        };
        Ok(plan::plan(self.caller.place(), &self.settings, found.as_ref()))
    }

    /// Makes the table, or changes what differs and can be changed, and waits until that is done; gives
    /// what then still differs.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the table is there, differs and is not to be managed;
    /// [`ErrorKind::Store`] where it has other keys, or a change is refused.
    pub async fn apply(&self) -> Result<Plan> {
        let before = self.plan().await?;
        if before.exists {
            check(&self.caller, &before)?;
            if !before.has_changes() {
                return Ok(before);
            }
            self.must_be_managed("changed")?;
        }
        let (found, origin) = usable(&self.caller, &self.settings).await?;
        if self.settings.manage || origin == Origin::Made {
            carry_out(&self.caller, &self.settings, &found, origin, true).await?;
        } else {
            expire(&self.caller, &found, true).await?;
        }
        self.plan_once_tags_show(self.settings.manage || origin == Origin::Made).await
    }

    /// A tag that was taken is listed a moment later; those of a table that is not `ours` were not given.
    async fn plan_once_tags_show(&self, ours: bool) -> Result<Plan> {
        let clock = self.caller.clock();
        let deadline = clock.now() + TAGS_SHOW;
        loop {
            let plan = self.plan().await?;
            let tags_differ = plan.differences.iter().any(|d| d.property == TAGS);
            if !(tags_differ && ours) || clock.now() >= deadline {
                return Ok(plan);
            }
            clock.sleep(POLL).await;
        }
    }

    /// Deletes the table and all that is in it, of every job, and waits until it is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where it is not to be managed; [`ErrorKind::Store`] where it has other keys,
    /// or is protected from deletion.
    pub async fn destroy(&self) -> Result<()> {
        let plan = self.plan().await?;
        if !plan.exists {
            return Ok(());
        }
        check(&self.caller, &plan)?;
        self.must_be_managed("deleted")?;
        let found = found::describe(&self.caller, Duration::MAX).await?;
        if found.is_some_and(|found| found.deletion_protection) {
            let message = format!(
                "{} is protected from deletion: set \
                 state.backend.dynamodb.table.deletion-protection to false and run `millpond table \
                 apply` first",
                self.caller.place()
            );
            return Err(Error::new(ErrorKind::Store, message));
        }
        change::delete(&self.caller).await
    }

    fn must_be_managed(&self, what: &str) -> Result<()> {
        if self.settings.manage {
            return Ok(());
        }
        let message = format!(
            "{} is there already and is not {what}, since state.backend.dynamodb.table.manage is \
             false; for example: -D state.backend.dynamodb.table.manage=true",
            self.caller.place()
        );
        Err(Error::new(ErrorKind::Config, message))
    }
}
