//! Names and numbers that identify things: jobs, operators, attempts, checkpoints, versions, slots.
//!
//! Owns their validation and their text and wire forms. Does not own any rule about when a number
//! may be used: that is `checkpoint::rules`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::teeth::{Tooth, bites};

/// A validated name: 1 to 64 of `A-Z a-z 0-9 _ . -`. Jobs, operators and states have one.
///
/// Names are parts of DynamoDB keys, which is why `/` and `#` are not allowed in them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// Longest allowed name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Usage`] that shows the text and the rule it breaks.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.chars().all(valid) {
            return Err(Error::usage(format!(
                "the name {text:?} is not valid: use 1 to {} of A-Z a-z 0-9 _ . -",
                Self::MAX_BYTES
            )));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// One execution of a job, from one restart to the next; the fencing token. Starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt(pub u64);

impl Attempt {
    /// The attempt as it stands in the versions of what it writes.
    #[doc(hidden)]
    #[must_use]
    pub fn in_versions(self) -> Self {
        if bites(Tooth::VersionWithoutAttempt) { Self(1) } else { self }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a checkpoint within a job; 0 is "none yet". Flink: `CheckpointIDCounter`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct CheckpointId(pub u64);

impl CheckpointId {
    /// Before the first checkpoint.
    pub const NONE: Self = Self(0);
    /// Largest usable number: tables keep it in 31 bits for each entry.
    pub const MAX: Self = Self((1 << 31) - 2);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fresh start under a name that was used before; a part of every key but the head's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Rule V's version of an item: who wrote it, then which checkpoint's value it is.
///
/// Ordered by attempt first. Stored as one number: attempt × 10¹² + checkpoint.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The attempt that writes.
    pub attempt: Attempt,
    /// The checkpoint whose value is written.
    pub checkpoint: CheckpointId,
}

impl Version {
    const SCALE: u64 = 1_000_000_000_000;
    /// The last attempt whose versions have a stored form: of one a second, after 213 days.
    pub const MAX_ATTEMPT: Attempt = Attempt(u64::MAX / Self::SCALE - 1);

    /// The stored form.
    #[must_use]
    pub fn to_number(self) -> u64 {
        self.attempt.0 * Self::SCALE + self.checkpoint.0
    }

    /// The version that `number` stands for.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self {
            attempt: Attempt(number / Self::SCALE),
            checkpoint: CheckpointId(number % Self::SCALE),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.attempt, self.checkpoint)
    }
}

/// A partition key that segments (or manifests) take turns in.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotId(pub u64);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Subtask `index` of `parallelism` of some vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SubtaskId {
    /// 0-based.
    pub index: u32,
    /// How many there are.
    pub parallelism: u32,
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.parallelism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Name::new("route_stats-1.b").is_ok());
        for bad in ["", "a/b", "a#b", "ä", &"x".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions_order_by_attempt_first_and_survive_their_stored_form() {
        let older = Version { attempt: Attempt(1), checkpoint: CheckpointId(900) };
        let newer = Version { attempt: Attempt(2), checkpoint: CheckpointId(3) };
        assert!(older < newer);
        assert!(older.to_number() < newer.to_number());
        assert_eq!(Version::from_number(newer.to_number()), newer);
    }
}
