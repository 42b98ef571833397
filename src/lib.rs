//! Millpond: a small stream processor whose keyed state lives in DynamoDB.
//!
//! The shortest job: numbers, summed by their last digit.
//!
//! ```
//! use millpond::connector::{Generator, MemorySink};
//! use millpond::stream::StreamEnvironment;
//!
//! let env = StreamEnvironment::new();
//! let sums = MemorySink::new();
//! env.source(Generator::new(100, |n| n))
//!     .key_by(|n| n % 10)
//!     .reduce(|sum, n| sum + n)
//!     .sink(sums.clone());
//! let graph = env.build()?;
//! # millpond::testing::run(graph)?;
//! # assert_eq!(sums.output().len(), 100);
//! # Ok::<(), millpond::Error>(())
//! ```
//!
//! [`stream`] is where graphs are drawn, [`operator::KeyedProcess`] what keyed functions implement,
//! [`connector`] what they read and write. [`cli::run`] makes a whole program of jobs, [`runtime::execute`] runs one within
//! a program. `docs/guide.md` goes through all of it.
//!
//! # What is kept between versions
//!
//! These modules are the API, and follow semantic versioning: [`cli`], [`codec`], [`config`], [`connector`], [`ids`],
//! [`metrics`], [`operator`], [`stream`]; [`clock::Clock`], [`io::Io`], [`record::Batch`] and [`record::Origin`], which
//! sources, sinks and tests use; of [`state`] descriptors, handles and what functions do with them; of [`runtime`]
//! backends, [`runtime::KeyedStateBackend`] and its builder, and how a job is run ([`runtime::execute`], [`runtime::run`]); with
//! the feature `test-kit`, `hostile`, `simulation` and `testing`; and what stands here at the root. All else is the engine, as
//! is what these pages do not show of those modules. It is public for its own tests and programs: it may change in any
//! release, and where it is shown that is because the API's types name it.

pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod connector;
#[doc(hidden)]
pub mod cost_control;
mod disk;
pub mod dynamodb;
mod error;
#[doc(hidden)]
pub mod exchange;
#[cfg(test)]
mod fuzzing;
mod handover;
#[cfg(feature = "test-kit")]
pub mod hostile;
pub mod ids;
pub mod io;
mod key_group;
pub mod metrics;
pub mod operator;
#[doc(hidden)]
pub mod points;
pub mod record;
pub mod runtime;
#[doc(hidden)]
pub mod server;
#[cfg(feature = "test-kit")]
pub mod simulation;
mod splitmix;
pub mod state;
pub mod stream;
mod sync;
#[doc(hidden)]
pub mod task;
#[doc(hidden)]
pub mod teeth;
#[cfg(feature = "test-kit")]
pub mod testing;

pub use error::{Error, ErrorKind, Result};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism};

/// The README's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}

/// The guide's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

/// The code of the page on testing.
#[cfg(doctest)]
#[doc = include_str!("../docs/testing.md")]
pub mod testing_page {}
