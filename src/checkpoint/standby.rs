//! What a process that wants a job sees of those that have it: when their lease has run out, and whether one of them has
//! finished the job.
//!
//! Owns the wait. Does not own what follows from it (`claim`, `rules`).

use std::time::Duration;

use super::claimed::{Over, Waiting};
use super::head::{Head, HeadStatus, HeadStore};
use crate::clock::Clock;
use crate::error::Result;
use crate::ids::{Attempt, CheckpointId, Name};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Standby {
    /// What stood still for a lease.
    expired: Option<Life>,
    /// The attempt of the first head, none where there was no head, and whether it had the job then.
    first: Option<(Attempt, bool)>,
    /// A lease was waited for.
    has_waited: bool,
}

/// What a living owner changes.
type Life = (Attempt, String, u64, CheckpointId);

fn life_of(head: &Head) -> Life {
    (head.attempt, head.owner.clone(), head.beat, head.checkpoint)
}

impl Standby {
    /// Whether a lease was waited for.
    pub(super) fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Whether `head`, as it is, has stood still for a lease.
    pub(super) fn is_expired(&self, head: &Head) -> bool {
        Some(life_of(head)) == self.expired
    }

    /// Takes up `head`, which does not show an attempt of this process. Gives its attempt where that has finished the
    /// job since this process came: before the lease ran out, in the moment after that, or when this process's
    /// claim came too late.
    pub(super) fn over(&mut self, head: Option<&Head>) -> Option<Over> {
        let shown = head
            .map_or((Attempt(0), false), |head| (head.attempt, head.status == HeadStatus::Running));
        let (first, had_it) = *self.first.get_or_insert(shown);
        let since = |head: &&Head| head.attempt > first || (head.attempt == first && had_it);
        head.filter(since).and_then(Over::of)
    }

    /// Waits until `head` has stood still for its lease, or says that nobody runs the job; tells `progress`.
    ///
    /// # Cancel safety
    /// May be dropped and called again: a lease is waited for from the beginning then.
    pub(super) async fn wait(
        &mut self,
        head: Head,
        (heads, job): (&dyn HeadStore, &Name),
        clock: Clock,
        progress: &(dyn Fn(Waiting) + Send + Sync),
    ) -> Result<()> {
        self.has_waited = true;
        let (mut seen, mut since) = (head, clock.now());
        loop {
            let still_for = clock.now().duration_since(since);
            let lease = seen.lease;
            let owner = seen.owner.clone();
            progress(Waiting { attempt: seen.attempt, owner, still_for, lease });
            if still_for >= lease {
                self.expired = Some(life_of(&seen));
                return Ok(());
            }
            let pause = (lease / 5).max(Duration::from_millis(10)).min(lease - still_for);
            clock.sleep(pause).await;
            match heads.read(job).await? {
                Some(head) if head.status == HeadStatus::Running => {
                    if life_of(&head) != life_of(&seen) {
                        since = clock.now();
                    }
                    seen = head;
                }
                _ => return Ok(()),
            }
        }
    }
}
