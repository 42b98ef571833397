//! What an operator says about its keyed states, without the types: kept with the graph, and compared with what a
//! manifest records before a subtask is built.
//!
//! Owns the words. How states are stored from there on is decided in `formats`, until when expiries count in
//! `lifetimes`, what keys are compared by in `key_types`.

use super::formats::{StateFormats, StateKind};
use super::lifetimes::{ExpiresBy, StateLifetimes};
use crate::codec::{Encoding, Schema};
use crate::error::Result;
use crate::ids::{CheckpointId, Name};

/// What an operator says of its keyed states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredStates {
    /// Of which type its records' keys are.
    pub key: Schema,
    /// Its states, in the order of their registration.
    pub states: Vec<DeclaredState>,
}

/// What an operator says of one of its keyed states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredState {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: StateKind,
    /// How its values are written.
    pub encoding: Encoding,
    /// How values may have been written that it can read too.
    pub known: Vec<Encoding>,
    /// How its namespaces are written, where it has any.
    pub namespace: Option<Encoding>,
    /// How its map keys are written, where it is a map.
    pub map_key: Option<Encoding>,
    /// By which time its values expire.
    pub expires_by: ExpiresBy,
}

impl DeclaredState {
    /// How the state of `operator` is stored from now on, which goes on from checkpoint `restored`, of which a
    /// manifest recorded these states.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Graph`] where its values are of another type and it has no migration; it names both,
    /// and what to do.
    pub fn settle(
        &self,
        operator: &Name,
        recorded: &[StateFormats],
        restored: CheckpointId,
    ) -> Result<StateFormats> {
        let recorded = recorded.iter().find(|r| r.operator == *operator && r.state == self.name);
        let current = (self.kind, self.encoding.clone());
        StateFormats::settle((operator, &self.name), current, &self.known, recorded, restored)
    }

    /// By which times its values have expired and do from now on, in an attempt that begins at `now_ms` and goes on
    /// from checkpoint `restored`, of which a manifest recorded these states.
    #[must_use]
    pub fn lifetimes(
        &self,
        operator: &Name,
        recorded: &[StateLifetimes],
        (restored, now_ms): (CheckpointId, u64),
    ) -> StateLifetimes {
        let names = (operator, &self.name);
        StateLifetimes::settle(names, self.expires_by, recorded, (restored, now_ms))
    }
}
