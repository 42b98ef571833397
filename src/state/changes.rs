//! The changes that segments hold, for a reader from outside that does not know the keys' types.
//!
//! Owns the joining of entries that go over several segments. What a change means to a subtask is
//! `replay`'s.

use hashbrown::HashMap;

use super::segment::{Carry, Segment};
use crate::error::Result;
use crate::ids::Name;
use crate::key_group::KeyGroupRange;

/// Reads the entries of segments, in the order of replay: ascending checkpoints and, for each writer,
/// ascending sequences.
#[derive(Debug, Default)]
pub struct Changes {
    /// By operator and key groups: those of several operators come mixed.
    carries: HashMap<(Name, KeyGroupRange), Carry>,
}

impl Changes {
    /// Calls `each` with state, encoded key and encoded value of every entry that ends in `segment`;
    /// no value is a deletion.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] where an entry cannot be read or the segment before it is missing.
    pub fn read(
        &mut self,
        segment: &Segment,
        mut each: impl FnMut(&Name, &[u8], Option<&[u8]>),
    ) -> Result<()> {
        let writer = (segment.operator.clone(), segment.range);
        let mut carry = self.carries.remove(&writer).unwrap_or_default();
        segment.each(&mut carry, |entry| {
            each(&segment.states[entry.state], entry.key, entry.value);
            Ok(())
        })?;
        if !carry.is_empty() {
            self.carries.insert(writer, carry);
        }
        Ok(())
    }

    /// There are no more segments.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] where the end of an entry is missing.
    pub fn finish(self) -> Result<()> {
        self.carries.values().try_for_each(Carry::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, CheckpointId, Version};
    use crate::key_group::KeyGroup;
    use crate::state::segment;
    use crate::state::writer::Writer;

    /// One entry over three segments, as `operator` writes it.
    fn segments(operator: &str) -> Vec<Segment> {
        let checkpoint = CheckpointId(1);
        let mut writer = Writer::new(16, [Name::new("state").unwrap()].into(), [false].into());
        writer.begin(checkpoint);
        let value = |out: &mut Vec<u8>| {
            out.extend_from_slice(&[7; 30]);
            Ok(true)
        };
        writer.entry(0, false, |out| out.push(1), value).unwrap();
        writer.finish();
        let version = Version { attempt: Attempt(1), checkpoint };
        let range = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(7) };
        let operator = Name::new(operator).unwrap();
        let stored = |raw| segment::encode(raw, version, &operator, range).unwrap();
        writer.take().iter().map(|raw| segment::decode(&stored(raw)).unwrap()).collect()
    }

    /// They used to be taken for each other's, where a manifest names them in turns.
    #[test]
    fn entries_of_two_operators_may_come_mixed() {
        let (first, second) = (segments("first"), segments("second"));
        assert!(first.len() > 1);
        let mut changes = Changes::default();
        let mut read = 0;
        for segment in first.iter().zip(&second).flat_map(|(a, b)| [a, b]) {
            changes.read(segment, |_, _, value| read += value.map_or(0, <[u8]>::len)).unwrap();
        }
        changes.finish().unwrap();
        assert_eq!(read, 60);
    }
}
