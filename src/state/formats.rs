//! In which encodings the values of a state are stored, and from which checkpoint on.
//!
//! Owns what manifests record of states, and whether a program can go on with it. Reading and writing
//! values is `coding`'s.
//!
//! An encoding holds for checkpoints, not for single values: the change of an attempt that goes on from
//! checkpoint R has a number after R, in its segment and in its item's version, so the number alone
//! tells how a value is written. To keep that true, an item is never written in a newer encoding than
//! its checkpoint's (`cleaning` copies such values from the log). So a roll-back to a checkpoint before
//! a migration finds nothing that its program cannot read, and no value carries a mark.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::Encoding;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};

/// Most encodings that one state goes through: items may stay in each of them for ever.
const MAX_FORMATS: usize = 100;

/// What a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StateKind {
    /// One value a key.
    Value,
    /// One value a map key of a key.
    Map,
    /// Any number of elements a key.
    List,
    /// One value a key, into which others are combined.
    Reducing,
    /// One accumulator a key.
    Aggregating,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value",
            Self::Map => "map",
            Self::List => "list",
            Self::Reducing => "reducing",
            Self::Aggregating => "aggregating",
        })
    }
}

/// An encoding and the first checkpoint whose changes are written in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Since {
    /// That checkpoint.
    pub from: CheckpointId,
    /// How they are written.
    pub encoding: Encoding,
}

/// What a manifest records of one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateFormats {
    /// Whose state it is.
    pub operator: Name,
    /// Its name.
    pub state: Name,
    /// What it is.
    pub kind: StateKind,
    /// The encodings of its values, the newest last; never empty.
    pub formats: Vec<Since>,
}

impl StateFormats {
    /// The encodings of a state that a program declares as `kind` with `current`, able to read the
    /// `known` ones too, and that goes on from checkpoint `restored`, where `recorded` was there.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] that names both types and what to do.
    pub(super) fn settle(
        (operator, state): (&Name, &Name),
        (kind, current): (StateKind, Encoding),
        known: &[Encoding],
        recorded: Option<&Self>,
        restored: CheckpointId,
    ) -> Result<Self> {
        let since = Since { from: restored.next(), encoding: current };
        let (operator, state) = (operator.clone(), state.clone());
        let Some(recorded) = recorded else {
            return Ok(Self { operator, state, kind, formats: vec![since] });
        };
        let refused = |what: String| {
            let message = format!("operator {operator}, state {state}: {what}");
            Err(Error::new(ErrorKind::Graph, message))
        };
        if recorded.kind != kind {
            return refused(format!(
                "the table holds a {} state, the program declares a {kind} state; declare it as it was, and \
                 the new one under another name beside it, or begin afresh with --fresh",
                recorded.kind
            ));
        }
        let current = &since.encoding;
        let readable =
            |old: &Encoding| old.is_same(current) || known.iter().any(|k| k.is_same(old));
        if let Some(old) = recorded.formats.iter().find(|old| !readable(&old.encoding)) {
            return refused(not_readable(&old.encoding, current, known));
        }
        let mut formats = recorded.formats.clone();
        if !formats.last().is_some_and(|last| last.encoding.is_same(current)) {
            // An attempt that completed no checkpoint leaves no trace.
            formats.push(since);
        }
        if formats.len() > MAX_FORMATS {
            return refused(format!(
                "its values are stored in more than {MAX_FORMATS} encodings; begin afresh with --fresh"
            ));
        }
        Ok(Self { operator, state, kind, formats })
    }
}

/// What is said where values of `old` are stored, and the program's are `current` and can be migrated from `known`.
pub(super) fn not_readable(old: &Encoding, current: &Encoding, known: &[Encoding]) -> String {
    let mut said = format!("the table holds values of {old}, the program's are {current}");
    for (i, known) in known.iter().enumerate() {
        let before = if i == 0 { ", with migrations from " } else { " and " };
        said = said + before + &known.to_string();
    }
    let mut all = std::iter::once(current).chain(known);
    let advice = match all.find_map(|mine| mine.other_name(old)) {
        Some((mine, theirs)) => format!(
            "{mine} differs from what was {theirs} in this name alone: give it #[serde(rename = \"{theirs}\")]"
        ),
        None => "give the descriptor a migrate_from::<Old>(|old| …) where Old is the former type"
            .to_owned(),
    };
    format!("{said}; {advice}, or begin afresh with --fresh")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Schema;

    fn encoding(word: &'static str) -> Encoding {
        Encoding::new("bincode", 1, &Schema::Word(word))
    }

    fn settle(
        current: &'static str,
        known: &[&'static str],
        recorded: Option<&StateFormats>,
        restored: u64,
    ) -> Result<StateFormats> {
        let (operator, state) = (Name::new("counts").unwrap(), Name::new("total").unwrap());
        let known: Vec<Encoding> = known.iter().map(|word| encoding(word)).collect();
        StateFormats::settle(
            (&operator, &state),
            (StateKind::Value, encoding(current)),
            &known,
            recorded,
            CheckpointId(restored),
        )
    }

    fn since(settled: &StateFormats) -> Vec<(u64, &str)> {
        settled.formats.iter().map(|f| (f.from.0, f.encoding.schema.as_str())).collect()
    }

    #[test]
    fn the_same_type_goes_on_and_a_new_state_begins_with_the_next_checkpoint() {
        let first = settle("u32", &[], None, 0).unwrap();
        assert_eq!(since(&first), [(1, "u32")]);
        assert_eq!(settle("u32", &[], Some(&first), 9).unwrap(), first);
        assert_eq!(since(&settle("u32", &[], None, 9).unwrap()), [(10, "u32")]);
    }

    #[test]
    fn another_type_is_an_error_that_names_both_and_what_to_do() {
        let first = settle("u32", &[], None, 0).unwrap();
        let error = settle("string", &["u8"], Some(&first), 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        let parts = ["counts", "total", "u32 in", "string in", "migrate_from", "--fresh"];
        for part in parts {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }

    /// A struct of one field, as version 1 of a program had it and version 2 keeps it for its migration.
    #[test]
    fn a_migration_that_differs_in_a_name_alone_is_told_with_the_rename_that_it_needs() {
        let of = |name, fields: &[&'static str]| {
            let fields = fields.iter().map(|field| (*field, Schema::Word("u32"))).collect();
            Encoding::new("bincode", 1, &Schema::Struct(name, fields))
        };
        let (now, old) = (of("Visits", &["count", "last"]), of("Visits", &["count"]));
        let said = not_readable(&old, &now, &[encoding("u8"), of("VisitsV1", &["count"])]);
        let parts = [
            "with migrations from u8 in bincode 1 and VisitsV1 { count: u32 } in bincode 1",
            "VisitsV1 differs from what was Visits",
            "give it #[serde(rename = \"Visits\")]",
            "--fresh",
        ];
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = not_readable(&old, &of("Visitors", &["count"]), &[]);
        assert!(said.contains("Visitors differs from what was Visits"), "{said}");
        assert!(not_readable(&old, &now, &[]).contains("migrate_from::<Old>"));
    }

    #[test]
    fn each_migration_holds_from_its_own_checkpoint_and_all_former_types_must_be_known() {
        let first = settle("u32", &[], None, 0).unwrap();
        let second = settle("u64", &["u32"], Some(&first), 9).unwrap();
        assert_eq!(since(&second), [(1, "u32"), (10, "u64")]);
        let error = settle("string", &["u64"], Some(&second), 12).unwrap_err();
        assert!(error.message().contains("values of u32"), "{error}");
        let third = settle("string", &["u64", "u32"], Some(&second), 12).unwrap();
        assert_eq!(since(&third), [(1, "u32"), (10, "u64"), (13, "string")]);
        // And back: the oldest ones are of the program's own type again.
        let back = settle("u32", &["string", "u64"], Some(&third), 20).unwrap();
        assert_eq!(since(&back).last(), Some(&(21, "u32")));
        // A roll-back to a checkpoint before a migration finds what was recorded then.
        assert_eq!(settle("u32", &[], Some(&first), 9).unwrap(), first);
    }

    #[test]
    fn encodings_are_bounded() {
        let mut formats = settle("u8", &["u16"], None, 0).unwrap();
        let error = (1..200).find_map(|n| {
            let (new, old) = if n % 2 == 0 { ("u8", "u16") } else { ("u16", "u8") };
            match settle(new, &[old], Some(&formats), n) {
                Ok(settled) => formats = settled,
                Err(error) => return Some(error),
            }
            None
        });
        assert!(error.unwrap().message().contains("more than 100"));
    }
}
