//! The endpoint, the two candidates, and what has been seen of them.
//!
//! Owns the look at everything, who the owner is, and that whoever has ended is started again, as a
//! supervisor would. What is done to them is `rounds`'.

use std::path::PathBuf;
use std::time::Duration;

use super::super::super::events::Event;
use super::super::folder::Folder;
use super::candidate::{Candidate, End, key};
use super::endpoint::Endpoint;
use super::report::Totals;
use super::rounds::is_full_disk;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// How long anything may take on a slow machine. Reached only where a demo fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(4);
/// Checkpoints after which an attempt counts as at work.
const AT_WORK: u32 = 2;

/// How candidates run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Everything after the program's name, but for the rate and the access key.
    pub(super) arguments: Vec<String>,
    /// Records a second.
    pub(super) rate: u64,
    /// Records of the input.
    pub(super) records: u64,
}

/// Everything that is disturbed.
pub(super) struct World<'a> {
    pub(super) folder: &'a Folder,
    pub(super) clock: Clock,
    pub(super) endpoint: Endpoint,
    pub(super) job: Job,
    pub(super) totals: Totals,
    /// Two, while there is chaos.
    pub(super) candidates: Vec<Candidate>,
    started: u32,
    newest: u64,
    position: u64,
}

impl<'a> World<'a> {
    /// With two candidates.
    pub(super) fn new(
        folder: &'a Folder,
        clock: Clock,
        endpoint: Endpoint,
        job: Job,
    ) -> Result<Self> {
        let (totals, candidates) = (Totals::default(), Vec::new());
        let mut world = Self {
            folder,
            clock,
            endpoint,
            job,
            totals,
            candidates,
            started: 0,
            newest: 0,
            position: 0,
        };
        for _ in 0..2 {
            let candidate = world.start(true)?;
            world.candidates.push(candidate);
        }
        Ok(world)
    }

    /// One more candidate, at the job's rate or as fast as it can.
    pub(super) fn start(&mut self, paced: bool) -> Result<Candidate> {
        self.started += 1;
        let mut arguments = self.job.arguments.clone();
        let key = key(self.started);
        arguments.push(format!("-Daws.credentials.provider.basic.accesskeyid={key}"));
        arguments.push("-Daws.credentials.provider.basic.secretkey=anything".to_owned());
        if paced {
            arguments.push(format!("--rate={}", self.job.rate));
        }
        Candidate::start(self.started, &arguments, &self.log(self.started))
    }

    fn log(&self, number: u32) -> PathBuf {
        self.folder.join(&format!("candidate-{number}.log"))
    }

    /// Waits a moment and looks at everything.
    pub(super) async fn look(&mut self) -> Result<()> {
        self.clock.sleep(LOOK).await;
        for candidate in &mut self.candidates {
            for event in candidate.look()? {
                match event {
                    Event::Running { attempt, restored } => {
                        self.totals.attempts += 1;
                        self.newest = self.newest.max(attempt);
                        let from = restored.map_or(0, |restored| restored.position);
                        self.totals.replayed += self.position.saturating_sub(from);
                        self.position = from;
                    }
                    // One that was overtaken may find anything gone before it knows.
                    Event::Restarting { failure }
                        if candidate.facts.attempt == self.newest && !is_full_disk(&failure) =>
                    {
                        self.totals.failures.push(failure);
                    }
                    Event::Restarting { .. }
                    | Event::FirstRecord { .. }
                    | Event::Checkpoint { .. }
                    | Event::Progress { .. }
                    | Event::Ended { .. } => {}
                }
            }
            if candidate.facts.attempt == self.newest {
                self.position = self.position.max(candidate.facts.position);
            }
        }
        Ok(())
    }

    /// Starts anew whoever has ended.
    ///
    /// # Errors
    /// Where one ended that should not have.
    pub(super) fn mend(&mut self) -> Result<()> {
        for index in 0..self.candidates.len() {
            match &self.candidates[index].end {
                None => continue,
                Some(End::Killed | End::Fenced) => {}
                Some(End::Done) => {
                    return Err(failed("the job finished in the midst of disturbances"));
                }
                Some(End::Failed(why)) => return Err(failed(why)),
            }
            self.candidates[index] = self.start(true)?;
        }
        Ok(())
    }

    /// The candidate whose attempt is the newest that was ever seen, if it lives.
    pub(super) fn owner(&self) -> Option<usize> {
        let owns = |candidate: &Candidate| {
            candidate.facts.attempt == self.newest && self.newest > 0 && candidate.end.is_none()
        };
        self.candidates.iter().position(owns)
    }

    /// Waits until two candidates live and one of them, which this gives, has been at work from now.
    ///
    /// # Errors
    /// Where that takes longer than [`PATIENCE`], or one ended that should not have.
    pub(super) async fn until_at_work(&mut self) -> Result<usize> {
        for candidate in &mut self.candidates {
            candidate.facts.checkpoints = 0;
        }
        let deadline = self.clock.now() + PATIENCE;
        loop {
            self.look().await?;
            self.mend()?;
            if let Some(owner) = self.owner()
                && self.candidates[owner].facts.checkpoints >= AT_WORK
            {
                return Ok(owner);
            }
            if self.clock.now() >= deadline {
                let said = |c: &Candidate| format!("candidate {}:\n{}", c.number, c.said());
                let said: Vec<_> = self.candidates.iter().map(said).collect();
                return Err(failed(&format!(
                    "no attempt is at work after {PATIENCE:?}\n{}",
                    said.join("\n")
                )));
            }
        }
    }

    /// Looks on for `duration`.
    pub(super) async fn look_on(&mut self, duration: Duration) -> Result<()> {
        let until = self.clock.now() + duration;
        while self.clock.now() < until {
            self.look().await?;
        }
        Ok(())
    }

    /// Looks on until `condition` holds; whether it did within `limit`.
    pub(super) async fn look_until(
        &mut self,
        limit: Duration,
        condition: impl Fn(&Self) -> Result<bool>,
    ) -> Result<bool> {
        let deadline = self.clock.now() + limit;
        while !condition(self)? {
            if self.clock.now() >= deadline {
                return Ok(false);
            }
            self.look().await?;
        }
        Ok(true)
    }

    /// How far the newest attempt is, of the input's records.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The newest attempt that was seen.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }
}

fn failed(why: &str) -> Error {
    Error::new(ErrorKind::Internal, why)
}
