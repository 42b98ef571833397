//! The typed values behind the handles, and their way to bytes and back.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use super::elements::Elements;
use super::formats::encoding_of;
use super::migrations::Migrations;
use crate::codec::{Bincode, Codec, DecodeError, Encoding, Value};
use crate::ids::SubtaskId;

/// A broadcast map's entries: a map of the standard library itself, with its names (`insert`, `contains_key`), where a
/// [`crate::state::Map`], whose entries may have to be read first, has Flink's.
pub type BroadcastMap<K, V> = BTreeMap<K, V>;

/// Which of all elements a subtask goes on with.
pub type Own<T> = dyn Fn(Vec<T>, SubtaskId) -> Vec<T>;

/// The values of one state of one subtask.
pub(super) trait Cell: Any {
    /// How the values are written.
    fn encoding(&self) -> Encoding;

    /// How values may have been written that are migrated.
    fn known(&self) -> Vec<Encoding>;

    /// Why values would not be read back, where that can be told of their type.
    fn cannot_read(&self) -> Option<String>;

    /// Whether the first of `elements`, which [`Cell::encode`] has made, is read back.
    fn prove(&self, elements: &Elements) -> Result<(), DecodeError>;

    /// The values' bytes.
    fn encode(&self) -> Result<Elements, DecodeError>;

    /// Takes over what a restore has for `subtask`, written as `recorded` says, where anything does.
    fn restore(
        &mut self,
        elements: &Elements,
        recorded: Option<&Encoding>,
        subtask: SubtaskId,
    ) -> Result<(), DecodeError>;

    /// The values, as [`super::OperatorHandle::Data`].
    fn data(&self) -> &dyn Any;

    /// The same, to be changed.
    fn data_mut(&mut self) -> &mut dyn Any;
}

impl fmt::Debug for dyn Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cell")
    }
}

fn encode_all<'a, T: Value>(values: impl Iterator<Item = &'a T>) -> Result<Elements, DecodeError> {
    let mut elements = Elements::default();
    for value in values {
        elements.push_with(|out| Bincode::encode(value, out))?;
    }
    Ok(elements)
}

fn prove<T: Value>(elements: &Elements) -> Result<(), DecodeError> {
    let first = elements.iter().next().map(<Bincode as Codec<T>>::decode);
    first.transpose().map(drop)
}

/// A list, of which a restore has for a subtask what is dealt out to it, or all.
pub(super) struct ListCell<T> {
    pub(super) items: Vec<T>,
    /// Of a union list, whose subtasks are given all elements each.
    pub(super) own: Option<Box<Own<T>>>,
    pub(super) migrations: Migrations<T>,
}

impl<T: Value> Cell for ListCell<T> {
    fn encoding(&self) -> Encoding {
        encoding_of::<T>()
    }

    fn known(&self) -> Vec<Encoding> {
        self.migrations.known()
    }

    fn cannot_read(&self) -> Option<String> {
        Bincode::cannot_read::<T>()
    }

    fn prove(&self, elements: &Elements) -> Result<(), DecodeError> {
        prove::<T>(elements)
    }

    fn encode(&self) -> Result<Elements, DecodeError> {
        encode_all(self.items.iter())
    }

    fn restore(
        &mut self,
        elements: &Elements,
        recorded: Option<&Encoding>,
        subtask: SubtaskId,
    ) -> Result<(), DecodeError> {
        let items = self.migrations.decode_all(elements, recorded)?;
        self.items = match &self.own {
            None => items,
            Some(own) => own(items, subtask),
        };
        Ok(())
    }

    fn data(&self) -> &dyn Any {
        &self.items
    }

    fn data_mut(&mut self) -> &mut dyn Any {
        &mut self.items
    }
}

/// A map that is the same in all subtasks.
pub(super) struct MapCell<K, V> {
    pub(super) entries: BroadcastMap<K, V>,
    pub(super) migrations: Migrations<(K, V)>,
}

impl<K: Value + Ord, V: Value> Cell for MapCell<K, V> {
    fn encoding(&self) -> Encoding {
        encoding_of::<(K, V)>()
    }

    fn known(&self) -> Vec<Encoding> {
        self.migrations.known()
    }

    fn cannot_read(&self) -> Option<String> {
        Bincode::cannot_read::<(K, V)>()
    }

    fn prove(&self, elements: &Elements) -> Result<(), DecodeError> {
        prove::<(K, V)>(elements)
    }

    fn encode(&self) -> Result<Elements, DecodeError> {
        let mut elements = Elements::default();
        for (key, value) in &self.entries {
            elements.push_with(|out| {
                Bincode::encode(key, out)?;
                Bincode::encode(value, out)
            })?;
        }
        Ok(elements)
    }

    fn restore(
        &mut self,
        elements: &Elements,
        recorded: Option<&Encoding>,
        _: SubtaskId,
    ) -> Result<(), DecodeError> {
        self.entries = self.migrations.decode_all(elements, recorded)?.into_iter().collect();
        Ok(())
    }

    fn data(&self) -> &dyn Any {
        &self.entries
    }

    fn data_mut(&mut self) -> &mut dyn Any {
        &mut self.entries
    }
}
