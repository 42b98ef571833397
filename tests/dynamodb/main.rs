//! DynamoDB as the engine uses it: the embedded one, behind scripts and hostile wrappers, and the twins in memory
//! that are held to the same contracts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test may")]

#[path = "../dynamodb_support/mod.rs"]
mod dynamodb_support;

mod contract_embedded;
mod contract_hostile;
mod contract_memory;
mod dynamodb_faults;
mod dynamodb_file;
mod dynamodb_large;
mod dynamodb_parts;
mod first_looks_at_a_table;
mod former_incarnations;
mod hostile;
mod keyed_builder;
mod looks_from_outside;
mod pressure;
mod table_on_aws;
mod tap;
