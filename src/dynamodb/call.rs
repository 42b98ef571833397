//! One call to DynamoDB: sent, metered, and sent again with back-off until it is answered.
//!
//! Owns the loop and the health of the connection. What a failure means is `retry`'s; requests that
//! use the table's capacity come by way of `send`.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::meter::{Meter, Purpose};
use super::pace::{Lane, Pace, Rank};
use super::portion::Sizes;
use super::retry::{Backoff, Failure, Trouble, Verdict, causes};
use super::signatures::{REFUSALS_OF_CALL, Signatures};
use super::throttles::{Throttles, Throttling};
use crate::clock::{Clock, Instant};
use crate::error::{Error, ErrorKind};
use crate::state::Health;

/// What all calls of a connection share.
#[derive(Clone)]
pub(super) struct Caller(Arc<Shared>);

struct Shared {
    client: Client,
    table: String,
    place: String,
    meter: Meter,
    pace: Pace,
    throttles: Throttles,
    clock: Clock,
    backoff: Backoff,
    rng: Mutex<SmallRng>,
    signatures: Signatures,
    struggle: Mutex<Struggle>,
    sizes: Mutex<Sizes>,
    /// Until a server says that it has none, or that it is not allowed.
    partiql: AtomicBool,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.0.place)
    }
}

/// Calls that are being retried.
#[derive(Debug, Default)]
struct Struggle {
    /// All of them; these are logged.
    all: Retried,
    /// Those that somebody waits for, which are what the health shows.
    awaited: Retried,
    /// When they were logged last.
    told: Option<Instant>,
}

/// How many calls are being retried, and since when there were any. That others succeed meanwhile
/// says nothing: one partition may be throttled alone.
#[derive(Debug, Default)]
struct Retried {
    calls: usize,
    since: Option<Instant>,
}

impl Retried {
    /// One call less is being retried.
    fn ended(&mut self) {
        self.calls -= 1;
        if self.calls == 0 {
            self.since = None;
        }
    }
}

/// After so long without success what is waited for is logged, and then now and again.
const TELL_AFTER: Duration = Duration::from_secs(3);
const TELL_EVERY: Duration = Duration::from_secs(30);

impl Struggle {
    /// A call of `rank` is to be retried, until it has ended.
    fn begun(&mut self, rank: Rank) {
        self.all.calls += 1;
        self.awaited.calls += usize::from(rank.is_awaited());
    }

    /// A try that began at `tried` has failed; for how long calls have struggled, where that is to be told.
    fn failed(&mut self, rank: Rank, tried: Instant, now: Instant) -> Option<Duration> {
        if rank.is_awaited() {
            self.awaited.since.get_or_insert(tried);
        }
        let passed = now - *self.all.since.get_or_insert(tried);
        let due = self.told.is_none_or(|told| now - told >= TELL_EVERY);
        (passed >= TELL_AFTER && due).then(|| {
            self.told = Some(now);
            passed
        })
    }

    /// A call of `rank` that has begun to be retried is not any more.
    fn ended(&mut self, rank: Rank) {
        if rank.is_awaited() {
            self.awaited.ended();
        }
        self.all.ended();
        if self.all.calls == 0 {
            self.told = None;
        }
    }
}

/// A call that ended without what it was sent for.
#[derive(Debug)]
pub(super) struct Refusal<E> {
    /// The facts.
    pub(super) failure: Failure,
    /// What they mean; [`Verdict::Retry`] from [`Caller::call_within`] where its patience has ended, and
    /// never from [`Caller::call`].
    pub(super) verdict: Verdict,
    /// The server's own error, where it sent one.
    pub(super) service: Option<Box<E>>,
}

impl Caller {
    pub(super) fn new(
        client: Client,
        table: String,
        place: String,
        meter: Meter,
        clock: Clock,
        seed: u64,
    ) -> Self {
        Self(Arc::new(Shared {
            client,
            table,
            place,
            meter,
            pace: Pace::new(None, clock),
            throttles: Throttles::default(),
            clock,
            backoff: Backoff::default(),
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            signatures: Signatures::default(),
            struggle: Mutex::default(),
            sizes: Mutex::default(),
            partiql: AtomicBool::new(true),
        }))
    }

    /// When requests may leave.
    pub(super) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// What was throttled.
    pub(super) fn throttles(&self) -> &Throttles {
        &self.0.throttles
    }

    /// What was throttled, and how fast requests leave because of it.
    pub(super) fn throttling(&self) -> Throttling {
        Throttling {
            write_limit: self.0.pace.rate(Lane::Write),
            read_limit: self.0.pace.rate(Lane::Read),
            waiting: self.0.pace.waiting() as u64,
            ..self.0.throttles.snapshot()
        }
    }

    /// How large entries are.
    pub(super) fn sizes(&self) -> MutexGuard<'_, Sizes> {
        lock(&self.0.sizes)
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn table(&self) -> &str {
        &self.0.table
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    pub(super) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Names the store: `embedded DynamoDB on FILE`, `table T in eu-west-1`.
    pub(super) fn place(&self) -> &str {
        &self.0.place
    }

    /// Whether statements may be tried.
    pub(super) fn has_partiql(&self) -> bool {
        self.0.partiql.load(Ordering::Relaxed)
    }

    /// Remembers that there is no PartiQL here; whether that is news.
    pub(super) fn without_partiql(&self) -> bool {
        self.0.partiql.swap(false, Ordering::Relaxed)
    }

    /// The public error of `refusal`.
    pub(super) fn error<E>(&self, what: &str, refusal: &Refusal<E>) -> Error {
        refusal.failure.to_error(what, &self.0.place)
    }

    /// Sends once and counts; a failure comes with its verdict.
    pub(super) async fn once<T, E>(
        &self,
        purpose: Purpose,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Refusal<E>>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        self.0.meter.sent(purpose);
        // The SDK's futures take 10 KiB and more.
        match Box::pin(sent).await {
            Ok(answer) => {
                self.0.signatures.accepted();
                Ok(answer)
            }
            Err(error) => {
                let failure = Failure::of(&error);
                if failure.code.is_none() {
                    tracing::debug!("{}: {}", self.0.place, causes(&error));
                }
                let verdict = self.0.signatures.judge(&failure, self.0.clock);
                if let Verdict::Retry { trouble: Trouble::Throttled, .. } = verdict {
                    self.0.meter.throttled(purpose);
                }
                let service = error.into_service_error_if_any();
                Err(Refusal { failure, verdict, service })
            }
        }
    }

    /// Sends, and sends again as long as the verdict is to retry.
    ///
    /// # Cancel safety
    /// Dropping the future ends the retries; a request that was sent may still take effect.
    pub(super) async fn call<T, E, F>(
        &self,
        purpose: Purpose,
        send: impl FnMut() -> F,
    ) -> Result<T, Refusal<E>>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        self.call_within(Duration::MAX, purpose, send).await
    }

    /// As [`Caller::call`]; but where nothing usable has been answered for `patience`, the last failure is
    /// given, with its verdict to retry. Throttling is an answer: it is waited for.
    pub(super) async fn call_within<T, E, F>(
        &self,
        patience: Duration,
        purpose: Purpose,
        mut send: impl FnMut() -> F,
    ) -> Result<T, Refusal<E>>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        // It stands in no queue, as a head does.
        let mut retries = self.retries(Rank::Head);
        let began = retries.tried;
        let mut answered = false;
        loop {
            let mut refusal = match self.once(purpose, send()).await {
                Err(refusal) => refusal,
                answer => return answer,
            };
            refusal.verdict = retries.judge(refusal.verdict);
            let Verdict::Retry { trouble, .. } = refusal.verdict else { return Err(refusal) };
            answered |= trouble == Trouble::Throttled;
            if !answered && self.clock().now() - began >= patience {
                return Err(refusal);
            }
            retries.wait(&refusal.failure).await;
        }
    }

    /// The retries of one call of `rank`; for calls of which parts are retried.
    pub(super) fn retries(&self, rank: Rank) -> Retries<'_> {
        Retries { caller: self, rank, failures: 0, signatures: 0, tried: self.0.clock.now() }
    }

    /// For how long calls that somebody waits for have struggled, or have waited for the capacity that the table has.
    pub(super) fn health(&self) -> Health {
        let retried = lock(&self.0.struggle).awaited.since;
        let since = retried.into_iter().chain(self.pace().awaited_since()).min();
        let struggling_for = since.map_or(Duration::ZERO, |since| self.0.clock.now() - since);
        Health { struggling_for }
    }
}

/// Counts one call's failures in a row, waits between its tries, and shows in the health that it
/// struggles until it is dropped, where somebody waits for it.
#[derive(Debug)]
pub(super) struct Retries<'a> {
    caller: &'a Caller,
    rank: Rank,
    failures: u32,
    /// How often its signature was refused.
    signatures: u32,
    /// When the last try began.
    tried: Instant,
}

impl Retries<'_> {
    /// `verdict` about the last try; but a signature that was refused too often is final.
    pub(super) fn judge(&mut self, verdict: Verdict) -> Verdict {
        if matches!(verdict, Verdict::Retry { trouble: Trouble::Signature, .. }) {
            self.signatures += 1;
            if self.signatures >= REFUSALS_OF_CALL {
                return Verdict::Final(ErrorKind::Store);
            }
        }
        verdict
    }

    /// Waits before the next try.
    pub(super) async fn wait(&mut self, failure: &Failure) {
        let shared = &self.caller.0;
        let to_tell = {
            let mut struggle = lock(&shared.struggle);
            if self.failures == 0 {
                struggle.begun(self.rank);
            }
            struggle.failed(self.rank, self.tried, shared.clock.now())
        };
        if let Some(passed) = to_tell {
            tracing::warn!(
                "{}: a call has been retried for {:.0} s, trying on: {}",
                shared.place,
                passed.as_secs_f64(),
                failure.message
            );
        }
        self.failures += 1;
        let delay = shared.backoff.after(self.failures, &mut *lock(&shared.rng));
        tracing::debug!(
            place = shared.place,
            failures = self.failures,
            delay_ms = delay.as_millis() as u64,
            "DynamoDB call is retried: {}",
            failure.message
        );
        shared.clock.sleep(delay).await;
        self.tried = shared.clock.now();
    }
}

impl Drop for Retries<'_> {
    fn drop(&mut self) {
        if self.failures > 0 {
            lock(&self.caller.0.struggle).ended(self.rank);
        }
    }
}

/// A counter behind a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

trait ServiceError<E> {
    fn into_service_error_if_any(self) -> Option<Box<E>>;
}

impl<E> ServiceError<E> for SdkError<E, HttpResponse> {
    fn into_service_error_if_any(self) -> Option<Box<E>> {
        match self {
            SdkError::ServiceError(e) => Some(Box::new(e.into_err())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_after_3_seconds_and_then_every_30() {
        let start = Clock::starting_at(0).now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rank = Rank::Materialise;
        let mut struggle = Struggle::default();
        struggle.begun(rank);
        assert_eq!(struggle.failed(rank, at(0), at(2)), None);
        // A connection that is not refused but never made takes its time to fail.
        assert_eq!(struggle.failed(rank, at(2), at(5)), Some(Duration::from_secs(5)));
        assert_eq!(struggle.failed(rank, at(5), at(34)), None);
        assert_eq!(struggle.failed(rank, at(34), at(35)), Some(Duration::from_secs(35)));
        struggle.ended(rank);
        struggle.begun(rank);
        assert_eq!(struggle.failed(rank, at(36), at(38)), None, "a new trouble begins anew");
        assert_eq!(struggle.failed(rank, at(38), at(39)), Some(Duration::from_secs(3)));
    }

    #[test]
    fn awaited_calls_struggle_from_their_own_first_try_until_the_last_has_ended() {
        let start = Clock::starting_at(0).now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut struggle = Struggle::default();
        struggle.begun(Rank::Background);
        struggle.failed(Rank::Background, at(0), at(1));
        assert_eq!(struggle.awaited.since, None);
        struggle.begun(Rank::Checkpoint);
        struggle.failed(Rank::Checkpoint, at(2), at(3));
        assert_eq!(struggle.awaited.since, Some(at(2)));
        struggle.ended(Rank::Background);
        assert_eq!(struggle.awaited.since, Some(at(2)));
        struggle.ended(Rank::Checkpoint);
        assert_eq!((struggle.awaited.since, struggle.all.since), (None, None));
    }
}
