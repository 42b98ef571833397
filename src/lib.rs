//! Millpond: a small stream processor whose keyed state lives in DynamoDB.

pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod connector;
pub mod dynamodb;
mod error;
pub mod exchange;
pub mod ids;
pub mod io;
mod key_group;
pub mod metrics;
pub mod operator;
pub mod points;
pub mod record;
pub mod runtime;
pub mod server;
pub mod state;
pub mod stream;
pub mod task;

pub use error::{Error, ErrorKind, Result};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism};
