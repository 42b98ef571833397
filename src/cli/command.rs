//! From the process's arguments to its exit code.

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
use crate::error::Result;
use crate::points;
use crate::task::JobGraph;

/// Carries out the process's command line over `jobs`, in this process. What `main` calls.
///
/// Exit codes: 0 done, 1 failed, 2 the call or the configuration is wrong, 130 interrupted.
#[must_use]
pub fn run(jobs: &[Job<JobGraph>]) -> ExitCode {
    run_with(Local, jobs)
}

/// Carries out the process's command line over `jobs`, with `engine` running them.
///
/// Exit codes: 0 done, 1 failed, 2 the call or the configuration is wrong, 130 interrupted.
pub fn run_with<E: Engine>(engine: E, jobs: &[Job<E::Graph>]) -> ExitCode {
    let cli = match parse(jobs) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are "errors" of clap that go to standard output and end with 0.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let exit = carry_out(engine, jobs, &cli).unwrap_or_else(|error| {
        print::note(&format!("error: {error}"));
        Exit::of(&error)
    });
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

fn carry_out<E: Engine>(engine: E, jobs: &[Job<E::Graph>], cli: &Cli) -> Result<Exit> {
    let results_on_stdout = matches!(&cli.command, Command::Run(args) if args.output.is_none());
    let bar = Bar::new(results_on_stdout);
    if !cli.command.is_simulation() || cli.verbose > 0 {
        logging::start(cli.verbose, &bar)?;
    }
    points::check_environment()?;
    match &cli.command {
        Command::Run(args) => return run_command::run(engine, jobs, args, environment(), &bar),
        Command::Table(command) => return table::run(command, environment()),
        Command::Jobs => print::result(&job::list(jobs)),
        Command::ConfigReference => print::result(config::reference().trim_end()),
        #[cfg(feature = "test-kit")]
        Command::Simulate(args) => return simulate::run(args, &bar),
        Command::Demo(Demo::Recovery(args)) => {
            demo::check(jobs)?;
            return demo::recovery(args, &bar);
        }
        Command::Demo(Demo::Chaos(args)) => {
            demo::check(jobs)?;
            return demo::chaos(args, &bar);
        }
    }
    Ok(Exit::Done)
}

impl Command {
    /// What goes wrong in a simulation is no news: its warnings are wanted only where asked for.
    fn is_simulation(&self) -> bool {
        #[cfg(feature = "test-kit")]
        return matches!(self, Self::Simulate(_));
        #[cfg(not(feature = "test-kit"))]
        false
    }
}

/// Variables that are not Unicode cannot be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
