//! The binary as a process: what it says, how it ends, and what is left where it is killed. These tests wait
//! more than they compute.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../dynamodb_support/mod.rs"]
mod dynamodb_support;
#[path = "../process/mod.rs"]
mod process;

mod aws_by_proxy;
mod cli;
mod docker;
mod failures_name_what_to_do;
mod jobs_are_right;
mod nobody_reads_standard_error;
mod purge_goes_on_after_sigkill;
mod remote_endpoint;
mod survives_sigkill_at_each_point;
mod table;
mod two_owners;
mod wrong_configurations;
