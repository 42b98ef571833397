//! The operator states of one subtask, alive.

use super::cells::Cell;
use super::descriptor::OperatorHandle;
use super::elements::{Elements, OperatorStateKind, SavedState};
use crate::codec::{DecodeError, Encoding};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Name, SubtaskId};
use crate::state::coding::not_read_back;
use crate::teeth::{Tooth, bites};

/// What an operator says of one of its states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Declared {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: OperatorStateKind,
    /// How its elements are written; the entries of a map, as pairs.
    pub encoding: Encoding,
    /// How elements may have been written that it can read too.
    pub known: Vec<Encoding>,
}

/// What a restore has of a state for one subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredState {
    /// The elements.
    pub saved: SavedState,
    /// How they are written, where the manifest says so.
    pub encoding: Option<Encoding>,
}

/// All operator states of one subtask.
#[derive(Debug)]
pub struct OperatorState {
    states: Vec<Slot>,
    subtask: SubtaskId,
}

#[derive(Debug)]
struct Slot {
    name: Name,
    kind: OperatorStateKind,
    cell: Box<dyn Cell>,
    /// Since `saved`.
    changed: bool,
    /// A value that was written was read back.
    proven: bool,
    /// Its bytes at the last barrier.
    saved: Elements,
}

impl OperatorState {
    pub(super) fn new(
        states: Vec<(Name, OperatorStateKind, Box<dyn Cell>)>,
        subtask: SubtaskId,
    ) -> Self {
        let slot = |(name, kind, cell)| {
            let saved = Elements::default();
            Slot { name, kind, cell, changed: false, proven: false, saved }
        };
        Self { states: states.into_iter().map(slot).collect(), subtask }
    }

    /// All of them, in the order of their registration. Finds out each type anew: for graphs, not for records.
    #[must_use]
    pub fn declared(&self) -> Vec<Declared> {
        let declared = |Slot { name, kind, cell, .. }: &Slot| Declared {
            name: name.clone(),
            kind: *kind,
            encoding: cell.encoding(),
            known: cell.known(),
        };
        self.states.iter().map(declared).collect()
    }

    /// Whose states these are.
    #[must_use]
    pub fn subtask(&self) -> SubtaskId {
        self.subtask
    }

    /// What is in `state`.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[inline]
    #[must_use]
    pub fn get<H: OperatorHandle>(&self, state: H) -> &H::Data {
        let data = self.states.get(state.index()).map(|slot| slot.cell.data());
        data.and_then(|data| data.downcast_ref()).unwrap_or_else(|| wrong_handle())
    }

    /// What is in `state`, to be changed in place: it counts as changed.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[inline]
    pub fn get_mut<H: OperatorHandle>(&mut self, state: H) -> &mut H::Data {
        let slot = self.states.get_mut(state.index()).unwrap_or_else(|| wrong_handle());
        slot.changed = true;
        slot.cell.data_mut().downcast_mut().unwrap_or_else(|| wrong_handle())
    }

    /// Takes over what a restore has for this subtask; states that are not in it stay empty.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] for a state that is not declared, or is of another kind;
    /// [`ErrorKind::Corrupt`] for elements that are of another type, of which the manifest says nothing.
    pub fn restore(&mut self, restored: Vec<RestoredState>) -> Result<()> {
        let subtask = self.subtask;
        for RestoredState { saved: SavedState { state, kind, elements }, encoding } in restored {
            let slot = self.states.iter_mut().find(|slot| slot.name == state);
            let slot = slot.filter(|slot| slot.kind == kind).ok_or_else(|| {
                let message = format!("the checkpoint has a {kind} {state}, the program has not");
                Error::new(ErrorKind::Graph, message)
            })?;
            slot.cell.restore(&elements, encoding.as_ref(), subtask).map_err(|error| {
                let message = format!("{kind} {state} is of another type in the checkpoint");
                Error::new(ErrorKind::Corrupt, format!("{message}: {error}"))
            })?;
            slot.changed = true;
        }
        Ok(())
    }

    /// What this subtask saves at a barrier. Costs the bytes of what has changed since the last one, and a copy
    /// of the rest; empty states, and maps of all subtasks but the first, are not in it.
    ///
    /// # Errors
    /// [`ErrorKind::User`] for a value that cannot be serialised, or the first one of a state that is not read back.
    pub fn freeze(&mut self) -> Result<Vec<SavedState>> {
        let mut saved = Vec::new();
        for slot in &mut self.states {
            let (name, kind) = (&slot.name, slot.kind);
            let saves_maps = self.subtask.index == 0 && !bites(Tooth::BroadcastUnsaved);
            if kind == OperatorStateKind::Broadcast && !saves_maps {
                continue;
            }
            if std::mem::take(&mut slot.changed) && !bites(Tooth::OperatorChangeNotNoted) {
                slot.saved = slot.cell.encode().map_err(|error| not_written(kind, name, error))?;
                if !slot.proven {
                    let read = slot.cell.prove(&slot.saved).map_err(not_read_back);
                    read.map_err(|error| not_written(kind, name, error))?;
                    slot.proven = !slot.saved.is_empty();
                }
            }
            if !slot.saved.is_empty() {
                let (state, elements) = (name.clone(), slot.saved.clone());
                saved.push(SavedState { state, kind, elements });
            }
        }
        Ok(saved)
    }
}

fn not_written(kind: OperatorStateKind, name: &Name, error: DecodeError) -> Error {
    Error::new(ErrorKind::User, format!("{kind} {name}: {error}"))
}

/// A handle that another operator's states gave.
#[cold]
fn wrong_handle() -> ! {
    panic!("a state's handle is used with another operator than the one that declared it")
}

#[cfg(test)]
mod tests;
