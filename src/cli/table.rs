//! `table`: the table looked at, made, changed and emptied, from arguments to the exit code.
//!
//! Owns what is asked and printed. What differs and what may be done is `dynamodb`'s; what of a job is
//! deleted, `runtime`'s.

mod show;

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use serde_json::json;

use super::args::{DestroyArgs, PurgeArgs, Table as Command, TableArgs};
use super::exit::Exit;
use super::{print, text};
use crate::clock::Clock;
use crate::config::{self, Config, Location};
use crate::dynamodb::{self, Connection, Execution, Options, Plan};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::runtime::{self, Backend, DynamoDbStateBackend, PurgeOptions, Purged, system_seed};

/// How long a server may be silent: a person is waiting, where a job would.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries out one of the commands.
///
/// # Errors
/// What was wrong with the call, or what the server refused.
pub(super) fn run(command: &Command, environment: Vec<(String, String)>) -> Result<Exit> {
    let (args, job) = match command {
        Command::Plan(args)
        | Command::Apply(args)
        | Command::Check(args)
        | Command::Policy(args) => (args, None),
        Command::Purge(PurgeArgs { table, job, .. }) => (table, Some(job.as_str())),
        Command::Destroy(DestroyArgs { table, .. }) => (table, None),
    };
    let config = config::load(&args.sources(environment))?;
    if matches!(command, Command::Policy(_)) {
        print::result(&format!("{:#}", dynamodb::policy(&config.store)));
        return Ok(Exit::Done);
    }
    let name = whose(args, job, &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start: {e}")))?;
    runtime.block_on(async {
        let connection = reach(&config, &name).await?;
        match command {
            Command::Plan(_) => plan(&connection, args.json).await,
            Command::Check(_) => check(&connection, args.json).await,
            Command::Apply(_) => apply(&connection, args.json).await,
            Command::Destroy(destroy) => self::destroy(&connection, destroy).await,
            Command::Purge(purge) => self::purge(connection, &config, &name, purge).await,
            Command::Policy(_) => Ok(Exit::Done),
        }
    })
}

/// The job that is meant, or whose file the table is in.
fn whose(args: &TableArgs, job: Option<&str>, config: &Config) -> Result<Name> {
    if let Some(name) = job.or(args.name.as_deref()) {
        return Name::new(name);
    }
    if config.store.location == Location::EmbeddedFile(None) {
        return Err(Error::usage(
            "without aws.region, an endpoint or a local-db-path each job has a file of its own; say \
             whose with --name JOB",
        ));
    }
    Name::new("table")
}

async fn reach(config: &Config, job: &Name) -> Result<Connection> {
    let clock = Clock::system();
    let (settings, execution) = (&config.store, Execution::Inline);
    Connection::reach(Options { settings, job, clock, seed: 0, execution, wrap: None }).await
}

/// The table as it is beside the configuration, or that the server is silent.
async fn look(connection: &Connection) -> Result<Plan> {
    connection.table().look(PATIENCE).await
}

async fn plan(connection: &Connection, json: bool) -> Result<Exit> {
    let plan = look(connection).await?;
    tell(&plan, json, &show::plan(&plan))?;
    Ok(Exit::Done)
}

async fn check(connection: &Connection, json: bool) -> Result<Exit> {
    let plan = look(connection).await?;
    tell(&plan, json, &show::check(&plan))?;
    let fits = plan.exists && plan.differences.is_empty();
    Ok(if fits { Exit::Done } else { Exit::Failed })
}

async fn apply(connection: &Connection, json: bool) -> Result<Exit> {
    let before = look(connection).await?;
    let after = connection.table().apply().await?;
    tell(&after, json, &show::applied(&before, &after))?;
    Ok(if after.has_changes() { Exit::Failed } else { Exit::Done })
}

async fn destroy(connection: &Connection, args: &DestroyArgs) -> Result<Exit> {
    let plan = look(connection).await?;
    let shown = |deleted: bool| json!({ "table": plan.table, "deleted": deleted });
    if !plan.exists {
        nothing_done(args.table.json, &shown(false), &format!("{} is not there", plan.table));
        return Ok(Exit::Done);
    }
    let what = format!(
        "This deletes {} with the state of every job in it: {} items, {} (as DynamoDB last counted).",
        plan.table,
        text::grouped(plan.items),
        text::bytes(plan.bytes),
    );
    if !agreed(&what, args.yes)? {
        nothing_done(args.table.json, &shown(false), UNCHANGED);
        return Ok(Exit::Failed);
    }
    connection.table().destroy().await?;
    print_done(args.table.json, &shown(true), || format!("{} is deleted", plan.table));
    Ok(Exit::Done)
}

async fn purge(
    connection: Connection,
    config: &Config,
    job: &Name,
    args: &PurgeArgs,
) -> Result<Exit> {
    let plan = look(&connection).await?;
    if !plan.is_usable() {
        let reason = if plan.exists { plan.obstacles() } else { "it is not there".to_owned() };
        return Err(Error::usage(format!("{} has no job {job}: {reason}", plan.table)));
    }
    let what = if args.former {
        format!("This deletes what former incarnations of job {job} left in {}.", plan.table)
    } else {
        format!("This deletes the state of job {job} in {}.", plan.table)
    };
    let shown = |purged: Purged, write_units: f64| {
        json!({
            "job": job.to_string(),
            "incarnations": purged.incarnations,
            "items": purged.items,
            "write-units": write_units,
        })
    };
    if !agreed(&what, args.yes)? {
        nothing_done(args.table.json, &shown(Purged::default(), 0.0), UNCHANGED);
        return Ok(Exit::Failed);
    }
    let backend = DynamoDbStateBackend::new(connection, config.state.tombstone_retention);
    let options = PurgeOptions {
        former_only: args.former,
        take_over: args.take_over,
        abandon_output: args.abandon_output,
    };
    let purged = runtime::purge(&backend, job, options, Clock::system(), system_seed()?).await?;
    let written = backend.consumed().write.total();
    print_done(args.table.json, &shown(purged, written), || {
        format!(
            "{} items of {} incarnations of job {job} are deleted; write units: {written:.1}",
            text::grouped(purged.items),
            purged.incarnations
        )
    });
    backend.into_connection().close().await?;
    Ok(Exit::Done)
}

/// Whether the user wants it: `--yes`, or the word itself.
fn agreed(what: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Error::usage(format!("{what} Nobody can be asked here: give --yes")));
    }
    print::note(&format!("{what}\nThere is no way back. Type yes to go on:"));
    let mut answer = String::new();
    input
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot read the answer: {e}")))?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

const UNCHANGED: &str = "nothing is changed";

/// The result of a command that had nothing to do, or may not; without `--json` that is a note, and no result.
fn nothing_done(json: bool, shown: &serde_json::Value, note: &str) {
    if json {
        print::result(&format!("{shown:#}"));
    } else {
        print::note(note);
    }
}

fn tell(plan: &Plan, json: bool, text: &str) -> Result<()> {
    if !json {
        print::result(text);
        return Ok(());
    }
    let shown = serde_json::to_string_pretty(plan)
        .map_err(|e| Error::internal(format!("a plan cannot be written as JSON: {e}")))?;
    print::result(&shown);
    Ok(())
}

fn print_done(json: bool, shown: &serde_json::Value, text: impl FnOnce() -> String) {
    print::result(&if json { format!("{shown:#}") } else { text() });
}
