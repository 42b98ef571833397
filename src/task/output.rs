//! The end of a task: a fused chain and what it ends in.
//!
//! [`Consumer`] is called through a table once a batch; chain and [`Tail`] are known to the compiler, which
//! makes one loop of them. Tails are the exchange, a sink, or a fork into two more consumers.

use futures::future::{BoxFuture, LocalBoxFuture};

use crate::connector::Committable;
use crate::error::Result;
use crate::ids::Name;
use crate::operator::Chain;
use crate::record::Barrier;

/// What one sink staged for a checkpoint, once it is durable.
pub struct Staged {
    /// The sink's operator id.
    pub sink: Name,
    /// Ends when it is durable.
    pub committables: BoxFuture<'static, Result<Vec<Committable>>>,
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Staged({})", self.sink)
    }
}

/// The way out of a task.
pub trait Output {
    /// Sends what waits for a batch to fill.
    ///
    /// # Errors
    /// A sink cannot write.
    fn flush(&mut self) -> Result<()>;

    /// Whether more may be pushed without waiting.
    fn is_ready(&self) -> bool;

    /// Waits until more may be pushed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>>;

    /// Passes a barrier on, after everything that was pushed; sinks add what they stage to `staged`.
    ///
    /// # Errors
    /// As [`Output::flush`].
    fn barrier(&mut self, barrier: Barrier, staged: &mut Vec<Staged>) -> Result<()>;

    /// No more records will be pushed.
    ///
    /// # Errors
    /// As [`Output::flush`].
    fn end(&mut self) -> Result<()>;
}

/// Takes batches.
pub trait Consumer<T>: Output {
    /// Takes all records of `batch`, in order.
    ///
    /// # Errors
    /// A user function failed, a sink cannot write.
    fn push(&mut self, batch: &mut Vec<T>) -> Result<()>;
}

/// Takes what a chain gives out of a batch.
pub trait Tail<T>: Output {
    /// Takes all of `records`, in order.
    ///
    /// # Errors
    /// As [`Output::flush`].
    fn take(&mut self, records: impl Iterator<Item = T>) -> Result<()>;
}

/// A chain and its tail: one loop over each batch.
#[derive(Debug)]
pub struct Fused<C, L> {
    chain: C,
    tail: L,
}

impl<C: Chain, L: Tail<C::Out>> Fused<C, L> {
    /// Fuses `chain` and `tail`.
    pub fn new(chain: C, tail: L) -> Self {
        Self { chain, tail }
    }
}

impl<C: Chain, L: Tail<C::Out>> Consumer<C::In> for Fused<C, L> {
    fn push(&mut self, batch: &mut Vec<C::In>) -> Result<()> {
        self.tail.take(self.chain.run(batch.drain(..)))
    }
}

impl<C, L: Output> Output for Fused<C, L> {
    fn flush(&mut self) -> Result<()> {
        self.tail.flush()
    }

    fn is_ready(&self) -> bool {
        self.tail.is_ready()
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        self.tail.ready()
    }

    fn barrier(&mut self, barrier: Barrier, staged: &mut Vec<Staged>) -> Result<()> {
        self.tail.barrier(barrier, staged)
    }

    fn end(&mut self) -> Result<()> {
        self.tail.end()
    }
}
