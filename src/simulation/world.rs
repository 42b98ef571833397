//! The course of one simulated run: processes that start, die, sleep and meet, over one store.
//!
//! ```text
//! rounds: start ─► input, weather, mishaps ─► crash | stop | freeze | leave alive | all sleep for an hour
//!    then: fine weather, what sleeps wakes once more ─► one process that comes to rest ─► the input ends
//!    then: some die about their last checkpoint ─► one that must finish ─► what is left?
//! ```
//!
//! Owns the course. Every decision is drawn from the seed. What an end must be like is `endings`'.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::draw::{ms, one_of, patient_settings, settings};
use super::post::Post;
use super::process::{Common, Process};
use super::report::Counts;
use super::scenario::{Mishap, Scenario, Verdict};
use super::sky::Sky;
use super::watch::Watch;
use crate::checkpoint::HeadStatus;
use crate::checkpoint::rules::StartMode;
use crate::clock::{Clock, Instant};
use crate::config::Config;
use crate::ids::{CheckpointId, Name};
use crate::runtime::RunOptions;

/// The longest that a run in fine weather may take to finish, on its own clock: with a cache for nothing each
/// record waits for a checkpoint, and for a put of each of the hundred parts of its value.
const PATIENCE: Duration = Duration::from_secs(600);

/// One run.
pub(super) struct World {
    pub(super) random: StdRng,
    pub(super) scenario: Arc<dyn Scenario>,
    pub(super) watch: Watch,
    pub(super) sky: Sky,
    pub(super) post: Post,
    pub(super) mishap: Mishap,
    pub(super) common: Common,
    pub(super) job: Name,
    pub(super) counts: Counts,
    pub(super) processes: Vec<Process>,
    pub(super) started: u32,
}

/// How a process is started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) config: Config,
    pub(super) mode: StartMode,
    /// A claim does not wait for another owner's lease.
    pub(super) exclusive: bool,
    pub(super) roll_back: Option<CheckpointId>,
}

impl World {
    /// The whole run.
    pub(super) async fn live(&mut self) -> Verdict {
        let stormy = self.random.random_bool(0.92);
        for _ in 0..self.random.random_range(3..9) {
            self.round(stormy).await?;
        }
        self.settle().await?;
        self.finish().await?;
        self.last_look()
    }

    fn clock(&self) -> Clock {
        self.common.clock
    }

    /// One more process, what befalls it, and how it goes on.
    async fn round(&mut self, stormy: bool) -> Verdict {
        self.sky.change(&mut self.random, stormy);
        for process in &mut self.processes {
            if process.is_asleep() && self.random.random_bool(0.5) {
                self.watch.tell(format_args!("process {} wakes", process.number));
                process.sleep(false);
            }
        }
        let start = self.draw_start();
        self.start(start)?;
        if self.random.random_bool(0.1) {
            let rival = self.draw_start();
            self.start(rival)?;
        }
        self.pass_by(stormy).await?;
        self.befall().await
    }

    fn draw_start(&mut self) -> Start {
        let mut start = Start {
            config: settings(&mut self.random),
            mode: StartMode::Auto,
            exclusive: self.random.random_bool(0.6),
            roll_back: None,
        };
        let kind = self.random.random_range(0..100);
        let retained = self.retained();
        if kind < 40 && retained.len() > 1 {
            // Mostly to an older one than that which it would go on from anyway.
            start.roll_back = Some(retained[self.random.random_range(0..retained.len() - 1)]);
            start.mode = StartMode::Resume;
        } else if kind < 43 && !retained.is_empty() {
            start.roll_back = Some(one_of(&mut self.random, &retained));
        } else if kind < 46 {
            start.mode = StartMode::Fresh;
        }
        start
    }

    fn retained(&self) -> Vec<CheckpointId> {
        let seen = self.watch.seen();
        let head = seen.oracle.table.head.as_ref();
        head.map_or(Vec::new(), |h| h.retained.iter().map(|r| r.checkpoint).collect())
    }

    pub(super) fn start(&mut self, start: Start) -> Verdict {
        self.started += 1;
        let number = self.started;
        let Start { config, mode, exclusive, roll_back } = start;
        self.watch.tell(format_args!(
            "process {number} starts: {mode:?}, roll back {roll_back:?}, exclusive {exclusive}, \
             {:?}, {:?}, {:?}, parallelism {}",
            config.checkpointing, config.state, config.exchange, config.parallelism
        ));
        {
            let mut seen = self.watch.seen();
            seen.oracle.allowed.roll_backs.extend(roll_back);
            seen.oracle.allowed.fresh |= mode == StartMode::Fresh;
        }
        let options = RunOptions {
            mode,
            // What a fresh start finds in a folder is of the run before it.
            replace_output: true,
            roll_back,
            ..RunOptions::new(self.job.clone(), config, self.random.random())
        };
        let graph = self.scenario.graph().map_err(|e| e.to_string())?;
        let process = Process::start(
            &self.common,
            number,
            graph,
            options,
            exclusive,
            self.scenario.memory_of_a_key(),
        );
        if self.random.random_bool(0.4) {
            process.gate.arm(self.random.random_range(0..150));
        }
        self.counts.processes += 1;
        self.processes.push(process);
        Ok(())
    }

    /// The world outside of the job for a while.
    async fn pass_by(&mut self, stormy: bool) -> Verdict {
        for _ in 0..self.random.random_range(2..14) {
            self.scenario.ends().give(&mut self.random);
            if self.random.random_bool(0.2) {
                self.sky.change(&mut self.random, stormy);
            }
            if self.random.random_bool(0.04) {
                self.mishap.arm(self.random.random_range(0..40));
            }
            if self.random.random_bool(0.04) {
                self.scenario.ends().hesitate(self.random.random_range(1..4));
            }
            let time = ms(self.random.random_range(0..25));
            self.pass(time).await?;
        }
        Ok(())
    }

    /// What becomes of the processes that are awake.
    async fn befall(&mut self) -> Verdict {
        match self.random.random_range(0..100) {
            0..=57 => self.crash_all(),
            58..=67 => {
                self.watch.tell("all are asked to stop");
                self.processes.iter_mut().filter(|p| !p.is_asleep()).for_each(Process::stop);
                self.pass(ms(200)).await?;
                self.crash_all();
            }
            68..=81 => self.freeze(),
            82..=87 => {
                self.freeze();
                // An hour in which nothing that sleeps sees the clock move.
                self.counts.hours += 1;
                self.pass(Duration::from_secs(3600)).await?;
            }
            _ => self.watch.tell("all live on"),
        }
        // Few are enough to get in each other's way.
        while self.processes.len() > 3 {
            self.kill(0);
        }
        Ok(())
    }

    fn freeze(&mut self) {
        for process in self.processes.iter_mut().filter(|p| !p.is_asleep()) {
            self.watch.tell(format_args!("process {} is stopped", process.number));
            self.counts.frozen += 1;
            process.sleep(true);
        }
    }

    fn crash_all(&mut self) {
        for at in (0..self.processes.len()).rev() {
            if !self.processes[at].is_asleep() {
                self.kill(at);
            }
        }
    }

    fn kill(&mut self, at: usize) {
        let process = self.processes.remove(at);
        self.watch.tell(format_args!("process {} dies", process.number));
        self.counts.crashes += 1;
    }

    /// Lets `time` pass, and a drawn number of turns at its end: into the middle of what happens at
    /// one moment.
    async fn pass(&mut self, time: Duration) -> Verdict {
        let until = self.clock().now() + time;
        let turns = if self.random.random_bool(0.5) { self.random.random_range(0..40) } else { 0 };
        self.run_until(until, turns).await
    }

    /// Lets time pass until `until`, and so many turns after that.
    pub(super) async fn run_until(&mut self, until: Instant, turns: u32) -> Verdict {
        let clock = self.clock();
        let mut sleep = pin!(clock.sleep_until(until));
        let mut left = turns;
        loop {
            let (post, watch) = (&self.post, &self.watch);
            let processes = &mut self.processes;
            let over = poll_fn(|context| {
                post.poll(context);
                let mut ready = false;
                for process in processes.iter_mut() {
                    ready |= process.poll(context);
                }
                if ready || watch.verdict().is_err() {
                    return Poll::Ready(false);
                }
                if clock.now() < until && sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                if left == 0 {
                    return Poll::Ready(true);
                }
                left -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            });
            let over = over.await;
            self.watch.verdict()?;
            self.bury()?;
            if over {
                self.no_strange_failures()?;
                let given = self.scenario.ends().given();
                self.processes.iter().try_for_each(|p| p.memory_is_bounded(given))?;
                return Ok(());
            }
        }
    }

    /// Takes away what has died or ended.
    fn bury(&mut self) -> Verdict {
        for at in (0..self.processes.len()).rev() {
            if self.processes[at].gate.is_dead() {
                self.watch.tell("at one of its calls");
                self.kill(at);
            } else if let Some(ended) = self.processes[at].ended() {
                let process = self.processes.remove(at);
                self.judge_end(&process, ended)?;
            }
        }
        Ok(())
    }

    /// Fine weather. What sleeps wakes for a moment; then nobody is left.
    async fn settle(&mut self) -> Verdict {
        self.sky.calm();
        self.mishap.arm(u32::MAX - 1);
        self.watch.tell("fine weather");
        self.processes.iter_mut().for_each(|process| process.sleep(false));
        self.pass(ms(50)).await?;
        while !self.processes.is_empty() {
            self.kill(0);
        }
        let wrong = self.watch.seen().oracle.check_all();
        wrong.map_err(|e| format!("after all have died: {e}"))
    }

    /// A process that is let alone: it completes a checkpoint soon. Then its input ends, and it or one of those
    /// after it finishes.
    async fn finish(&mut self) -> Verdict {
        for _ in 0..20 {
            let before = self.completed();
            self.start_alone(None)?;
            // Some checkpoints, three at least where nothing is slow.
            self.pass(ms(400)).await?;
            self.come_to_rest().await?;
            self.scenario.ends().finish();
            self.die_at_the_end().await?;
            self.run_to_its_end().await?;
            if self.is_finished() {
                return Ok(());
            }
            if !self.processes.is_empty() {
                let new = self.completed() - before;
                let status = self.processes[0].status.borrow().clone();
                return Err(format!(
                    "not finished after {PATIENCE:?} of fine weather; {new} checkpoints were \
                     completed; {status:?}"
                ));
            }
        }
        Err("no process finishes".to_owned())
    }

    /// Starts a process that does not die at a call.
    fn start_alone(&mut self, roll_back: Option<CheckpointId>) -> Verdict {
        let is_there = !self.retained().is_empty();
        let start = Start {
            config: patient_settings(&mut self.random),
            mode: if is_there { StartMode::Resume } else { StartMode::Auto },
            exclusive: true,
            roll_back,
        };
        self.start(start)?;
        self.processes.iter().for_each(|process| process.gate.disarm());
        Ok(())
    }

    /// In half of the runs processes die once the input has ended: before, in and after their last checkpoint, and
    /// before its output is committed. Each has a successor, which now and then goes back to before the end.
    async fn die_at_the_end(&mut self) -> Verdict {
        let deaths = if self.random.random_bool(0.5) { self.random.random_range(1..4) } else { 0 };
        for _ in 0..deaths {
            let passages = self.random.random_range(0..80);
            self.processes.iter().for_each(|process| process.gate.arm(passages));
            if self.random.random_bool(0.5) {
                self.scenario.ends().hesitate(self.random.random_range(1..4));
            }
            let time = ms(self.random.random_range(0..400));
            self.pass(time).await?;
            if self.is_finished() {
                break;
            }
            self.crash_all();
            let retained = if self.random.random_bool(0.2) { self.retained() } else { Vec::new() };
            let roll_back = (!retained.is_empty()).then(|| one_of(&mut self.random, &retained));
            self.start_alone(roll_back)?;
        }
        Ok(())
    }

    /// Until memory is what is configured, where all that was given is read: what is on its way then still takes
    /// some, and what has changed since the oldest retained checkpoint cannot leave.
    async fn come_to_rest(&mut self) -> Verdict {
        let (begun, mut waited) = (self.clock().now(), false);
        while let Some(process) = self.processes.last() {
            let wait = self.clock().now() - begun;
            match process.has_read_all().then(|| process.memory_is_at_rest()) {
                Some(Ok(())) => break,
                Some(wrong) if wait >= PATIENCE => return wrong,
                // Some sources do not know, and some inputs are read only once they have ended.
                None if waited || wait >= ms(3000) => break,
                Some(_) => waited = true,
                None => {}
            }
            self.run_until(self.clock().now() + ms(100), 0).await?;
        }
        Ok(())
    }

    /// Until no process is left, but no longer than patience lasts.
    pub(super) async fn run_to_its_end(&mut self) -> Verdict {
        let until = self.clock().now() + PATIENCE;
        while !self.processes.is_empty() && self.clock().now() < until {
            self.run_until(self.clock().now() + ms(20), 0).await?;
        }
        Ok(())
    }

    pub(super) fn completed(&self) -> u64 {
        self.watch.seen().oracle.descent.completed
    }

    pub(super) fn is_finished(&self) -> bool {
        let seen = self.watch.seen();
        let status = seen.oracle.table.head.as_ref().map(|head| head.status);
        self.processes.is_empty() && status == Some(HeadStatus::Finished)
    }
}
