//! The task of a union: merges streams of one type into one, keeping each one's order.

use std::marker::PhantomData;

use futures::future::LocalBoxFuture;

use super::build::BuildContext;
use super::keyless::{self, Keyless};
use super::output::Consumer;
use crate::error::Result;
use crate::exchange::Inlet;

/// One subtask of a union.
#[derive(Debug)]
pub struct UnionSubtask<T>(PhantomData<T>);

impl<T: 'static> UnionSubtask<T> {
    /// Builds the task over the inlets of `edges` and makes it a future.
    ///
    /// # Errors
    /// Channel ends of another type: a bug.
    pub fn build(
        edges: &[usize],
        output: Box<dyn Consumer<T>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let mut inlets: Vec<Inlet<T>> = Vec::new();
        for edge in edges {
            inlets.append(&mut context.take_inlets::<Vec<Inlet<T>>>(*edge)?);
        }
        keyless::start(Self(PhantomData), inlets, output, context)
    }
}

impl<T: 'static> Keyless for UnionSubtask<T> {
    type In = T;
    type Out = T;

    fn batch(&mut self, batch: Vec<T>, out: &mut Vec<T>) -> Result<()> {
        *out = batch;
        Ok(())
    }
}
