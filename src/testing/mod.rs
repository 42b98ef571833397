//! What tests of a job need: a whole job on one thread ([`run`], [`Runner`]), or one keyed function by
//! itself ([`Harness`]).
//!
//! Part of the feature `test-kit`. Runs nothing of its own: jobs are `runtime`'s, states `state`'s. A DynamoDB
//! on a bad day is [`crate::hostile`], whole jobs under all that can go wrong are [`crate::simulation`].
//!
//! ```
//! use millpond::connector::{Generator, MemorySink};
//! use millpond::stream::StreamEnvironment;
//!
//! let env = StreamEnvironment::new();
//! let doubled = MemorySink::new();
//! env.source(Generator::new(3, |n| n)).map(|n| 2 * n).sink(doubled.clone());
//! millpond::testing::run(env.build()?)?;
//! let mut output = doubled.output();
//! output.sort();
//! assert_eq!(output, [0, 2, 4]);
//! # Ok::<(), millpond::Error>(())
//! ```

mod harness;
mod items;
mod runner;

pub use harness::Harness;
pub use runner::{Runner, paused, run};

#[cfg(test)]
mod tests;
