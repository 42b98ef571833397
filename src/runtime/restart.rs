//! Whether and when a failed attempt is followed by another: pure policy. Flink:
//! `RestartBackoffTimeStrategy`.
//!
//! An error is final, whatever the strategy, where another attempt of the same process goes on from the
//! same checkpoint and surely meets it again, whatever anybody does meanwhile: only another program, call,
//! input or output helps, and with it another run. What somebody can mend while the job waits is not (a
//! disk that is full, a missing right), nor what may not happen again (a user's function, a checkpoint's
//! time-out). [`final_reason`] says it of each kind. Flink: `ThrowableType.NonRecoverableError`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::RestartStrategy;
use crate::error::ErrorKind;

/// What follows a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this.
    Restart(Duration),
    /// The job has failed; why no further attempt is made.
    GiveUp(String),
}

/// A strategy and what has happened so far.
#[derive(Debug)]
pub struct RestartPolicy {
    strategy: RestartStrategy,
    failures: u32,
    /// Times of recent failures, for the rate.
    recent: VecDeque<Duration>,
    backoff: Duration,
}

impl RestartPolicy {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, failures: 0, recent: VecDeque::new(), backoff: Duration::ZERO }
    }

    /// Decides after an attempt that ran for `ran` failed at `now` (since the run's start). `jitter`
    /// is a random number from 0 to 1.
    pub fn on_failure(
        &mut self,
        kind: ErrorKind,
        now: Duration,
        ran: Duration,
        jitter: f64,
    ) -> Decision {
        if let Some(reason) = final_reason(kind) {
            return Decision::GiveUp(reason.to_owned());
        }
        self.failures += 1;
        match self.strategy.clone() {
            RestartStrategy::None => Decision::GiveUp("restart-strategy.type is none".to_owned()),
            RestartStrategy::FixedDelay { attempts, delay } => {
                if self.failures > attempts {
                    return Decision::GiveUp(format!(
                        "restart-strategy.fixed-delay.attempts: {attempts} are used up"
                    ));
                }
                Decision::Restart(delay)
            }
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                reset_backoff_threshold,
                jitter_factor,
                attempts_before_reset,
            } => {
                if ran >= reset_backoff_threshold {
                    self.failures = 1;
                    self.backoff = Duration::ZERO;
                }
                if attempts_before_reset.is_some_and(|limit| self.failures > limit) {
                    return Decision::GiveUp(format!(
                        "restart-strategy.exponential-delay.attempts-before-reset-backoff: {} are \
                         used up",
                        self.failures - 1
                    ));
                }
                self.backoff = if self.backoff.is_zero() {
                    initial_backoff
                } else {
                    self.backoff.mul_f64(backoff_multiplier.max(1.0)).min(max_backoff)
                };
                let swing = 1.0 + jitter_factor * (2.0 * jitter - 1.0);
                Decision::Restart(self.backoff.mul_f64(swing.max(0.0)).min(max_backoff))
            }
            RestartStrategy::FailureRate {
                max_failures_per_interval,
                failure_rate_interval,
                delay,
            } => {
                self.recent.push_back(now);
                while self.recent.front().is_some_and(|t| now - *t > failure_rate_interval) {
                    self.recent.pop_front();
                }
                if self.recent.len() > max_failures_per_interval as usize {
                    return Decision::GiveUp(format!(
                        "restart-strategy.failure-rate: more than {max_failures_per_interval} \
                         failures in {failure_rate_interval:?}"
                    ));
                }
                Decision::Restart(delay)
            }
        }
    }
}

/// Why no attempt follows an error of this kind; `None`: the strategy decides.
fn final_reason(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Fenced => Some("another attempt owns the job"),
        ErrorKind::Usage | ErrorKind::Config | ErrorKind::Graph => Some("it would fail again"),
        ErrorKind::Input => Some("the same input would fail again"),
        ErrorKind::Output => Some("the same record could not be written again"),
        ErrorKind::Lost => Some("what is lost does not come back by itself"),
        ErrorKind::Closed => Some("nobody reads the output any more"),
        ErrorKind::TooLarge => Some("the same input would make it as large again"),
        ErrorKind::Stuck => Some("no attempt is begun beside one that has not ended"),
        ErrorKind::Corrupt => Some("the same stored bytes would fail again"),
        ErrorKind::Io
        | ErrorKind::Store
        | ErrorKind::User
        | ErrorKind::Checkpoint
        | ErrorKind::Suspended
        | ErrorKind::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(policy: &mut RestartPolicy, now: u32, ran: u32) -> Decision {
        policy.on_failure(ErrorKind::User, SECOND * now, SECOND * ran, 0.5)
    }

    #[test]
    fn what_would_fail_again_is_final_whatever_the_strategy() {
        let strategy = RestartStrategy::FixedDelay { attempts: 99, delay: SECOND };
        let mut policy = RestartPolicy::new(strategy);
        let mut is_final =
            |kind| matches!(policy.on_failure(kind, SECOND, SECOND, 0.5), Decision::GiveUp(_));
        for kind in [
            ErrorKind::Usage,
            ErrorKind::Config,
            ErrorKind::Graph,
            ErrorKind::Input,
            ErrorKind::Lost,
            ErrorKind::Output,
            ErrorKind::Closed,
            ErrorKind::Fenced,
            ErrorKind::Corrupt,
            ErrorKind::Stuck,
            ErrorKind::TooLarge,
        ] {
            assert!(is_final(kind), "{kind:?}");
        }
        for kind in [
            ErrorKind::Io,
            ErrorKind::Store,
            ErrorKind::User,
            ErrorKind::Checkpoint,
            ErrorKind::Suspended,
            ErrorKind::Internal,
        ] {
            assert!(!is_final(kind), "{kind:?}");
        }
    }

    #[test]
    fn none_gives_up_at_once() {
        let mut policy = RestartPolicy::new(RestartStrategy::None);
        assert!(matches!(fail(&mut policy, 1, 1), Decision::GiveUp(_)));
    }

    #[test]
    fn fixed_delay_gives_up_after_its_attempts() {
        let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: SECOND };
        let mut policy = RestartPolicy::new(strategy);
        assert_eq!(fail(&mut policy, 1, 1), Decision::Restart(SECOND));
        assert_eq!(fail(&mut policy, 2, 1), Decision::Restart(SECOND));
        assert!(matches!(fail(&mut policy, 3, 1), Decision::GiveUp(_)));
    }

    #[test]
    fn exponential_delay_grows_to_its_bound_and_resets_after_a_long_run() {
        let strategy = RestartStrategy::ExponentialDelay {
            initial_backoff: SECOND,
            max_backoff: SECOND * 3,
            backoff_multiplier: 2.0,
            reset_backoff_threshold: SECOND * 100,
            jitter_factor: 0.1,
            attempts_before_reset: None,
        };
        let mut policy = RestartPolicy::new(strategy);
        assert_eq!(fail(&mut policy, 1, 1), Decision::Restart(SECOND));
        assert_eq!(fail(&mut policy, 2, 1), Decision::Restart(SECOND * 2));
        assert_eq!(fail(&mut policy, 3, 1), Decision::Restart(SECOND * 3));
        assert_eq!(fail(&mut policy, 500, 100), Decision::Restart(SECOND));
        let jittered = policy.on_failure(ErrorKind::User, SECOND * 501, SECOND, 1.0);
        assert_eq!(jittered, Decision::Restart(Duration::from_millis(2200)));
    }

    #[test]
    fn failure_rate_counts_only_its_interval() {
        let strategy = RestartStrategy::FailureRate {
            max_failures_per_interval: 2,
            failure_rate_interval: SECOND * 10,
            delay: SECOND,
        };
        let mut policy = RestartPolicy::new(strategy);
        assert_eq!(fail(&mut policy, 1, 1), Decision::Restart(SECOND));
        assert_eq!(fail(&mut policy, 5, 1), Decision::Restart(SECOND));
        assert_eq!(fail(&mut policy, 14, 1), Decision::Restart(SECOND), "the first is forgotten");
        assert!(matches!(fail(&mut policy, 15, 1), Decision::GiveUp(_)));
    }
}
