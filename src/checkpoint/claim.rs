//! How an attempt begins: the head is read, waited for, claimed or created, and everything else is
//! taken from the claim's own answer.
//!
//! ```text
//! read head ─► rules::start ─► (wait for the lease) ─► (look) ─► conditional write ─► mine? ─► read manifests
//!     ▲                                                                                │ no
//!     └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Owns the order of these steps. Does not own any decision (`rules`), nor what is looked at (`prospect`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::archive::{Archived, read_manifest};
use super::claimed::{Began, Claimed, Kept, Over, Turn, Waiting};
use super::committing::{OnLost, SinkCommitter, commit_owed};
use super::head::{
    Head, HeadAnswer, HeadChange, HeadCondition, HeadStatus, HeadStore, Identity, Retained,
};
use super::headkeeper::HeadKeeper;
use super::heartbeat::Heartbeat;
use super::prospect::{Inspect, LookedAt, Prospect, is_still_wrong};
use super::rules::{self, Mine, Start, StartFacts, StartMode};
use super::slots::Slots;
use super::standby::Standby;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Incarnation, Name};
use crate::io::Io;
use crate::state::Store;
use crate::teeth::{Tooth, bites};

/// Opens the store of one incarnation of the job.
pub type OpenStore = Arc<dyn Fn(Incarnation) -> Arc<dyn Store> + Send + Sync>;

/// What is claimed, and how.
#[derive(Clone, Debug)]
pub struct ClaimOptions {
    /// The job's name.
    pub job: Name,
    /// What would run.
    pub identity: Identity,
    /// What the user insists on. A job that reads input that cannot be gone back to starts afresh anyway.
    pub mode: StartMode,
    /// No other owner can be alive (an embedded file under its lock), or `--take-over`.
    pub exclusive: bool,
    /// Go back to this retained checkpoint, once.
    pub roll_back: Option<CheckpointId>,
    /// `--abandon-output`: a fresh start gives up what is owed and lost.
    pub abandon_output: bool,
    /// `high-availability.lease`, written into the head.
    pub lease: Duration,
}

/// Claims one job for the attempts of one process, one after the other.
pub struct Claimer {
    options: ClaimOptions,
    heads: Arc<dyn HeadStore>,
    open: OpenStore,
    committer: Arc<dyn SinkCommitter>,
    io: Io,
    inspect: Option<Arc<dyn Inspect>>,
    /// What was looked at before the claim.
    looked_at: Option<LookedAt>,
    clock: Clock,
    owners: StdRng,
    /// Every claim that was sent: one whose answer was lost may still be found in the head.
    sent: Vec<Mine>,
    /// An attempt of this process has begun: what follows are restarts.
    restart: bool,
    standby: Standby,
    /// Of a claim that was won and whose manifests could not be read, or what it owes not committed.
    unread: Option<Heartbeat>,
    /// The checkpoint that was claimed from a head that owed nothing: until this process has completed another,
    /// nothing is owed, whatever the head says since.
    settled: Option<(Incarnation, CheckpointId)>,
}

impl fmt::Debug for Claimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimer").field("options", &self.options).finish_non_exhaustive()
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Claimer {
    /// A claimer; `seed` must differ between processes, since owner texts are drawn from it.
    pub fn new(
        options: ClaimOptions,
        heads: Arc<dyn HeadStore>,
        open: OpenStore,
        committer: Arc<dyn SinkCommitter>,
        io: Io,
        clock: Clock,
        seed: [u8; 32],
    ) -> Self {
        Self {
            options,
            heads,
            open,
            committer,
            io,
            inspect: None,
            looked_at: None,
            clock,
            owners: StdRng::from_seed(seed),
            sent: Vec::new(),
            restart: false,
            standby: Standby::default(),
            unread: None,
            settled: None,
        }
    }

    /// Has `inspect` look before this process claims for the first time. Restarts are not looked at.
    #[must_use]
    pub fn inspecting(self, inspect: Arc<dyn Inspect>) -> Self {
        Self { inspect: Some(inspect), ..self }
    }

    /// Begins the next attempt. The first call of a process follows the start options and waits for
    /// another owner's lease, telling `progress`; later ones are restarts: they claim at once, and are
    /// fenced where anyone else has claimed. The lease's counter moves from the claim on, for as long as
    /// the heartbeat that is given is polled.
    ///
    /// Where the owner that is waited for finishes, however late, there is nothing to take over: whoever stands by
    /// would process all of the input again. One that was told to start afresh, or to go back, does so then. An owner
    /// that is stopped is followed at once, as one that fails.
    ///
    /// One `GetItem` and one `UpdateItem` for the head, one `GetItem` for each retained manifest; the one that is
    /// looked at is read before the claim, and once.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`]; [`ErrorKind::Usage`] where the job may not be gone on with, which shows
    /// why; [`ErrorKind::Corrupt`] where what the head names is not there, and the head is still mine.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn claim(&mut self, progress: &(dyn Fn(Waiting) + Send + Sync)) -> Result<Turn> {
        let mut pause = FIRST_PAUSE;
        self.unread = None;
        loop {
            match self.attempt(progress).await? {
                Round::Won(began, head) => {
                    let mut heartbeat = self.heartbeat(&head);
                    return match heartbeat.beside(self.take(began, *head)).await {
                        Ok(claimed) => {
                            self.restart = true;
                            self.options.roll_back = None;
                            Ok(Turn::Mine(Box::new((claimed, heartbeat))))
                        }
                        Err(error) => {
                            self.unread = Some(heartbeat);
                            Err(error)
                        }
                    };
                }
                Round::Over(over) => return Ok(Turn::Over(over)),
                Round::Again => {}
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The heartbeat of the last [`Self::claim`], where that was won and then failed: the job is still this process's,
    /// for as long as it is polled.
    pub fn take_unread(&mut self) -> Option<Heartbeat> {
        self.unread.take()
    }

    /// Whether this process has waited for another owner's lease.
    #[must_use]
    pub fn stood_by(&self) -> bool {
        self.standby.has_waited()
    }

    /// Tells the head that nothing of this process runs any more, where no driver could: the next run need
    /// not wait for the lease then. Whether it was stopped or failed, the head then says whether output may
    /// be owed. Does nothing where the head shows no claim of this process, which was
    /// not won, or not yet: nobody waits for that one.
    ///
    /// One `GetItem` and one `UpdateItem`; none where nothing was claimed.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] where another has claimed the job since an attempt of this process began.
    ///
    /// # Cancel safety
    /// May be dropped; the head may say so or not then.
    pub async fn leave(&self, status: HeadStatus) -> Result<()> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let job = &self.options.job;
        let Some(head) = self.heads.read(job).await? else { return Ok(()) };
        match self.sent.iter().find(|mine| rules::is_mine(mine, &head)) {
            Some(mine) => {
                let status = match status {
                    HeadStatus::Stopped if self.may_owe(&head) && !bites(Tooth::StopSettles) => {
                        HeadStatus::Failed
                    }
                    HeadStatus::Failed if self.settled == Some(checkpoint_of(&head)) => {
                        HeadStatus::Stopped
                    }
                    status => status,
                };
                set_status(&*self.heads, self.clock, job, mine, status).await
            }
            None if self.restart => Err(rules::FencedBy::of(&head).into()),
            None => Ok(()),
        }
    }

    async fn attempt(&mut self, progress: &(dyn Fn(Waiting) + Send + Sync)) -> Result<Round> {
        let head = self.heads.read(&self.options.job).await?;
        if let Some(over) = self.over(head.as_ref()) {
            return Ok(Round::Over(over));
        }
        let decision = self.decide(head.as_ref());
        if let Err(error) = self.inspect_first(&decision, head.as_ref()).await {
            let now = self.heads.read(&self.options.job).await?;
            let is_so = is_still_wrong(&error, head.as_ref(), now.as_ref());
            return if is_so { Err(error) } else { Ok(Round::Again) };
        }
        if self.is_awake_since_the_look(head.as_ref()).await? {
            return Ok(Round::Again);
        }
        match (decision, head) {
            (Start::Create, _) => {
                let head = self.first_head();
                Ok(Round::of(Began::Created, self.put(HeadCondition::Absent, head).await?))
            }
            (Start::Resume { wait: true } | Start::Fresh { wait: true }, Some(head)) => {
                // All is decided anew after it: the head may have ended, or moved in the last moment.
                let (heads, job) = (&*self.heads, &self.options.job);
                self.standby.wait(head, (heads, job), self.clock, progress).await?;
                Ok(Round::Again)
            }
            (Start::Resume { wait: false }, Some(head))
                if self.restart && bites(Tooth::SameAttemptAgain) =>
            {
                Ok(Round::Won(Began::Resumed, Box::new(head)))
            }
            (Start::Resume { wait: false }, Some(head)) => {
                Ok(Round::of(Began::Resumed, self.resume(&head).await?))
            }
            (Start::Fresh { wait: false }, Some(head)) => {
                Ok(Round::of(Began::Fresh, self.begin_afresh(head).await?))
            }
            (Start::Fenced(by), _) => Err(by.into()),
            (Start::Refused(refusal), _) => Err(refusal.into()),
            (Start::Resume { .. } | Start::Fresh { .. }, None) => {
                Err(Error::internal("a start was decided from a head that is not there"))
            }
        }
    }

    /// What `head` shows of an end that leaves nothing to this process.
    fn over(&mut self, head: Option<&Head>) -> Option<Over> {
        let is_mine = |head: &Head| self.sent.iter().any(|mine| rules::is_mine(mine, head));
        if self.restart || head.is_some_and(is_mine) {
            return None;
        }
        let over = self.standby.over(head);
        let ClaimOptions { mode, roll_back, identity, .. } = &self.options;
        let is_fresh = *mode == StartMode::Fresh || !identity.is_replayable();
        over.filter(|_| !is_fresh && roll_back.is_none())
    }

    /// A mistyped call is to leave no trace, least of all to take the job from who can run it or to forget
    /// checkpoints for a roll-back: what would fail is reported before the claim, if it can be.
    async fn inspect_first(&mut self, decision: &Start, head: Option<&Head>) -> Result<()> {
        let Some(inspect) = self.inspect.clone().filter(|_| !self.restart) else { return Ok(()) };
        let (incarnation, attempt) = match (decision, head) {
            (Start::Create, _) => (1, 1),
            (Start::Resume { wait: false }, Some(h)) => (h.incarnation.0, h.attempt.0 + 1),
            (Start::Fresh { wait: false }, Some(h)) => (h.incarnation.0 + 1, h.attempt.0 + 1),
            _ => return Ok(()),
        };
        let (incarnation, attempt) = (Incarnation(incarnation), Attempt(attempt));
        let archived = match (decision, head) {
            (Start::Resume { .. }, Some(head)) if head.checkpoint != CheckpointId::NONE => {
                if self.looked_at.as_ref().is_some_and(|at| at.attempt == attempt) {
                    // Its owner completes checkpoints faster than a look takes: it would never be claimed.
                    return Ok(());
                }
                let to = self.options.roll_back.unwrap_or(head.checkpoint);
                // A head that names a checkpoint and does not retain it is damaged, which the claim tells.
                let named = head.retained.iter().find(|retained| retained.checkpoint == to);
                let Some(named) = named else { return Ok(()) };
                Some(read_manifest((self.open)(incarnation), *named).await?)
            }
            _ => None,
        };
        let manifest = archived.as_ref().map(|archived| &archived.manifest);
        let recorded = head.map_or("", |head| &head.identity.graph);
        inspect.inspect(Prospect { incarnation, attempt, recorded, manifest }).await?;
        self.looked_at = archived.map(|archived| LookedAt { incarnation, attempt, archived });
        Ok(())
    }

    /// Whether an owner whose lease had run out has shown life during the look, which may take seconds.
    async fn is_awake_since_the_look(&self, head: Option<&Head>) -> Result<bool> {
        let expired = head.is_some_and(|head| self.standby.is_expired(head));
        if !expired || self.options.exclusive || self.restart || self.inspect.is_none() {
            return Ok(false);
        }
        let now = self.heads.read(&self.options.job).await?;
        Ok(!now.is_some_and(|now| self.standby.is_expired(&now)))
    }

    fn decide(&self, head: Option<&Head>) -> Start {
        let expired = head.is_some_and(|head| self.standby.is_expired(head));
        rules::start(&StartFacts {
            head,
            identity: &self.options.identity,
            mode: self.options.mode,
            exclusive: self.options.exclusive || expired,
            sent: &self.sent,
            restart: self.restart,
            roll_back: self.options.roll_back,
        })
    }

    /// Claims what `head` shows, rolled back where that is asked for.
    async fn resume(&mut self, head: &Head) -> Result<Option<Head>> {
        let settled = !self.may_owe(head);
        let (owner, lease) = (self.fresh_owner(), self.options.lease);
        let (to, identity) = (self.options.roll_back, &self.options.identity);
        let Some(mut next) = rules::resumed(head, to, identity, owner, lease) else {
            return Ok(None);
        };
        if let Some(to) = to {
            if bites(Tooth::RollBackKeepsNumber) {
                next.checkpoint = head.checkpoint;
            }
            if bites(Tooth::OlderThroughNewest)
                && let (Some(older), Some(newest)) =
                    (next.retained.last_mut(), head.retained.last())
            {
                *older = Retained { checkpoint: to, ..*newest };
            }
            if bites(Tooth::RollBackKeepsList) {
                next.retained.clone_from(&head.retained);
            }
        }
        let mut condition = rules::unchanged(head);
        if bites(Tooth::ClaimedFromEarlierRead) {
            condition = HeadCondition::Owned(head.attempt);
        }
        let claimed = self.put(condition, next).await?;
        if let Some(claimed) = &claimed {
            self.settled = settled.then(|| checkpoint_of(claimed));
        }
        Ok(claimed)
    }

    fn may_owe(&self, head: &Head) -> bool {
        head.checkpoint != CheckpointId::NONE
            && !head.status.owes_nothing()
            && self.settled != Some(checkpoint_of(head))
    }

    /// Fences whoever had the job, commits what its head owes, then leaves all of it behind.
    async fn begin_afresh(&mut self, mut head: Head) -> Result<Option<Head>> {
        if self.may_owe(&head) {
            let same = self.successor(&head);
            let condition = rules::unchanged(&head);
            let Some(claimed) = self.put(condition, same).await? else { return Ok(None) };
            let mut heartbeat = self.heartbeat(&claimed);
            if let Err(error) = heartbeat.beside(self.commit_what_is_owed(&claimed)).await {
                self.unread = Some(heartbeat);
                return Err(error);
            }
            head = claimed;
        }
        let mut next = self.successor(&head);
        next.identity = self.options.identity.clone();
        next.incarnation = Incarnation(head.incarnation.0 + 1);
        next.checkpoint = CheckpointId::NONE;
        next.retained = Vec::new();
        self.put(rules::unchanged(&head), next).await
    }

    async fn commit_what_is_owed(&self, head: &Head) -> Result<()> {
        let Some(last) = head.retained.last() else { return Ok(()) };
        let archived = self.archived(head, &[*last], None).await?;
        let on_lost = if self.options.abandon_output { OnLost::GiveUp } else { OnLost::Fail };
        let owed = archived.last().map_or(&[][..], |last| &last.manifest.committables);
        match commit_owed(&self.committer, self.clock, owed, on_lost).await {
            Err(error) => Err(self.fenced_or(head, error).await),
            done => done,
        }
    }

    /// The manifests `named` by a head that I have claimed, oldest first; one of them may be `known`.
    async fn archived(
        &self,
        head: &Head,
        named: &[Retained],
        known: Option<Archived>,
    ) -> Result<Vec<Archived>> {
        let store = (self.open)(head.incarnation);
        let known = known.filter(|known| named.contains(&known.retained));
        let is_known = |r: &&Retained| known.as_ref().is_some_and(|known| known.retained == **r);
        let unknown = named.iter().filter(|retained| !is_known(retained));
        let reads = unknown.map(|retained| read_manifest(Arc::clone(&store), *retained));
        let mut read = match try_join_all(reads).await {
            Err(error) => return Err(self.fenced_or(head, error).await),
            Ok(read) => read,
        };
        read.extend(known);
        read.sort_by_key(|archived| archived.retained.checkpoint);
        Ok(read)
    }

    /// Whoever has claimed `head` after me writes slots anew, and cleans away the output of checkpoints
    /// that it has rolled back: what I find wrong says first of all to look whose the head is now.
    async fn fenced_or(&self, head: &Head, error: Error) -> Error {
        let mine = Mine { attempt: head.attempt, owner: head.owner.clone() };
        let Ok(now) = self.heads.read(&self.options.job).await else { return error };
        match rules::resolve_owned(&mine, now.as_ref(), |_| true) {
            rules::Resolution::Fenced(by) => by.into(),
            _ => error,
        }
    }

    /// One conditional write of the head: the head as it was left where the claim is won.
    async fn put(&mut self, condition: HeadCondition, head: Head) -> Result<Option<Head>> {
        let mine = Mine { attempt: head.attempt, owner: head.owner.clone() };
        self.sent.push(mine.clone());
        let change = HeadChange::Put(Box::new(head));
        let shown = match self.heads.write(&self.options.job, condition, change).await? {
            HeadAnswer::Applied(head) => Some(*head),
            HeadAnswer::Refused | HeadAnswer::Unknown => self.heads.read(&self.options.job).await?,
        };
        Ok(shown.filter(|head| rules::claimed(&mine, Some(head))))
    }

    /// All that the attempt needs, from the head that its claim left.
    async fn take(&mut self, began: Began, head: Head) -> Result<Claimed> {
        let mine = Mine { attempt: head.attempt, owner: head.owner.clone() };
        let restorable = rules::restorable(&mine, &head)?;
        let store = (self.open)(restorable.incarnation);
        let known = self.looked_at.take().filter(|at| at.incarnation == head.incarnation);
        let known = known.map(|at| at.archived);
        let archived = self.archived(&head, &restorable.retained, known).await;
        let mut archived = archived.map_err(|e| e.at(format!("job {}", self.options.job)))?;
        let named: Vec<_> =
            archived.iter().map(|a| (a.retained.slot, a.bytes, &a.manifest)).collect();
        let newest = &named[named.len().saturating_sub(1)..];
        let known = if bites(Tooth::OlderSlotsUnknown) { newest } else { &named };
        let slots = Slots::restored(mine.attempt.in_versions(), known);
        let retained = archived.iter().map(Kept::of).collect();
        let mut manifest = archived.pop().map(|a| a.manifest);
        if self.settled == Some(checkpoint_of(&head)) {
            manifest.iter_mut().for_each(|manifest| manifest.committables.clear());
        }
        Ok(Claimed { mine, began, head, manifest, retained, slots, store })
    }

    /// The beat of a head that I have claimed just now.
    fn heartbeat(&self, head: &Head) -> Heartbeat {
        let mine = Mine { attempt: head.attempt, owner: head.owner.clone() };
        let (job, heads) = (self.options.job.clone(), Arc::clone(&self.heads));
        let mut keeper = HeadKeeper::new(job, mine, heads, self.clock, self.options.lease);
        if head.identity != self.options.identity {
            keeper = keeper.going_by(self.options.identity.clone());
        }
        Heartbeat::new(keeper, self.io.clone())
    }

    fn successor(&mut self, head: &Head) -> Head {
        rules::successor(head, self.fresh_owner(), self.options.lease)
    }

    fn first_head(&mut self) -> Head {
        let owner = self.fresh_owner();
        rules::first_head(&self.options.identity, owner, self.options.lease)
    }

    fn fresh_owner(&mut self) -> String {
        format!("{:016x}{:016x}", self.owners.next_u64(), self.owners.next_u64())
    }
}

/// What one look at the head has led to.
enum Round {
    /// A claim that was won.
    Won(Began, Box<Head>),
    /// The job has finished meanwhile.
    Over(Over),
    /// The head has changed under it: all is to be decided anew.
    Again,
}

impl Round {
    fn of(began: Began, claimed: Option<Head>) -> Self {
        claimed.map_or(Self::Again, |head| Self::Won(began, Box::new(head)))
    }
}

fn checkpoint_of(head: &Head) -> (Incarnation, CheckpointId) {
    (head.incarnation, head.checkpoint)
}

/// Sets the status of a head that is mine, whatever answers are lost: for a job that failed for good.
/// One `UpdateItem`.
///
/// # Errors
/// [`ErrorKind::Fenced`] where it is not mine any more.
pub async fn set_status(
    heads: &dyn HeadStore,
    clock: Clock,
    job: &Name,
    mine: &Mine,
    status: HeadStatus,
) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let condition = HeadCondition::Owned(mine.attempt);
        let shown = match heads.write(job, condition, HeadChange::Status(status)).await? {
            HeadAnswer::Applied(head) => Some(*head),
            HeadAnswer::Refused | HeadAnswer::Unknown => heads.read(job).await?,
        };
        match rules::resolve_owned(mine, shown.as_ref(), |head| head.status == status) {
            rules::Resolution::Completed => return Ok(()),
            rules::Resolution::SendAgain => clock.sleep(pause).await,
            rules::Resolution::Fenced(by) => return Err(by.into()),
            rules::Resolution::Broken => return Err(vanished(job)),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

pub(super) fn vanished(job: &Name) -> Error {
    let message = format!("the head of job {job} was deleted or changed by hand while it ran");
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests;
