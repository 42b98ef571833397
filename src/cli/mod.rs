//! The commands: `run`, `jobs`, `table`, `demo recovery`, `demo chaos`, `simulate`. [`run`] gives a user's
//! own binary the same ones.
//!
//! Owns arguments, signals, exit codes and everything that is printed. The status of a job comes
//! from a watch; what runs the job stands behind `engine::Engine`, so that all of this is tested
//! without one.

mod args;
mod bar;
mod command;
mod demo;
mod engine;
mod events;
mod exit;
mod job;
mod job_args;
mod local;
mod logging;
mod print;
mod printer;
mod run;
mod signals;
#[cfg(feature = "test-kit")]
mod simulate;
mod table;
mod text;

pub use command::run;
pub use job::Job;
pub use job_args::JobArgs;
