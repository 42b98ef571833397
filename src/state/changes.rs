//! The changes that segments hold, for a reader from outside that does not know the keys' types.
//!
//! Owns the joining of entries that go over several segments. What a change means to a subtask is
//! `replay`'s.

use hashbrown::HashMap;

use super::segment::{Carry, Segment};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::key_group::KeyGroupRange;

/// Reads the entries of segments, in the order of replay: ascending checkpoints and, for each writer,
/// ascending sequences.
#[derive(Debug, Default)]
pub struct Changes {
    carries: HashMap<KeyGroupRange, Carry>,
}

impl Changes {
    /// Calls `each` with state, encoded key and encoded value of every entry that ends in `segment`;
    /// no value is a deletion.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where an entry cannot be read or the segment before it is missing.
    pub fn read(
        &mut self,
        segment: &Segment,
        mut each: impl FnMut(&Name, &[u8], Option<&[u8]>),
    ) -> Result<()> {
        let mut carry = self.carries.remove(&segment.range).unwrap_or_default();
        segment.each(&mut carry, |entry| {
            each(&segment.states[entry.state], entry.key, entry.value);
            Ok(())
        })?;
        if !carry.is_empty() {
            self.carries.insert(segment.range, carry);
        }
        Ok(())
    }

    /// There are no more segments.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the end of an entry is missing.
    pub fn finish(self) -> Result<()> {
        if self.carries.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, "segment: the last one of a checkpoint is missing"))
    }
}
