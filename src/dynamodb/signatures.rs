//! Signatures that were refused: tried again while the clock may be to blame.
//!
//! The SDK learns from the date of each answer how far the clock is off, and signs the next request by that; its
//! own retries, which would make use of it, are switched off. Owns how long a refusal is taken for a matter of the clock:
//! wrong keys look the same, and end a start a second later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::retry::{Failure, Reach, Trouble, Verdict, judge};
use crate::clock::{Clock, Instant};
use crate::error::ErrorKind;

/// A refusal is final after so many in a row, of all calls of a connection, and so much time since the first one.
/// Many calls may be under way when a clock is set: each of them is refused once, at about the same time. And one that
/// had to wait for its turn may come late, and be the second of its row.
const REFUSALS: u32 = 5;
const TIME: Duration = Duration::from_secs(1);
/// And after so many of one call, whatever becomes of others: something on its way may change it each time.
pub(super) const REFUSALS_OF_CALL: u32 = 10;

/// Signatures that were refused since one was last accepted.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    row: Mutex<Option<Row>>,
    /// Whether there is a row: read for each answer, and nearly always false.
    any: AtomicBool,
}

#[derive(Debug)]
struct Row {
    since: Instant,
    refusals: u32,
}

impl Signatures {
    /// An answer is there.
    pub(super) fn accepted(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.set(None);
        }
    }

    /// Decides about `failure` as [`judge`] does; but a signature that goes on being refused is final.
    pub(super) fn judge(&self, failure: &Failure, clock: Clock) -> Verdict {
        let verdict = judge(failure);
        match verdict {
            Verdict::Retry { trouble: Trouble::Signature, .. } if self.persists(clock.now()) => {
                Verdict::Final(ErrorKind::Store)
            }
            Verdict::Retry { trouble: Trouble::Signature, .. } => verdict,
            _ => {
                // A proxy has no code, and a server that fails may not have looked at the signature.
                let looked = matches!(failure.reach, Reach::Answered(status) if status < 500);
                if looked && failure.code.is_some() {
                    self.accepted();
                }
                verdict
            }
        }
    }

    /// Counts a refusal; whether it ends its row, after which the next one begins anew.
    fn persists(&self, now: Instant) -> bool {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        let Row { since, refusals } = row.take().unwrap_or(Row { since: now, refusals: 0 });
        let refusals = refusals + 1;
        let persists = refusals >= REFUSALS && now - since >= TIME;
        *row = (!persists).then_some(Row { since, refusals });
        self.any.store(!persists, Ordering::Relaxed);
        persists
    }

    fn set(&self, row: Option<Row>) {
        let mut guarded = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(row.is_some(), Ordering::Relaxed);
        *guarded = row;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Failure {
        Failure {
            reach: Reach::Answered(400),
            code: Some("InvalidSignatureException".to_owned()),
            message: String::new(),
            reason: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_signature_is_final_once_it_persists() {
        let clock = Clock::system();
        let signatures = Signatures::default();
        let is_final = || matches!(signatures.judge(&refused(), clock), Verdict::Final(_));
        assert!((0..100).all(|_| !is_final()), "a clock is set while many calls are under way");
        clock.sleep(TIME).await;
        assert!(is_final());
        assert!(!is_final(), "the next attempt has its own tries");
        clock.sleep(TIME * 9).await;
        assert!((0..3).all(|_| !is_final()), "each of them late");
        assert!(is_final());
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_signature_ends_the_row() {
        let clock = Clock::system();
        let signatures = Signatures::default();
        let is_final = || matches!(signatures.judge(&refused(), clock), Verdict::Final(_));
        for answer in ["ConditionalCheckFailedException", "ThrottlingException"] {
            assert!((0..4).all(|_| !is_final()));
            clock.sleep(TIME).await;
            let answer = Failure { code: Some(answer.to_owned()), ..refused() };
            signatures.judge(&answer, clock);
            assert!(!is_final(), "{answer:?}");
            signatures.accepted();
        }
        assert!((0..4).all(|_| !is_final()));
        clock.sleep(TIME).await;
        for (reach, code) in [
            (Reach::Unanswered, None),
            (Reach::Answered(502), None),
            (Reach::Answered(403), None),
            (Reach::Answered(500), Some("InternalServerError".to_owned())),
        ] {
            signatures.judge(&Failure { reach, code, ..refused() }, clock);
        }
        assert!(is_final(), "none of them says anything of signatures");
    }
}
