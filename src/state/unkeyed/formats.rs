//! Of which types operator states are: what manifests record of them, and whether a program can go on.
//!
//! One that was emptied takes any type. Which states are compared is the restore's (`runtime`), what turns the
//! one into the other `migrations`'.

use serde::{Deserialize, Serialize};

use super::live::Declared;
use crate::codec::{Bincode, Codec, Encoding, Schema, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::state::formats::not_readable;

/// How values of this type are written.
pub(super) fn encoding_of<T: Value>() -> Encoding {
    let (codec, version) = (<Bincode as Codec<T>>::ID, <Bincode as Codec<T>>::VERSION);
    Encoding::new(codec, version, &Schema::of::<T>())
}

/// What a manifest records of one operator state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperatorFormat {
    /// Whose state it is.
    pub operator: Name,
    /// Its name.
    pub state: Name,
    /// How its elements are written; the entries of a map, as pairs.
    pub encoding: Encoding,
}

impl OperatorFormat {
    /// Of a state that `operator` declares.
    #[must_use]
    pub fn of(operator: &Name, declared: &Declared) -> Self {
        let Declared { name, encoding, .. } = declared.clone();
        Self { operator: operator.clone(), state: name, encoding }
    }

    /// Whether this is about `state` of `operator`.
    #[must_use]
    pub fn is_of(&self, operator: &Name, state: &Name) -> bool {
        (&self.operator, &self.state) == (operator, state)
    }

    /// Whether a program that declares the state so can read what was written as this says.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] that names both types and what to do.
    pub fn check(&self, declared: &Declared) -> Result<()> {
        let (recorded, current) = (&self.encoding, &declared.encoding);
        if recorded.is_same(current) || declared.known.iter().any(|known| known.is_same(recorded)) {
            return Ok(());
        }
        let what = not_readable(recorded, current, &declared.known);
        let Declared { kind, name, .. } = declared;
        let message = format!("operator {}, {kind} {name}: {what}", self.operator);
        Err(Error::new(ErrorKind::Graph, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::unkeyed::OperatorStateKind;

    fn declared<T: Value>() -> Declared {
        let (name, kind) = (Name::new("rules").unwrap(), OperatorStateKind::Broadcast);
        Declared { name, kind, encoding: encoding_of::<T>(), known: Vec::new() }
    }

    #[test]
    fn another_type_is_an_error_that_names_both_and_what_to_do() {
        let operator = Name::new("watch").unwrap();
        let recorded = OperatorFormat::of(&operator, &declared::<(u32, String)>());
        recorded.check(&declared::<(u32, String)>()).unwrap();
        let error = recorded.check(&declared::<(u32, u64)>()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        let parts = [
            "watch",
            "broadcast map rules",
            "(u32, string) in",
            "(u32, u64) in",
            "migrate_from",
            "--fresh",
        ];
        for part in parts {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_type_that_a_migration_reads_is_taken() {
        let recorded =
            OperatorFormat::of(&Name::new("watch").unwrap(), &declared::<(u32, String)>());
        let known = vec![encoding_of::<u8>(), encoding_of::<(u32, String)>()];
        recorded.check(&Declared { known, ..declared::<(u32, u64)>() }).unwrap();
    }

    #[test]
    fn another_version_of_the_encoding_is_another_type() {
        let operator = Name::new("watch").unwrap();
        let mut recorded = OperatorFormat::of(&operator, &declared::<u64>());
        recorded.encoding.version += 1;
        let error = recorded.check(&declared::<u64>()).unwrap_err();
        assert!(error.message().contains("u64 in bincode 2"), "{error}");
    }
}
