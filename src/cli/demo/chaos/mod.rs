//! `demo chaos`: two processes want one job, and everything happens to them.
//!
//! ```text
//! undisturbed run ──► its output
//! two candidates ─► one at work ─► random moment ─► disturbance ─► did it hit? ─┐
//!                        ▲                                                      │ again and again
//!                        └───────── whoever has ended is started again ◄────────┘
//! kill both ─► one more to the end ─► its output ─► equal?
//! ```
//!
//! `plan` draws the disturbances, `rounds` carries them out on the `world`: the served DynamoDB
//! (`endpoint`), two processes (`candidate`) over an input of its own (`flights`). `report` is the
//! table and the verdict. The seed chooses what is done and when; what it meets is the machine's.

mod candidate;
mod endpoint;
mod flights;
mod plan;
mod report;
mod rounds;
mod world;

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;

use super::super::args::ChaosArgs;
use super::super::bar::Bar;
use super::super::exit::Exit;
use super::super::{print, signals};
use super::child::{Child, Options};
use super::folder::Folder;
use super::output::{Comparison, lines};
use super::recovery::JOB;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use candidate::End;
use endpoint::Endpoint;
use plan::{Kind, Plan};
use report::{Row, heading, missing, objections, verdict};
use world::{Job, PATIENCE, World};

/// Short, so that each attempt completes some.
const INTERVAL: &str = "execution.checkpointing.interval=100 ms";
/// Short, so that a candidate soon takes over.
const LEASE: &str = "high-availability.lease=1 s";
/// Less than the statistics of all routes take: items are written, leave memory and are read again.
const LOG: &str = "state.backend.dynamodb.log-max-size=64 KiB";
const CACHE: &str = "state.backend.dynamodb.cache-size=1 MiB";
/// What the disturbances of each kind once may take at most, beside `--seconds`; and one round.
const EACH_KIND: Duration = Duration::from_secs(60);
const ROUND: Duration = Duration::from_secs(10);
/// How many more disturbances are drawn for those of a kind that never hit.
const EXTRA: usize = 24;
/// Of the input's records, the share after which no more disturbances begin.
const SHARE: f64 = 0.9;

/// Disturbs the job as `args` says, and shows what came of it.
///
/// # Errors
/// Where a child cannot be started, or ends as it should not. That outputs differ, or that a
/// disturbance never hit, is no error but [`Exit::Failed`].
pub(in crate::cli) fn chaos(args: &ChaosArgs, bar: &Bar) -> Result<Exit> {
    let mut folder = Folder::new(args.keep.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start: {e}")))?;
    let demo = Chaos { args, bar, folder: &folder, clock: Clock::system() };
    let shown = runtime.block_on(async {
        let mut signals = std::pin::pin!(signals::stream()?);
        tokio::select! {
            shown = demo.run() => shown,
            // What is dropped with the demo is killed, also where it stands still.
            _ = signals.next() => Ok(Exit::Interrupted),
        }
    });
    bar.clear();
    if !matches!(shown, Ok(Exit::Done)) || args.keep.is_some() {
        print::note(&format!("files are kept in {}", folder.keep().display()));
    }
    shown
}

struct Chaos<'a> {
    args: &'a ChaosArgs,
    bar: &'a Bar,
    folder: &'a Folder,
    clock: Clock,
}

impl Chaos<'_> {
    async fn run(&self) -> Result<Exit> {
        let ChaosArgs { seed, parallelism, rate, .. } = *self.args;
        let records = records(self.args);
        print::note(&format!(
            "{JOB}: two candidates at {rate} records/s, parallelism {parallelism}, a checkpoint every \
             100 ms, a lease of 1 s, seed {seed}"
        ));
        flights::write(&self.folder.join("input"), records, seed)?;
        self.undisturbed().await?;
        let endpoint = Endpoint::start(self.folder.join("chaos.db"), self.clock).await?;
        let url = endpoint.url();
        let mut arguments = self.arguments("disturbed");
        arguments.push(format!("-Dstate.backend.dynamodb.endpoint={url}"));
        let job = Job { arguments, rate, records };
        let mut world = World::new(self.folder, self.clock, endpoint, job)?;
        let rows = self.rounds(&mut world).await?;
        self.bar.show("running to the end".to_owned());
        to_the_end(&mut world).await?;
        let output = Comparison::of(
            &lines(&self.folder.join("undisturbed"))?,
            &lines(&self.folder.join("disturbed"))?,
        );
        let objections = objections(&rows, &world.totals, &output);
        print::result(&verdict(&rows, &world.totals, &output, &objections));
        Ok(if objections.is_empty() { Exit::Done } else { Exit::Failed })
    }

    /// Runs the job in peace, as fast as it can.
    async fn undisturbed(&self) -> Result<()> {
        self.bar.show("undisturbed run".to_owned());
        let mut arguments = self.arguments("undisturbed");
        let state = self.folder.join("undisturbed.db");
        arguments.push(format!("-Dstate.backend.dynamodb.local-db-path={}", state.display()));
        let (events, log) =
            (self.folder.join("undisturbed.events"), self.folder.join("undisturbed.log"));
        let mut child = Child::start(Options { arguments, events: &events, log: &log })?;
        child.until_done(&self.clock, PATIENCE * 10).await
    }

    /// Disturbance after disturbance, each a line of the table as soon as the job is at work again.
    async fn rounds(&self, world: &mut World<'_>) -> Result<Vec<Row>> {
        let began = self.clock.now();
        let (mut rows, mut extra) = (Vec::new(), 0);
        let mut owner = world.until_at_work().await?;
        self.bar.suspend(|| print::result(&heading()));
        for (round, disturbance) in Plan::new(self.args.seed).enumerate() {
            // What missed, such as a zombie that noticed before it wrote, is tried again.
            if self.is_enough(round, self.clock.now() - began) {
                let missing = missing(&rows);
                extra += 1;
                if missing.is_empty() || extra > EXTRA {
                    break;
                }
                if !missing.contains(&disturbance.kind) {
                    continue;
                }
            }
            if world.position() as f64 > SHARE * world.job.records as f64 {
                world.totals.too_short = true;
                break;
            }
            self.bar.show(disturbance.kind.name().to_owned());
            let at = self.clock.now() - began;
            let hit = world.disturb(disturbance, owner).await?;
            let done = self.clock.now();
            owner = world.until_at_work().await?;
            let row = Row {
                at,
                kind: disturbance.kind,
                hit,
                again: self.clock.now() - done,
                attempt: world.newest(),
                position: world.position(),
            };
            self.bar.suspend(|| print::result(&row.line()));
            rows.push(row);
        }
        Ok(rows)
    }

    fn is_enough(&self, round: usize, passed: Duration) -> bool {
        match self.args.rounds {
            Some(rounds) => round >= rounds as usize,
            None => passed >= duration(self.args) && round >= Kind::ALL.len(),
        }
    }

    /// The job under `name`, which also names its output. Where its state is comes with it.
    fn arguments(&self, name: &str) -> Vec<String> {
        let input = self.folder.join("input").join("*.csv");
        arguments(name, &input, &self.folder.join(name), self.args.parallelism)
    }
}

/// A last SIGKILL to both, and one more that finishes.
async fn to_the_end(world: &mut World<'_>) -> Result<()> {
    for candidate in &mut world.candidates {
        candidate.kill()?;
    }
    world.look().await?;
    world.candidates.clear();
    let last = world.start(false)?;
    world.candidates.push(last);
    let ended = |world: &World<'_>| Ok(world.candidates[0].end.is_some());
    world.look_until(PATIENCE * 10, ended).await?;
    let last = &world.candidates[0];
    match &last.end {
        Some(End::Done) if last.facts.finished => Ok(()),
        Some(End::Failed(why)) => Err(Error::new(ErrorKind::Internal, why.clone())),
        end => {
            let said = last.said();
            Err(Error::internal(format!("the last candidate did not finish: {end:?}\n{said}")))
        }
    }
}

fn duration(args: &ChaosArgs) -> Duration {
    let minutes = args.minutes.map(|minutes| minutes * 60);
    Duration::from_secs(args.seconds.or(minutes).unwrap_or(60))
}

/// So many that the input does not end before the disturbances do.
fn records(args: &ChaosArgs) -> u64 {
    let lasts = args.rounds.map_or_else(|| duration(args), |rounds| ROUND * rounds) + EACH_KIND;
    (lasts.as_secs_f64() * args.rate as f64 / SHARE) as u64
}

fn arguments(name: &str, input: &Path, output: &Path, parallelism: u32) -> Vec<String> {
    vec![
        "run".to_owned(),
        JOB.to_owned(),
        "--no-rest".to_owned(),
        format!("--name={name}"),
        format!("--input={}", input.display()),
        format!("--output={}", output.display()),
        format!("--parallelism={parallelism}"),
        format!("-D{INTERVAL}"),
        format!("-D{LEASE}"),
        format!("-D{LOG}"),
        format!("-D{CACHE}"),
        "-Drestart-strategy.exponential-delay.initial-backoff=200 ms".to_owned(),
        "-Drestart-strategy.exponential-delay.max-backoff=1 s".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::args::{Cli, Command, Demo};
    use super::*;
    use crate::config;

    fn args(line: &str) -> ChaosArgs {
        let line = format!("millpond demo chaos {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{e}"));
        let Command::Demo(Demo::Chaos(args)) = cli.command else { panic!("not chaos") };
        args
    }

    #[test]
    fn the_childs_command_line_means_what_the_demo_says() {
        let arguments = arguments("disturbed", Path::new("i/*.csv"), Path::new("o"), 4);
        let line = std::iter::once("millpond".to_owned()).chain(arguments);
        let cli = Cli::try_parse_from(line).unwrap_or_else(|e| panic!("{e}"));
        let Command::Run(run) = cli.command else { panic!("not run") };
        let config = config::load(&run.sources(Vec::new())).unwrap();
        assert_eq!(config.parallelism, 4);
        assert_eq!(config.checkpointing.interval, Duration::from_millis(100));
        assert_eq!(config.state.log_max_bytes, 64 << 10);
        assert_eq!(run.input, ["i/*.csv"]);
    }

    #[test]
    fn the_input_is_longer_than_the_disturbances() {
        for (line, seconds) in
            [("", 60), ("--seconds 7", 7), ("--minutes 3", 180), ("--rounds 4", 40)]
        {
            let args = args(line);
            assert!(records(&args) as f64 * SHARE >= (seconds * args.rate) as f64, "{line}");
        }
        assert_eq!(duration(&args("--minutes 2")), Duration::from_secs(120));
    }
}
