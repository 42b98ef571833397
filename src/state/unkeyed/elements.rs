//! The bytes of an operator state: its elements one after the other, so that a restore can deal them out
//! without knowing their type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Name;

/// How a state is handed out at a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OperatorStateKind {
    /// Each element goes to one subtask.
    List,
    /// Every subtask is given all elements.
    Union,
    /// One map, the same in all subtasks.
    Broadcast,
}

impl fmt::Display for OperatorStateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Union => "union list",
            Self::Broadcast => "broadcast map",
        })
    }
}

/// Encoded elements in their order: those of a list, or the entries of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Elements {
    /// Where each one ends.
    ends: Vec<u64>,
    bytes: Vec<u8>,
}

impl Elements {
    /// Appends what `write` appends to the bytes, as one element.
    ///
    /// # Errors
    /// Those of `write`; nothing is left of the element then.
    pub fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        match written {
            Ok(()) => self.ends.push(self.bytes.len() as u64),
            Err(_) => self.bytes.truncate(start),
        }
        written
    }

    /// Appends elements.
    pub fn extend<'a>(&mut self, elements: impl IntoIterator<Item = &'a [u8]>) {
        for element in elements {
            self.bytes.extend_from_slice(element);
            self.ends.push(self.bytes.len() as u64);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What they take in a manifest, in bytes, about.
    #[must_use]
    pub fn size(&self) -> u64 {
        // An end takes one to nine bytes; three is that of most.
        self.bytes.len() as u64 + 3 * self.ends.len() as u64
    }

    /// Whether the ends fit the bytes: not so where they were damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ends.is_sorted() && self.ends.last().copied().unwrap_or(0) == self.bytes.len() as u64
    }

    /// One after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            self.bytes.get(start as usize..self.ends[index] as usize).unwrap_or_default()
        })
    }
}

/// One state of one subtask, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SavedState {
    /// The state.
    pub state: Name,
    /// How it is handed out at a restore.
    pub kind: OperatorStateKind,
    /// What is in it.
    pub elements: Elements,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_in_order_empty_ones_too() {
        let mut elements = Elements::default();
        assert!(elements.is_empty() && elements.is_whole());
        elements.extend([&b"ab"[..], b"", b"c"]);
        let failed: Result<(), ()> = elements.push_with(|out| {
            out.push(9);
            Err(())
        });
        assert!(failed.is_err());
        assert_eq!(elements.iter().collect::<Vec<_>>(), [&b"ab"[..], b"", b"c"]);
        assert_eq!((elements.len(), elements.size()), (3, 12));
        assert!(elements.is_whole());
    }

    #[test]
    fn damaged_ends_are_noticed_and_read_without_a_panic() {
        for ends in [vec![2, 1], vec![9], vec![1], vec![]] {
            let damaged = Elements { ends, bytes: vec![1, 2] };
            assert!(!damaged.is_whole(), "{damaged:?}");
            assert!(damaged.iter().all(|element| element.len() <= 2));
        }
    }
}
