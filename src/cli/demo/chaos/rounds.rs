//! What each kind of disturbance does, and how it is seen to have hit.

use std::time::Duration;

use super::candidate::End;
use super::plan::{Disturbance, Kind};
use super::report::Hit;
use super::world::{PATIENCE, World};
use crate::error::Result;

/// How long a disturbance may take to be seen to hit.
const TO_HIT: Duration = Duration::from_secs(20);

impl World<'_> {
    /// Carries out `disturbance` on a job at work whose owner is candidate `owner`. Nothing of it
    /// lasts beyond this call but what has ended.
    pub(super) async fn disturb(&mut self, disturbance: Disturbance, owner: usize) -> Result<Hit> {
        self.look_on(disturbance.after).await?;
        // It may have lost the job by itself meanwhile.
        let owner = self.owner().unwrap_or(owner);
        match disturbance.kind {
            Kind::Kill => self.kill(owner),
            Kind::KillBoth => self.kill_both(owner),
            Kind::Freeze => self.freeze(owner, disturbance.lasts).await,
            Kind::FillDisk => self.fill_disk(owner, disturbance).await,
            Kind::Outage => self.outage(owner, disturbance.lasts, false).await,
            Kind::KillInOutage => self.outage(owner, disturbance.lasts, true).await,
        }
    }

    fn kill(&mut self, owner: usize) -> Result<Hit> {
        let attempt = self.candidates[owner].facts.attempt;
        let really = self.candidates[owner].kill()?;
        Ok(Hit { really, told: format!("attempt {attempt} is gone, a candidate waits") })
    }

    fn kill_both(&mut self, owner: usize) -> Result<Hit> {
        let attempt = self.candidates[owner].facts.attempt;
        let mut really = true;
        for candidate in &mut self.candidates {
            really &= candidate.kill()?;
        }
        Ok(Hit { really, told: format!("attempt {attempt} is gone, nobody waits") })
    }

    async fn freeze(&mut self, owner: usize, lasts: Duration) -> Result<Hit> {
        let began = self.clock.now();
        let attempt = self.candidates[owner].facts.attempt;
        self.candidates[owner].freeze()?;
        let stopped = |world: &Self| world.candidates[owner].is_frozen();
        if !self.look_until(TO_HIT, stopped).await? {
            return Ok(Hit { really: false, told: format!("attempt {attempt} did not stop") });
        }
        let overtaken = self.look_until(PATIENCE, |world| Ok(world.newest() > attempt)).await?;
        self.look_on(lasts).await?;
        let slept = self.clock.now() - began;
        let by = self.newest();
        let key = self.candidates[owner].key();
        let before = self.endpoint.calls(&key);
        self.candidates[owner].thaw()?;
        let ended = |world: &Self| Ok(world.candidates[owner].end.is_some());
        self.look_until(PATIENCE, ended).await?;
        let wrote = self.endpoint.calls(&key).since(before);
        self.totals.zombies.writes += wrote.writes;
        self.totals.zombies.refused += wrote.refused;
        let fenced = self.candidates[owner].end == Some(End::Fenced);
        Ok(Hit {
            really: overtaken && fenced && wrote.refused > 0,
            told: format!(
                "attempt {attempt} slept {:.1} s; awake under {by}: {} writes, {} refused; {}",
                slept.as_secs_f64(),
                wrote.writes,
                wrote.refused,
                if fenced { "fenced" } else { "NOT FENCED" },
            ),
        })
    }

    async fn fill_disk(&mut self, owner: usize, disturbance: Disturbance) -> Result<Hit> {
        let facts = self.candidates[owner].facts.clone();
        let (attempt, failures) = (facts.attempt, facts.failures);
        self.candidates[owner].limit_files(Some(disturbance.room))?;
        let failed = |world: &Self| {
            let candidate = &world.candidates[owner];
            Ok(candidate.facts.failures > failures || candidate.end.is_some())
        };
        let failed = self.look_until(TO_HIT, failed).await?;
        self.look_on(disturbance.lasts).await?;
        if self.candidates[owner].end.is_none() {
            self.candidates[owner].limit_files(None)?;
        }
        let facts = &self.candidates[owner].facts;
        let why = facts.failure.clone().unwrap_or_default();
        let full = is_full_disk(&why);
        Ok(Hit {
            really: failed && facts.failures > failures && full,
            told: format!(
                "attempt {attempt} failed: {}; so {} in this process",
                if full { "file too large" } else { &why },
                facts.failures - failures
            ),
        })
    }

    async fn outage(&mut self, owner: usize, lasts: Duration, kill: bool) -> Result<Hit> {
        let began = self.clock.now();
        let attempt = self.candidates[owner].facts.attempt;
        let retries = self.candidates[owner].retries();
        self.endpoint.take_away();
        let missed = |world: &Self| Ok(world.candidates[owner].retries() > retries);
        let mut really = self.look_until(TO_HIT, missed).await?;
        self.look_on(lasts).await?;
        if kill {
            really &= self.candidates[owner].kill()?;
            self.look_on(lasts / 2).await?;
        }
        let tried = self.candidates[owner].retries() - retries;
        self.endpoint.bring_back().await?;
        let away = (self.clock.now() - began).as_secs_f64();
        let killed = if kill { ", and was killed" } else { "" };
        Ok(Hit {
            really,
            told: format!("away {away:.1} s; attempt {attempt} tried again {tried} times{killed}"),
        })
    }
}

/// Whether `failure` is what a full disk leads to: EFBIG, as it is made here, or ENOSPC.
pub(super) fn is_full_disk(failure: &str) -> bool {
    failure.contains("os error 27") || failure.contains("os error 28")
}
