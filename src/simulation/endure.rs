//! Long courses with one process: bad weather for a long time, and many checkpoints in a row.
//!
//! Where `world` looks for what goes wrong in a moment, these look for what adds up: a job that does
//! not catch up, a table or memory that grows with the number of checkpoints.

use std::time::Duration;

use super::draw::ms;
use super::scenario::Verdict;
use super::world::{Start, World};
use crate::checkpoint::rules::StartMode;
use crate::config::Config;

/// What a job has to endure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordeal {
    /// Of a hundred calls 95 are throttled, for an hour.
    Storm,
    /// For ten minutes nothing can be reached.
    Outage,
    /// Hundreds of checkpoints with changes in each, among some faults.
    Steady,
}

/// After bad weather a checkpoint is completed within this time: an interval, and the longest pause
/// between two tries of a call.
const FIRST_CHECKPOINT: Duration = Duration::from_secs(30);

impl World {
    /// One process from its start to its end, through `ordeal`.
    pub(super) async fn endure(&mut self, ordeal: Ordeal) -> Verdict {
        let interval = if ordeal == Ordeal::Steady { ms(100) } else { Duration::from_secs(10) };
        self.start_steady(interval)?;
        match ordeal {
            Ordeal::Storm => self.bad_weather(Duration::from_secs(3600), false).await?,
            Ordeal::Outage => self.bad_weather(Duration::from_secs(600), true).await?,
            Ordeal::Steady => self.steady().await?,
        }
        self.has_caught_up(ordeal).await?;
        self.scenario.ends().finish();
        self.run_to_its_end().await?;
        if !self.is_finished() {
            return Err("it does not finish".to_owned());
        }
        self.last_look()
    }

    fn start_steady(&mut self, interval: Duration) -> Verdict {
        let mut config = Config { parallelism: 2, max_parallelism: 128, ..Config::default() };
        config.checkpointing.interval = interval;
        config.checkpointing.num_retained = 2;
        config.exchange.batch_records = 16;
        config.state.segment_bytes = 2000;
        config.state.log_max_bytes = 16_000;
        config.state.cache_bytes = 32_000;
        let start = Start { config, mode: StartMode::Auto, exclusive: true, roll_back: None };
        self.start(start)?;
        if let Some(process) = self.processes.last() {
            process.gate.disarm();
        }
        Ok(())
    }

    /// Input for `time`, a little every `every`.
    async fn feed(&mut self, time: Duration, every: Duration) -> Verdict {
        let until = self.common.clock.now() + time;
        while self.common.clock.now() < until {
            self.scenario.ends().give(&mut self.random);
            self.run_until(self.common.clock.now() + every, 0).await?;
        }
        Ok(())
    }

    async fn bad_weather(&mut self, time: Duration, outage: bool) -> Verdict {
        self.feed(Duration::from_secs(60), ms(500)).await?;
        self.watch.tell("the weather turns bad");
        self.sky.turn_bad(outage);
        self.feed(time, Duration::from_secs(5)).await?;
        self.sky.calm();
        self.watch.tell("fine weather");
        let before = self.completed();
        self.run_until(self.common.clock.now() + FIRST_CHECKPOINT, 0).await?;
        if self.completed() == before {
            return Err(format!("no checkpoint within {FIRST_CHECKPOINT:?} of fine weather"));
        }
        Ok(())
    }

    /// All that was given is processed and committed; of bad weather, by the attempt that began:
    /// it delays and fails nothing.
    async fn has_caught_up(&mut self, ordeal: Ordeal) -> Verdict {
        self.sky.calm();
        self.run_until(self.common.clock.now() + FIRST_CHECKPOINT, 0).await?;
        let Some(process) = self.processes.first() else {
            return Err("its process has ended".to_owned());
        };
        let status = process.status.borrow().clone();
        let failed = status.attempt != 1 || status.last_failure.is_some();
        if status.lag.records != Some(0) || (failed && ordeal != Ordeal::Steady) {
            return Err(format!(
                "lag {:?} in attempt {}, {:?}",
                status.lag, status.attempt, status.last_failure
            ));
        }
        match self.scenario.ends().staged() {
            0 => Ok(()),
            staged => Err(format!("{staged} staged outputs are not committed")),
        }
    }

    /// The table holds no more than the log once needed, and memory stays in its bounds.
    async fn steady(&mut self) -> Verdict {
        self.sky.turn_rough();
        for _ in 0..6 {
            self.feed(Duration::from_secs(10), ms(50)).await?;
            self.table_is_bounded()?;
            self.memory_is_bounded()?;
        }
        Ok(())
    }

    /// A slot is used again as soon as nothing retained needs it, by a block of its size class: there
    /// are a few of these, and some blocks are always in flight.
    fn table_is_bounded(&self) -> Verdict {
        let seen = self.watch.seen();
        let (blocks, items) = seen.oracle.table.sizes();
        let most = seen.oracle.most_named;
        drop(seen);
        self.watch.tell(format_args!("{blocks} blocks, {items} items, at most {most} needed"));
        if blocks <= 2 * most + 16 {
            return Ok(());
        }
        Err(format!("the table grows: {blocks} blocks, of which at most {most} were ever needed"))
    }

    fn memory_is_bounded(&self) -> Verdict {
        let Some(process) = self.processes.first() else {
            return Err("its process has ended".to_owned());
        };
        let memory = process.status.borrow().memory;
        // Only what is in channels may come on top.
        if memory.used_bytes > 2 * memory.budget_bytes || memory.log_bytes > memory.budget_bytes {
            return Err(format!("memory grows: {memory:?}"));
        }
        Ok(())
    }
}
