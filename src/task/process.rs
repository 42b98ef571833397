//! The task of an operator without keys: runs the user's function over what its worker reads, and saves the
//! operator state of its subtask.

use futures::future::LocalBoxFuture;

use super::build::BuildContext;
use super::keyless::{self, Keyless};
use super::output::Consumer;
use crate::checkpoint::SubtaskSnapshot;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::exchange::Inlet;
use crate::operator::{OperatorContext, OperatorProcess};
use crate::state::unkeyed::OperatorState;

/// One subtask of an operator without keys.
pub struct ProcessSubtask<P: OperatorProcess> {
    process: P,
    state: OperatorState,
    clock: Clock,
}

impl<P: OperatorProcess> std::fmt::Debug for ProcessSubtask<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessSubtask").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<P: OperatorProcess> ProcessSubtask<P> {
    /// Builds the task of operator `index` over the inlets of `edge`, restores its state, and makes it a
    /// future.
    ///
    /// # Errors
    /// State that cannot be restored.
    pub fn build(
        process: P,
        mut state: OperatorState,
        index: usize,
        edge: usize,
        output: Box<dyn Consumer<P::Out>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let inlets = context.take_inlets::<Vec<Inlet<P::In>>>(edge)?;
        let restored = context.restored.remove(&index).unwrap_or_default();
        state.restore(restored.operator_state)?;
        let clock = context.clock;
        keyless::start(Self { process, state, clock }, inlets, output, context)
    }
}

impl<P: OperatorProcess> Keyless for ProcessSubtask<P> {
    type In = P::In;
    type Out = P::Out;

    fn batch(&mut self, batch: Vec<P::In>, out: &mut Vec<P::Out>) -> Result<()> {
        let mut context = OperatorContext::new(&mut self.state, out, self.clock.wall_ms());
        for record in batch {
            self.process.process(record, &mut context).map_err(Error::of_function)?;
        }
        Ok(())
    }

    fn freeze(&mut self) -> Result<SubtaskSnapshot> {
        let operator_state = self.state.freeze()?;
        Ok(SubtaskSnapshot { operator_state, ..SubtaskSnapshot::default() })
    }

    fn end(&mut self, out: &mut Vec<P::Out>) -> Result<()> {
        let mut context = OperatorContext::new(&mut self.state, out, self.clock.wall_ms());
        self.process.end(&mut context).map_err(Error::of_function)
    }
}
