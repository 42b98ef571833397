//! The engine as jobs meet it: whole jobs in the test's process, nearly all of them on one thread with a paused
//! clock.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

#[path = "../dynamodb_support/mod.rs"]
mod dynamodb_support;
#[path = "../engine_support/mod.rs"]
mod engine_support;

mod bill;
mod changed_types;
mod checkpoints;
mod cleaning;
mod crashes;
mod errors_of_functions;
mod evolving;
mod expiry;
mod failures;
mod functions;
mod hostile_jobs;
mod large_values;
mod larger_than_memory;
mod one_thread;
mod operator_state;
mod panics_off_workers;
mod rescaling;
mod slow_restore;
mod streams;
mod unreadable_types;
mod wrong_calls_leave_no_trace;
