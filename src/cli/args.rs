//! The command line's grammar.
//!
//! These types have no `Debug`: definitions may hold secrets.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::job_args::{Given, JobArgs, input};
use crate::checkpoint::rules::StartMode;
use crate::config::Sources;
use crate::connector::OnError;
use crate::error::{Error, Result};

/// A small stream processor whose keyed state lives in DynamoDB.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Log more; twice: much more. MILLPOND_LOG takes filters, such as millpond=debug.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run a job; it goes on where its last run was, unless that finished.
    Run(RunArgs),
    /// List the jobs.
    Jobs,
    /// Look at the table, make it, change it, or delete from it.
    #[command(subcommand)]
    Table(Table),
    /// Show what Millpond promises.
    #[command(subcommand)]
    Demo(Demo),
    /// Simulate jobs under faults and crashes, each seed a run of its own, and check all they leave.
    #[cfg(feature = "test-kit")]
    Simulate(super::simulate::SimulateArgs),
    /// Print the reference of all configuration keys, as Markdown.
    #[command(hide = true)]
    ConfigReference,
}

#[derive(Subcommand)]
pub(super) enum Demo {
    /// Kill a job again and again, and compare its output with an undisturbed run's.
    Recovery(RecoveryArgs),
    /// Kill, freeze and starve two candidates for one job, and compare likewise.
    Chaos(ChaosArgs),
}

#[derive(Subcommand)]
pub(super) enum Table {
    /// Say what `apply` would do; change nothing.
    Plan(TableArgs),
    /// Make the table, or change what differs from the configuration, where that says table.manage.
    Apply(TableArgs),
    /// Say what differs, and end with 1 where anything does.
    Check(TableArgs),
    /// Delete a job's state; its next run starts afresh.
    Purge(PurgeArgs),
    /// Delete the table, and with it the state of every job.
    Destroy(DestroyArgs),
    /// Print the least IAM policy that the configuration needs.
    Policy(TableArgs),
}

#[derive(Args)]
pub(super) struct TableArgs {
    /// A YAML file of settings.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A setting; may be given several times.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(super) define: Vec<String>,
    /// Whose file, where state is embedded and no path is configured.
    #[arg(long, value_name = "JOB")]
    pub(super) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl TableArgs {
    /// Where settings come from, besides `environment`.
    pub(super) fn sources(&self, environment: Vec<(String, String)>) -> Sources {
        Sources {
            file: self.config.clone(),
            environment,
            definitions: self.define.clone(),
            options: Vec::new(),
        }
    }
}

#[derive(Args)]
pub(super) struct PurgeArgs {
    /// The name of the job's state.
    pub(super) job: String,
    /// Only what former incarnations left; the job may run meanwhile.
    #[arg(long)]
    pub(super) former: bool,
    /// Take the job from a process that runs it.
    #[arg(long, conflicts_with = "former")]
    pub(super) take_over: bool,
    /// Give up output that the job's last checkpoint owes.
    #[arg(long, conflicts_with = "former")]
    pub(super) abandon_output: bool,
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) table: TableArgs,
}

#[derive(Args)]
pub(super) struct DestroyArgs {
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) table: TableArgs,
}

#[derive(Args)]
pub(super) struct RunArgs {
    /// Which job; `jobs` lists them.
    pub(super) job: String,
    /// The name of the job's state; runs of one name go on from each other. Default: the job's.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// A path or glob to read, or - for standard input; may be given several times. ID=PATH is for
    /// the source of that id alone. Default: the job's own input.
    #[arg(long, value_name = "[ID=]PATH")]
    pub(super) input: Vec<String>,
    /// A parameter of the job's own; may be given several times. Errors show it: it is no place for
    /// secrets.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub(super) set: Vec<(String, String)>,
    /// The folder to write to. Default: standard output.
    #[arg(long, value_name = "FOLDER")]
    pub(super) output: Option<PathBuf>,
    /// A YAML file of settings.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A setting; may be given several times.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub(super) define: Vec<String>,
    /// How many workers; the same as -D parallelism.default=N.
    #[arg(long, value_name = "N")]
    pub(super) parallelism: Option<String>,
    /// At most so many records a second from each source.
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: Option<u64>,
    /// What becomes of lines that cannot be read: `fail` ends the run, `skip` counts them,
    /// `dead-letter=FOLDER` writes them to files in a folder, each once, with place and reason.
    #[arg(long, value_name = "WHAT", value_parser = BadLines::parse, default_value = "fail")]
    pub(super) on_error: BadLines,
    /// Start afresh; what the last run owes is committed first.
    #[arg(long, conflicts_with = "resume")]
    pub(super) fresh: bool,
    /// With --fresh: give up output that the last run owes and that is lost.
    #[arg(long, requires = "fresh")]
    pub(super) abandon_output: bool,
    /// Go on from the last checkpoint, or fail where there is none.
    #[arg(long)]
    pub(super) resume: bool,
    /// Go back to this retained checkpoint and go on from there; those after it are given up, what they have
    /// published is not.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "fresh",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) roll_back: Option<u64>,
    /// Take the job from another process at once, without waiting for its lease.
    #[arg(long)]
    pub(super) take_over: bool,
    /// Remove what another run left in the output folder.
    #[arg(long)]
    pub(super) replace: bool,
    /// Do without the status server.
    #[arg(long)]
    pub(super) no_rest: bool,
    /// Append events as JSON lines to this file.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) events: Option<PathBuf>,
    /// Do not outlive the process that started this one (Linux).
    #[arg(long, hide = true)]
    pub(super) with_parent: bool,
}

impl RunArgs {
    pub(super) fn mode(&self) -> StartMode {
        match (self.fresh, self.resume) {
            (true, _) => StartMode::Fresh,
            (_, true) => StartMode::Resume,
            _ => StartMode::Auto,
        }
    }

    /// Where settings come from, besides `environment`.
    pub(super) fn sources(&self, environment: Vec<(String, String)>) -> Sources {
        let option = |text: &String| ("--parallelism", "parallelism.default", text.clone());
        Sources {
            file: self.config.clone(),
            environment,
            definitions: self.define.clone(),
            options: self.parallelism.iter().map(option).collect(),
        }
    }

    /// # Errors
    /// [`crate::ErrorKind::Usage`]: results and dead letters would go to one folder, or to one in the other; a
    /// parameter is given twice.
    pub(super) fn job_args(&self) -> Result<JobArgs> {
        let (on_error, dead_letters) = match &self.on_error {
            BadLines::Fail => (OnError::Fail, None),
            BadLines::Skip => (OnError::Skip, None),
            BadLines::DeadLetter(folder) => (OnError::Fail, Some(folder.clone())),
        };
        if let (Some(output), Some(aside)) = (&self.output, &dead_letters) {
            folders_are_apart(output, aside)?;
        }
        let mut set = BTreeMap::new();
        for (name, text) in &self.set {
            if set.insert(name.clone(), text.clone()).is_some() {
                return Err(Error::usage(format!("--set {name} is given twice")));
            }
        }
        Ok(JobArgs::new(Given {
            inputs: self.input.iter().map(|text| input(text)).collect(),
            output: self.output.clone(),
            rate: self.rate,
            on_error,
            dead_letters,
            set,
        }))
    }
}

/// `NAME=VALUE`.
fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), text.to_owned())),
        _ => Err("use NAME=VALUE".to_owned()),
    }
}

/// A folder that is new to a job must be empty, so neither may be in the other.
fn folders_are_apart(output: &Path, aside: &Path) -> Result<()> {
    let (real_output, real_aside) = (real(output), real(aside));
    if real_output == real_aside {
        return Err(Error::usage(format!(
            "--output and --on-error dead-letter both name {}: results and lines that cannot be \
             read need a folder each",
            aside.display()
        )));
    }
    if real_output.starts_with(&real_aside) || real_aside.starts_with(&real_output) {
        return Err(Error::usage(format!(
            "of --output {} and --on-error dead-letter={} one is in the other: results and lines that cannot \
             be read need folders beside each other",
            output.display(),
            aside.display()
        )));
    }
    Ok(())
}

/// Where a folder is or will be: it, and those above it, need not be there yet.
fn real(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = whole.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, mut real)) = there else { return whole };
    for component in whole.strip_prefix(above).into_iter().flat_map(Path::components) {
        match component {
            Component::ParentDir => drop(real.pop()),
            component => real.push(component),
        }
    }
    real
}

impl JobArgs {
    /// As if `options` stood behind `run JOB` on the command line: for tests of a job's `build`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`]: they cannot stand there.
    pub fn of<S: AsRef<str>>(options: &[S]) -> Result<Self> {
        let line = ["millpond", "run", "job"].into_iter();
        let line = line.chain(options.iter().map(AsRef::as_ref));
        match Cli::try_parse_from(line).map_err(|e| Error::usage(e.to_string()))?.command {
            Command::Run(args) => args.job_args(),
            _ => Err(Error::internal("run was read as another command")),
        }
    }
}

/// `--on-error`.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum BadLines {
    Fail,
    Skip,
    DeadLetter(PathBuf),
}

impl BadLines {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "fail" => Ok(Self::Fail),
            None if text == "skip" => Ok(Self::Skip),
            Some(("dead-letter", folder)) if !folder.is_empty() => {
                Ok(Self::DeadLetter(PathBuf::from(folder)))
            }
            _ => Err("use fail, skip or dead-letter=FOLDER".to_owned()),
        }
    }
}

#[derive(Args)]
pub(super) struct RecoveryArgs {
    /// How many times to kill it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) kills: u32,
    /// Chooses the moments.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// How many workers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) parallelism: u32,
    /// Records a second.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) rate: u64,
    /// Use this folder, new or empty, and keep it.
    #[arg(long, value_name = "FOLDER")]
    pub(super) keep: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct ChaosArgs {
    /// How long to disturb it; at least until each kind of disturbance was there once. Default: 60.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: Option<u64>,
    /// The same in minutes.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "seconds",
        value_parser = clap::value_parser!(u64).range(1..=1440)
    )]
    pub(super) minutes: Option<u64>,
    /// So many disturbances, however long they take.
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["seconds", "minutes"],
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub(super) rounds: Option<u32>,
    /// Chooses the disturbances and their moments.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// How many workers each candidate has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) parallelism: u32,
    /// Records a second.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub(super) rate: u64,
    /// Use this folder, new or empty, and keep it.
    #[arg(long, value_name = "FOLDER")]
    pub(super) keep: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_full_run_is_understood() {
        let line = "millpond run routes --name a --input x --input y --output out --config c.yaml \
                    -D rest.port=0 -Drest.bind-address=::1 --parallelism 2 --fresh --take-over \
                    --replace --no-rest -vv";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(cli.verbose, 2);
        let Command::Run(args) = cli.command else { panic!("not run") };
        assert_eq!(args.mode(), StartMode::Fresh);
        assert_eq!(args.input, ["x", "y"]);
        let sources = args.sources(Vec::new());
        assert_eq!(sources.definitions, ["rest.port=0", "rest.bind-address=::1"]);
        assert_eq!(sources.options[0].2, "2");
    }

    #[test]
    fn bad_lines_fail_are_skipped_or_have_a_folder_of_their_own() {
        let run = |more: &[&str]| {
            let cli = Cli::try_parse_from([&["millpond", "run", "x"], more].concat());
            match cli.map_err(|e| e.to_string())?.command {
                Command::Run(args) => args.job_args().map_err(|e| e.to_string()),
                _ => panic!("not run"),
            }
        };
        assert_eq!(run(&[]).unwrap(), JobArgs::default());
        let skip = run(&["--on-error", "skip"]).unwrap();
        assert_eq!((skip.on_error(), skip.dead_letters()), (OnError::Skip, None));
        let aside = run(&["--on-error", "dead-letter=a=b"]).unwrap();
        assert_eq!(aside.dead_letters(), Some(Path::new("a=b")));
        for wrong in ["", "ski", "dead-letter", "dead-letter=", "skip=x"] {
            let error = run(&["--on-error", wrong]).unwrap_err();
            assert!(error.contains("use fail, skip or dead-letter=FOLDER"), "{error}");
        }
        let error = run(&["--output", "out", "--on-error", "dead-letter=./out"]).unwrap_err();
        assert!(error.contains("both name ./out"), "{error}");
    }

    /// They used to be refused after the claim, since the one was not empty, or vanished.
    #[test]
    fn a_folder_in_the_other_is_refused_though_neither_is_there() {
        let there = tempfile::tempdir().unwrap();
        let within = |rest: &str| format!("{}/{rest}", there.path().display());
        let run = |output: &str, aside: &str| {
            let (output, aside) = (within(output), within(aside));
            JobArgs::of(&["--output", &output, "--on-error", &format!("dead-letter={aside}")])
        };
        for (output, aside) in
            [("out", "out/bad"), ("bad/out", "bad"), ("out", "none/../out/bad"), ("", "bad")]
        {
            let error = run(output, aside).unwrap_err().to_string();
            assert!(error.contains("one is in the other"), "{output}, {aside}: {error}");
        }
        for (output, aside) in [("out", "out-bad"), ("a/out", "a/bad"), ("out", "out/../bad")] {
            run(output, aside).unwrap();
        }
        assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_parameter_has_a_name_and_is_given_once() {
        for (options, wrong) in [
            (&["--set", "n"][..], "use NAME=VALUE"),
            (&["--set", "=1"], "use NAME=VALUE"),
            (&["--set", "n=1", "--set", "n=2"], "--set n is given twice"),
        ] {
            let error = JobArgs::of(options).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Usage);
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn fresh_and_resume_exclude_each_other() {
        assert!(Cli::try_parse_from(["millpond", "run", "x", "--fresh", "--resume"]).is_err());
    }
}
