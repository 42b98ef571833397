//! The handle by which a test has its hostile DynamoDB, and what all calls share.
//!
//! Owns the weather, the counts, the trace, and the requests that are still to land: they land, in the
//! order of their times, before the first call that gets to the server after them, so nobody who
//! looks through this handle's connectors can tell it from the exact moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_sdk_dynamodb::config::http::HttpRequest;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;

use super::connector::Client;
use super::counts::Counts;
use super::ledger::{Consumed, Ledger};
use super::plan::{Fault, Plan};
use super::server;
use super::trace::{Hook, Line};
use crate::clock::{Clock, Instant};

/// Timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// A DynamoDB that does what a real one does on a bad day. Clones share all.
///
/// ```
/// use millpond::clock::Clock;
/// use millpond::hostile::{Fault, Hostile, Plan};
///
/// let hostile = Hostile::new(7, Clock::system(), Plan::rough(0.02));
/// let wrap = |client| hostile.wrap(client); // for `dynamodb::Options::wrap`
/// // … a job runs …
/// hostile.set(Plan::outage());
/// assert_eq!(hostile.counts().of(Fault::Unreachable), 0);
/// # let _: &dyn Fn(_) -> aws_sdk_dynamodb::config::SharedHttpClient = &wrap;
/// ```
#[derive(Clone)]
pub struct Hostile(Arc<Shared>);

/// What the calls of one hostile DynamoDB share.
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) clock: Clock,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    plan: Arc<Plan>,
    counts: Counts,
    ledger: Ledger,
    hook: Option<Arc<Hook>>,
    late: BTreeMap<(Instant, u64), Parcel>,
    parcels: u64,
    /// Of waits too short for a timer; they are waited for together.
    owed: Duration,
}

/// A request that lands when nobody waits for it any more.
pub(super) struct Parcel {
    pub(super) call: u64,
    pub(super) operation: String,
    pub(super) target: String,
    pub(super) request: HttpRequest,
    pub(super) inner: SharedHttpConnector,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile").field("seed", &self.0.seed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Hostile {
    /// With the weather of `plan`; all that is random comes from `seed`, all time from `clock`.
    #[must_use]
    pub fn new(seed: u64, clock: Clock, plan: Plan) -> Self {
        let began = clock.now();
        let state = State {
            ledger: Ledger::new(&plan, began),
            plan: Arc::new(plan),
            counts: Counts::default(),
            hook: None,
            late: BTreeMap::new(),
            parcels: 0,
            owed: Duration::ZERO,
        };
        Self(Arc::new(Shared { seed, clock, began, state: Mutex::new(state) }))
    }

    /// Puts it before `client`: what `dynamodb::Options::wrap` is for.
    #[must_use]
    pub fn wrap(&self, client: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Client { shared: Arc::clone(&self.0), inner: client })
    }

    /// Changes the weather, for calls that begin from now on.
    pub fn set(&self, plan: Plan) {
        let mut state = self.0.state();
        state.ledger.set(&plan, self.0.clock.now());
        state.plan = Arc::new(plan);
    }

    /// From now on nothing goes wrong, but for what is under way.
    pub fn calm(&self) {
        self.set(Plan::calm());
    }

    /// The weather.
    #[must_use]
    pub fn plan(&self) -> Plan {
        (*self.0.state().plan).clone()
    }

    /// Calls and faults since the beginning.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.state().counts
    }

    /// The units of all that was read and written while the plan had limits, as AWS counts them: failed
    /// conditions are charged, too.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.0.state().ledger.consumed()
    }

    /// Gives each operation's line to `hook`, as it ends. Replaces the hook that was there.
    pub fn trace(&self, hook: impl Fn(&Line) + Send + Sync + 'static) {
        self.0.state().hook = Some(Arc::new(hook));
    }

    /// Requests that have yet to land.
    #[must_use]
    pub fn late(&self) -> usize {
        self.0.state().late.len()
    }

    /// Lands what is due. Only for those who look into the database past this handle's connectors:
    /// each call does it first.
    pub async fn land_due(&self) {
        self.0.land(Some(self.0.clock.now())).await;
    }

    /// Lands all that is late, now.
    pub async fn land_all(&self) {
        self.0.land(None).await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new call: its number and the weather that it begins in.
    pub(super) fn begin(&self) -> (u64, Arc<Plan>) {
        let mut state = self.state();
        state.counts.calls += 1;
        (state.counts.calls, Arc::clone(&state.plan))
    }

    pub(super) fn count(&self, fault: Fault) {
        self.state().counts.add(fault);
    }

    pub(super) fn count_over_limit(&self) {
        self.state().counts.over_limit += 1;
    }

    /// Looks at the ledger, or writes in it.
    pub(super) fn ledger<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        f(&mut self.state().ledger)
    }

    /// Whether anybody wants lines.
    pub(super) fn traced(&self) -> bool {
        self.state().hook.is_some()
    }

    pub(super) fn tell(&self, call: u64, operation: &str, target: &str, outcome: String) {
        let Some(hook) = self.state().hook.clone() else { return };
        hook(&Line {
            at: self.clock.now() - self.began,
            call,
            operation: operation.to_owned(),
            target: target.to_owned(),
            outcome,
        });
    }

    /// Waits, on the clock; yields at least.
    pub(super) async fn wait(&self, time: Duration) {
        let due = {
            let mut state = self.state();
            state.owed += time;
            let rest = Duration::from_nanos(u64::from(state.owed.subsec_nanos()) % 1_000_000);
            let due = state.owed - rest;
            state.owed = rest;
            due
        };
        if due < TICK {
            tokio::task::yield_now().await;
        } else {
            self.clock.sleep(due).await;
        }
    }

    /// Has `parcel` land at `due`.
    pub(super) fn post(&self, due: Instant, parcel: Parcel) {
        let mut state = self.state();
        state.parcels += 1;
        let number = state.parcels;
        state.late.insert((due, number), parcel);
    }

    /// Lands what is due at `now`, or all.
    pub(super) async fn land(&self, now: Option<Instant>) {
        while let Some(parcel) = self.next_due(now) {
            let answer =
                server::apply(self, &parcel.inner, &parcel.operation, parcel.request).await;
            let status = answer.map_or(0, |answer| answer.status().as_u16());
            let outcome = format!("landed late, {status}");
            self.tell(parcel.call, &parcel.operation, &parcel.target, outcome);
        }
    }

    fn next_due(&self, now: Option<Instant>) -> Option<Parcel> {
        let mut state = self.state();
        let first = state.late.first_entry()?;
        if now.is_some_and(|now| first.key().0 > now) {
            return None;
        }
        let parcel = first.remove();
        state.counts.landed_late += 1;
        Some(parcel)
    }
}
