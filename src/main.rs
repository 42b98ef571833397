//! The `millpond` binary: the commands over the jobs of this repository.

use std::process::ExitCode;

use millpond::cli;

#[path = "../jobs/route_stats.rs"]
mod route_stats;
#[path = "../jobs/word_count.rs"]
mod word_count;

fn main() -> ExitCode {
    cli::run(&[route_stats::JOB, word_count::JOB])
}
