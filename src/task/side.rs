//! The second input of a keyed operator: records without keys, and the operator state that they change.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::operator::{Connected, KeyedBroadcastProcess, KeyedProcess};
use crate::state::unkeyed::{OperatorState, RestoredState, SavedState};

/// What a keyed operator's task does with its second input.
pub trait SideInput<P: KeyedProcess>: 'static {
    /// Its records.
    type In: 'static;

    /// Takes over what a restore has.
    ///
    /// # Errors
    /// State that is not the program's.
    fn restore(&mut self, restored: Vec<RestoredState>) -> Result<()>;

    /// Processes a batch.
    ///
    /// # Errors
    /// A user function failed.
    fn process(&mut self, process: &P, batch: Vec<Self::In>, out: &mut Vec<P::Out>) -> Result<()>;

    /// What a checkpoint keeps, at its barrier.
    ///
    /// # Errors
    /// State that cannot be serialised.
    fn freeze(&mut self) -> Result<Vec<SavedState>>;
}

/// There is none.
#[derive(Debug)]
pub struct NoSide;

impl<P: KeyedProcess> SideInput<P> for NoSide {
    type In = Infallible;

    fn restore(&mut self, _: Vec<RestoredState>) -> Result<()> {
        Ok(())
    }

    fn process(&mut self, _: &P, _: Vec<Infallible>, _: &mut Vec<P::Out>) -> Result<()> {
        Ok(())
    }

    fn freeze(&mut self) -> Result<Vec<SavedState>> {
        Ok(Vec::new())
    }
}

/// A broadcast input.
#[derive(Debug)]
pub struct BroadcastSide(Rc<RefCell<OperatorState>>);

impl BroadcastSide {
    /// It changes `maps`.
    #[must_use]
    pub fn new(maps: Rc<RefCell<OperatorState>>) -> Self {
        Self(maps)
    }
}

impl<P: KeyedBroadcastProcess> SideInput<Connected<P>> for BroadcastSide {
    type In = P::Broadcast;

    fn restore(&mut self, restored: Vec<RestoredState>) -> Result<()> {
        self.0.borrow_mut().restore(restored)
    }

    fn process(
        &mut self,
        process: &Connected<P>,
        batch: Vec<P::Broadcast>,
        out: &mut Vec<P::Out>,
    ) -> Result<()> {
        let mut batch = batch.into_iter();
        let processed = batch.try_for_each(|record| process.process_broadcast(record, out));
        processed.map_err(Error::of_function)
    }

    fn freeze(&mut self) -> Result<Vec<SavedState>> {
        self.0.borrow_mut().freeze()
    }
}
