//! The flow of `demo recovery`.
//!
//! ```text
//! undisturbed run ──► its output, how many records
//! start ─► running ─► random moment ─► SIGKILL ─┐
//!   ▲                                           │ as often as --kills says
//!   └───────────────────────────────────────────┘
//! start ─► to the end ─► its output ─► equal?
//! ```

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;

use super::super::args::RecoveryArgs;
use super::super::bar::Bar;
use super::super::events::Event;
use super::super::exit::Exit;
use super::super::{print, signals};
use super::child::{Child, Options};
use super::folder::Folder;
use super::output::{Comparison, lines};
use super::plan;
use super::report::{Attempt, objections, table, verdict};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// The job that is killed.
pub(in crate::cli) const JOB: &str = "route_stats";

/// How long a start, or what a run takes beyond its records, may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between checkpoints: short, so that each attempt completes some.
const INTERVAL: Duration = Duration::from_millis(100);

/// Kills the job as often as `args` says, and shows what came of it.
///
/// # Errors
/// Where a child cannot be started, or ends otherwise than by being killed. That outputs differ is
/// no error but [`Exit::Failed`], and a signal is [`Exit::Interrupted`].
pub(in crate::cli) fn recovery(args: &RecoveryArgs, bar: &Bar) -> Result<Exit> {
    let mut folder = Folder::new(args.keep.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start: {e}")))?;
    let demo = Recovery { args, bar, folder: &folder, clock: Clock::system() };
    let shown = runtime.block_on(async {
        let mut signals = pin!(signals::stream()?);
        // A signal that ended this process would leave the child and the folder behind.
        tokio::select! {
            shown = demo.run() => shown,
            Some(()) = signals.next() => Ok(Exit::Interrupted),
        }
    });
    bar.clear();
    let of_no_use = match &shown {
        Ok(exit) => matches!(exit, Exit::Done | Exit::Interrupted),
        Err(error) => error.kind() == ErrorKind::Usage,
    };
    if !of_no_use || args.keep.is_some() {
        print::note(&format!("files are kept in {}", folder.keep().display()));
    }
    shown
}

struct Recovery<'a> {
    args: &'a RecoveryArgs,
    bar: &'a Bar,
    folder: &'a Folder,
    clock: Clock,
}

impl Recovery<'_> {
    async fn run(&self) -> Result<Exit> {
        let RecoveryArgs { kills, seed, parallelism, rate, .. } = *self.args;
        print::note(&format!(
            "{JOB} at {rate} records/s, parallelism {parallelism}, a checkpoint every {INTERVAL:?}, \
             {kills} kills, seed {seed}"
        ));
        let records = self.undisturbed().await?;
        plan::check(kills, records, rate, INTERVAL)?;
        let mut attempts = Vec::new();
        for (index, delay) in plan::delays(seed, kills, records, rate).into_iter().enumerate() {
            self.bar.show(format!("kill {} of {kills}", index + 1));
            attempts.push(self.killed_after(index, delay).await?);
        }
        self.bar.show("running to the end".to_owned());
        attempts.push(self.to_the_end(attempts.len(), records).await?);
        let output = Comparison::of(
            &lines(&self.folder.join("undisturbed"))?,
            &lines(&self.folder.join("killed"))?,
        );
        let objections = objections(&attempts, kills as usize, &output);
        print::result(&table(&attempts));
        print::result(&verdict(&attempts, &output, &objections));
        Ok(if objections.is_empty() { Exit::Done } else { Exit::Failed })
    }

    /// Runs the job in peace; how many records it read.
    async fn undisturbed(&self) -> Result<u64> {
        self.bar.show("undisturbed run".to_owned());
        let mut child = self.start("undisturbed", "undisturbed", None)?;
        child.until_done(&self.clock, PATIENCE * 5).await?;
        let ended = child.events().into_iter().rev().find_map(|line| match line.event {
            Event::Ended { position, .. } => Some(position),
            Event::Running { .. }
            | Event::FirstRecord { .. }
            | Event::Checkpoint { .. }
            | Event::Restarting { .. }
            | Event::Progress { .. } => None,
        });
        ended.ok_or_else(|| Error::internal("the undisturbed run told no end"))
    }

    async fn killed_after(&self, index: usize, delay: Duration) -> Result<Attempt> {
        let mut child =
            self.start("killed", &format!("attempt-{}", index + 1), Some(self.args.rate))?;
        child.until_running(&self.clock, PATIENCE).await?;
        self.clock.sleep(delay).await;
        let killed = child.kill()?;
        Ok(Attempt::of(&child.events(), killed))
    }

    async fn to_the_end(&self, index: usize, records: u64) -> Result<Attempt> {
        let mut child =
            self.start("killed", &format!("attempt-{}", index + 1), Some(self.args.rate))?;
        let at_rate = Duration::from_secs_f64(records as f64 / self.args.rate as f64);
        child.until_done(&self.clock, PATIENCE + at_rate * 4).await?;
        Ok(Attempt::of(&child.events(), false))
    }

    /// Starts the job under `name`, which also names its output and its state.
    fn start(&self, name: &str, log: &str, rate: Option<u64>) -> Result<Child> {
        let events = self.folder.join(&format!("{log}.events"));
        Child::start(Options {
            arguments: arguments(
                name,
                &self.folder.join(name),
                &self.folder.join(&format!("{name}.db")),
                self.args.parallelism,
                rate,
            ),
            events: &events,
            log: &self.folder.join(&format!("{log}.log")),
        })
    }
}

fn arguments(
    name: &str,
    output: &Path,
    state: &Path,
    parallelism: u32,
    rate: Option<u64>,
) -> Vec<String> {
    let mut arguments: Vec<String> = vec![
        "run".to_owned(),
        JOB.to_owned(),
        "--no-rest".to_owned(),
        format!("--name={name}"),
        format!("--output={}", output.display()),
        format!("--parallelism={parallelism}"),
        format!("-Dexecution.checkpointing.interval={} ms", INTERVAL.as_millis()),
        format!("-Dstate.backend.dynamodb.local-db-path={}", state.display()),
        // A second attempt in the process would hide what the first one failed with.
        "-Drestart-strategy.type=none".to_owned(),
    ];
    arguments.extend(rate.map(|rate| format!("--rate={rate}")));
    arguments
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::args::{Cli, Command};
    use super::*;
    use crate::config::{self, Location};

    #[test]
    fn the_childs_command_line_means_what_the_demo_says() {
        let arguments = arguments("killed", Path::new("o"), Path::new("s.db"), 4, Some(2_000));
        let line = std::iter::once("millpond".to_owned()).chain(arguments);
        let cli = Cli::try_parse_from(line).unwrap_or_else(|e| panic!("{e}"));
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!((run.job.as_str(), run.rate, run.no_rest), (JOB, Some(2_000), true));
        let config = config::load(&run.sources(Vec::new())).unwrap();
        assert_eq!(config.parallelism, 4);
        assert_eq!(config.checkpointing.interval, INTERVAL);
        assert_eq!(config.restart, config::RestartStrategy::None);
        assert_eq!(config.store.location, Location::EmbeddedFile(Some("s.db".into())));
    }
}
