//! The head, as its owner writes it: the move that is the commit point, and the beat of the lease.
//!
//! Owns the resolving of lost answers by reading the head. Does not own when to move (`coordinator`)
//! nor how a head is claimed (`claim`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::claim::vanished;
use super::head::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore, Identity, Retained};
use super::messages::Kind;
use super::rules::{self, Mine, Resolution};
use crate::clock::{Clock, Instant};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};
use crate::points;
use crate::teeth::{Tooth, bites};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Writes and confirms one attempt's head; shared by the heartbeat and the driver's calls.
#[derive(Debug)]
pub(super) struct HeadKeeper {
    job: Name,
    mine: Mine,
    heads: Arc<dyn HeadStore>,
    clock: Clock,
    lease: Duration,
    /// What the head is to show with the next checkpoint, where it shows another.
    identity: Option<Box<Identity>>,
    origin: Instant,
    /// Milliseconds from `origin` to the sending of the last request whose answer showed my head.
    confirmed_ms: AtomicU64,
    beat: AtomicU64,
}

impl HeadKeeper {
    /// For a head that was claimed just now.
    pub(super) fn new(
        job: Name,
        mine: Mine,
        heads: Arc<dyn HeadStore>,
        clock: Clock,
        lease: Duration,
    ) -> Self {
        let (confirmed_ms, beat) = (AtomicU64::new(0), AtomicU64::new(0));
        let (origin, identity) = (clock.now(), None);
        Self { job, mine, heads, clock, lease, identity, origin, confirmed_ms, beat }
    }

    /// Has the head show what this attempt goes by as soon as a checkpoint is taken with it, and no sooner: until
    /// then the program of before can go on.
    pub(super) fn going_by(self, identity: Identity) -> Self {
        Self { identity: Some(Box::new(identity)), ..self }
    }

    /// Moves the head, whatever answers are lost: the same write goes out until the head shows it, or
    /// shows another attempt.
    pub(super) async fn advance(
        &self,
        previous: CheckpointId,
        checkpoint: CheckpointId,
        kind: Kind,
        retained: Vec<Retained>,
    ) -> Result<()> {
        self.confirm_if_stale().await?;
        points::hit(points::BEFORE_HEAD_MOVED);
        let mut condition = HeadCondition::At(self.mine.attempt, previous);
        if bites(Tooth::HeadByAttempt) {
            condition = HeadCondition::Owned(self.mine.attempt);
        }
        let change = HeadChange::Advance { checkpoint, retained, identity: self.identity.clone() };
        let mut pause = FIRST_PAUSE;
        loop {
            let shown = self.write(condition, change.clone()).await?;
            match rules::resolve_move(&self.mine, previous, checkpoint, shown.as_ref()) {
                Resolution::Completed => break,
                Resolution::SendAgain => self.clock.sleep(pause).await,
                Resolution::Fenced(by) => return Err(by.into()),
                Resolution::Broken => return Err(vanished(&self.job)),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        points::hit(points::AFTER_HEAD_MOVED);
        if kind == Kind::Final {
            points::hit(points::AFTER_LAST_CHECKPOINT);
        }
        Ok(())
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// When the counter is to move after now: three times a lease. `None` where that is beyond time.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        self.clock.now().checked_add(self.lease / 3)
    }

    /// Moves the counter once, which shows candidates that this owner lives. A lost answer is left to
    /// the next beat.
    pub(super) async fn beat(&self) -> Result<()> {
        let beat = self.beat.fetch_add(1, Ordering::Relaxed) + 1;
        let sent = self.clock.now();
        let condition = HeadCondition::Owned(self.mine.attempt);
        let answer = self.heads.write(&self.job, condition, HeadChange::Beat(beat)).await?;
        match answer {
            HeadAnswer::Applied(head) => self.check(Some(&head), sent),
            HeadAnswer::Refused => self.confirm().await,
            HeadAnswer::Unknown => Ok(()),
        }
    }

    /// Reads the head where it was not confirmed for a lease: a process that was stopped and goes on
    /// notices that it was replaced before it sends anything. A courtesy; the conditions protect.
    pub(super) async fn confirm_if_stale(&self) -> Result<()> {
        let now = self.millis(self.clock.now());
        let confirmed = self.confirmed_ms.load(Ordering::Relaxed);
        if u128::from(now.saturating_sub(confirmed)) < self.lease.as_millis() {
            return Ok(());
        }
        self.confirm().await
    }

    /// Names the new owner in the error of a fenced attempt: a block whose slot a later attempt has
    /// written shows its number only.
    pub(super) async fn name_owner(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Fenced {
            return error;
        }
        self.confirm().await.err().unwrap_or(error)
    }

    async fn confirm(&self) -> Result<()> {
        let sent = self.clock.now();
        let head = self.heads.read(&self.job).await?;
        self.check(head.as_ref(), sent)
    }

    fn check(&self, shown: Option<&Head>, sent: Instant) -> Result<()> {
        match rules::resolve_owned(&self.mine, shown, |_| true) {
            Resolution::Completed | Resolution::SendAgain => {
                self.confirmed_ms.fetch_max(self.millis(sent), Ordering::Relaxed);
                Ok(())
            }
            Resolution::Fenced(by) => Err(by.into()),
            Resolution::Broken => Err(vanished(&self.job)),
        }
    }

    /// Sends one write; gives the head as the answer, or a read after it, shows it.
    async fn write(&self, condition: HeadCondition, change: HeadChange) -> Result<Option<Head>> {
        match self.heads.write(&self.job, condition, change).await? {
            HeadAnswer::Applied(head) => Ok(Some(*head)),
            HeadAnswer::Refused | HeadAnswer::Unknown => self.heads.read(&self.job).await,
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }
}
