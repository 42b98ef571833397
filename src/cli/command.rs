//! From the process's arguments to its exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use super::args::{Cli, Command, Demo};
use super::bar::Bar;
use super::engine::Engine;
use super::exit::Exit;
use super::job::{self, Job};
use super::local::Local;
use super::run as run_command;
#[cfg(feature = "test-kit")]
use super::simulate;
use super::{demo, logging, print, table};
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use crate::points;
use crate::task::JobGraph;

/// Carries out the process's command line over `jobs`, in this process. What `main` calls.
///
/// Exit codes: 0 done, 1 failed, 2 the call or the configuration is wrong, 130 interrupted. While a job runs,
/// the process's panic hook is Millpond's.
#[must_use]
pub fn run(jobs: &[Job<JobGraph>]) -> ExitCode {
    run_with(Local, jobs)
}

/// The same, with `engine` running the jobs.
fn run_with<E: Engine>(engine: E, jobs: &[Job<E::Graph>]) -> ExitCode {
    let cli = match parse(jobs) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are "errors" of clap that go to standard output and end with 0.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let mut bar = Bar::new(cli.command.has_results_on_stdout());
    let exit = carry_out(engine, jobs, &cli, &mut bar).unwrap_or_else(|error| {
        bar.note(&format!("error: {error}"));
        Exit::of(&error)
    });
    bar.flush();
    exit.into()
}

/// Where the demos' job is missing, in a binary of a user's own, they are not listed; nor is the simulation, whose jobs
/// are the project's.
fn parse<G>(jobs: &[Job<G>]) -> std::result::Result<Cli, clap::Error> {
    let hide = !demo::are_possible(jobs);
    Cli::from_arg_matches(&listing(Cli::command(), hide).try_get_matches()?)
}

/// The commands, without those of the project's own jobs where these are to be hidden.
fn listing(command: clap::Command, hide: bool) -> clap::Command {
    let command = command.mut_subcommand("demo", |demo| demo.hide(hide));
    #[cfg(feature = "test-kit")]
    let command = command.mut_subcommand("simulate", |simulate| simulate.hide(hide));
    command
}

fn carry_out<E: Engine>(
    engine: E,
    jobs: &[Job<E::Graph>],
    cli: &Cli,
    bar: &mut Bar,
) -> Result<Exit> {
    if matches!(cli.command, Command::Run(_)) {
        *bar = bar.clone().that_never_waits()?;
    }
    let bar = &*bar;
    if !cli.command.is_simulation() || cli.verbose > 0 {
        logging::start(cli.verbose, bar)?;
    }
    points::check_environment()?;
    match &cli.command {
        Command::Run(args) => return run_command::run(engine, jobs, args, environment()?, bar),
        Command::Table(command) => return table::run(command, environment()?),
        Command::Jobs => print::result(&job::list(jobs)),
        Command::ConfigReference => print::result(config::reference().trim_end()),
        #[cfg(feature = "test-kit")]
        Command::Simulate(args) => return simulate::run(args, bar),
        Command::Demo(Demo::Recovery(args)) => {
            demo::check(jobs)?;
            return demo::recovery(args, bar);
        }
        Command::Demo(Demo::Chaos(args)) => {
            demo::check(jobs)?;
            return demo::chaos(args, bar);
        }
    }
    Ok(Exit::Done)
}

impl Command {
    fn has_results_on_stdout(&self) -> bool {
        matches!(self, Self::Run(args) if args.output.is_none())
    }

    /// What goes wrong in a simulation is no news: its warnings are wanted only where asked for.
    fn is_simulation(&self) -> bool {
        #[cfg(feature = "test-kit")]
        return matches!(self, Self::Simulate(_));
        #[cfg(not(feature = "test-kit"))]
        false
    }
}

fn environment() -> Result<Vec<(String, String)>> {
    settings(std::env::vars_os())
}

/// What of `variables` may be a setting. Those of others need not be Unicode.
fn settings(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    for (name, text) in variables {
        match (name.to_str(), text.into_string()) {
            (Some(name), Ok(text)) => settings.push((name.to_owned(), text)),
            _ if name.to_string_lossy().starts_with(config::ENV_PREFIX) => {
                // Without its value, which may be a secret.
                let message = format!(
                    "the environment variable {} is not Unicode, so it cannot be a setting: set it anew, or \
                     unset it",
                    name.display()
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
            _ => {}
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[cfg(unix)]
    fn given(name: &[u8], text: &[u8]) -> Result<Vec<(String, String)>> {
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let good = (OsString::from("MILLPOND_REST_PORT"), OsString::from("0"));
        settings([(os(name), os(text)), good].into_iter())
    }

    /// It used to be left out without a word, so a default was in its place.
    #[cfg(unix)]
    #[test]
    fn a_setting_that_is_not_unicode_is_an_error_that_names_it() {
        for (name, text) in [(&b"MILLPOND_STATE_X"[..], &b"caf\xe9"[..]), (b"MILLPOND_\xe9", b"x")]
        {
            let error = given(name, text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let said = error.to_string();
            assert!(said.contains("the environment variable MILLPOND_"), "{said}");
            assert!(said.contains("is not Unicode") && !said.contains("caf"), "{said}");
        }
        for (name, text) in [(&b"CAF\xe9"[..], &b"x"[..]), (b"OTHER", b"\xe9")] {
            let known = [("MILLPOND_REST_PORT".to_owned(), "0".to_owned())];
            assert_eq!(given(name, text).unwrap(), known);
        }
    }

    /// It used to list the simulation of the project's own jobs.
    #[test]
    fn a_binary_of_jobs_of_ones_own_lists_what_it_can_do_with_them() {
        let help = |hide| listing(Cli::command(), hide).render_help().to_string();
        let lists = |help: &str, command| {
            help.lines().any(|line| line.split_whitespace().next() == Some(command))
        };
        for command in ["demo", "simulate"] {
            assert!(lists(&help(false), command), "{command}");
            assert!(!lists(&help(true), command), "{command}");
        }
        for command in ["run", "jobs", "table"] {
            assert!(lists(&help(true), command), "{command}");
        }
    }
}
