//! Of which types keys, namespaces and map keys are: what manifests record of them, and whether a program can
//! go on with it.
//!
//! Owns the comparison. A type is what [`Key::schema`] says. There is no migration, as values have one: where an
//! item lies, and which subtask owns it, comes from the bytes of its key. Which operators are compared is the
//! restore's (`runtime`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::declared::DeclaredStates;
use crate::codec::{Encoding, KEY_ENCODING_VERSION, Key, Schema};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;

/// The codec of keys, as encodings name it.
const CODEC: &str = "key";

/// Of which types the parts of a column's sub keys are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SubTypes {
    namespace: Option<fn() -> Schema>,
    map_key: Option<fn() -> Schema>,
}

impl SubTypes {
    pub(super) fn of_namespace<N: Key>() -> Self {
        Self { namespace: Some(N::schema), map_key: None }
    }

    pub(super) fn and_map_key<MK: Key>(self) -> Self {
        Self { map_key: Some(MK::schema), ..self }
    }

    /// How namespaces and map keys are written, where there are any.
    pub(super) fn encodings(self) -> (Option<Encoding>, Option<Encoding>) {
        let written = |schema: fn() -> Schema| encoding(&schema());
        (self.namespace.map(written), self.map_key.map(written))
    }
}

/// What a manifest records of the keys of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyTypes {
    /// Whose keys they are.
    pub operator: Name,
    /// How its records' keys are written.
    pub key: Encoding,
    /// All of its states.
    pub states: Vec<SubKeys>,
}

/// What a manifest records of the keys within one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SubKeys {
    /// Its name.
    pub state: Name,
    /// How its namespaces are written, where it has any.
    pub namespace: Option<Encoding>,
    /// How its map keys are written, where it is a map.
    pub map_key: Option<Encoding>,
}

fn encoding(schema: &Schema) -> Encoding {
    Encoding::new(CODEC, KEY_ENCODING_VERSION, schema)
}

impl KeyTypes {
    /// Those of `operator`, which declares these states.
    #[must_use]
    pub fn of(operator: &Name, declared: &DeclaredStates) -> Self {
        let states = declared.states.iter().map(|state| SubKeys {
            state: state.name.clone(),
            namespace: state.namespace.clone(),
            map_key: state.map_key.clone(),
        });
        let key = encoding(&declared.key);
        Self { operator: operator.clone(), key, states: states.collect() }
    }

    /// Whether a program with these keys can go on with what was written as `recorded` says. What is not
    /// recorded, by a version that did not, is not compared.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] that names both types and what to do.
    pub fn check(&self, recorded: &[Self]) -> Result<()> {
        let Some(recorded) = recorded.iter().find(|r| r.operator == self.operator) else {
            return Ok(());
        };
        let operator = &self.operator;
        if !recorded.key.is_same(&self.key) {
            return Err(refused(format!(
                "operator {operator}: the table holds records' keys of {}, the program's are {}; keys are \
                 not migrated: key the stream by the former type, or begin afresh with --fresh",
                recorded.key.schema, self.key.schema
            )));
        }
        for state in &self.states {
            let Some(recorded) = recorded.states.iter().find(|r| r.state == state.state) else {
                continue;
            };
            let pairs = [
                ("namespaces", &recorded.namespace, &state.namespace),
                ("map keys", &recorded.map_key, &state.map_key),
            ];
            for (what, old, new) in pairs {
                let is_same = match (old, new) {
                    (Some(old), Some(new)) => old.is_same(new),
                    (old, new) => old.is_none() && new.is_none(),
                };
                if !is_same {
                    return Err(refused(format!(
                        "operator {operator}, state {}: the table holds {}, the program declares {}; what \
                         a state is keyed by is not migrated, only values are: declare the former type, \
                         or begin afresh with --fresh",
                        state.state,
                        Named(what, old.as_ref()),
                        Named(what, new.as_ref())
                    )));
                }
            }
        }
        Ok(())
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Graph, message)
}

/// `map keys of u32`, or `no map keys`.
struct Named<'a>(&'a str, Option<&'a Encoding>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(encoding) => write!(f, "{} of {}", self.0, encoding.schema),
            None => write!(f, "no {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{ListDescriptor, MapDescriptor, States, SubKey, ValueDescriptor};

    fn types<K: Key>(declare: impl Fn(&mut States)) -> KeyTypes {
        let mut states = States::new();
        declare(&mut states);
        let states = states.finish().unwrap().declared();
        KeyTypes::of(&Name::new("counts").unwrap(), &DeclaredStates { key: K::schema(), states })
    }

    fn map<MK: SubKey>(states: &mut States) {
        states.map::<MK, u64>(MapDescriptor::new("marks"));
    }

    fn map_in<N: SubKey>(states: &mut States) {
        states.namespaced::<N>().map::<u8, u64>(MapDescriptor::new("marks"));
    }

    fn list_in<N: SubKey>(states: &mut States) {
        states.namespaced::<N>().list::<u64>(ListDescriptor::new("pages"));
    }

    fn value(states: &mut States) {
        states.value::<u64>(ValueDescriptor::new("pages"));
    }

    fn refusal(now: &KeyTypes, recorded: KeyTypes) -> String {
        now.check(std::slice::from_ref(now)).unwrap();
        now.check(&[]).unwrap();
        let error = now.check(&[recorded]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("operator counts"), "{error}");
        assert!(error.message().contains("--fresh"), "{error}");
        error.message().to_owned()
    }

    #[test]
    fn map_keys_of_another_type_are_an_error_that_names_both() {
        let said = refusal(&types::<u64>(map::<i32>), types::<u64>(map::<u32>));
        assert!(said.contains("state marks: the table holds map keys of u32"), "{said}");
        assert!(said.contains("declares map keys of i32"), "{said}");
        // Types of the same bytes, or of as many.
        refusal(&types::<u64>(map::<(u32, u32)>), types::<u64>(map::<u64>));
        refusal(&types::<u64>(map::<u32>), types::<u64>(map::<char>));
        refusal(&types::<u64>(map::<Vec<u8>>), types::<u64>(map::<String>));
    }

    #[test]
    fn namespaces_of_another_type_are_an_error_that_names_both() {
        let said = refusal(&types::<u64>(list_in::<u64>), types::<u64>(list_in::<String>));
        assert!(said.contains("state pages: the table holds namespaces of string"), "{said}");
        assert!(said.contains("declares namespaces of u64"), "{said}");
        let said = refusal(&types::<u64>(map::<u8>), types::<u64>(map_in::<u64>));
        assert!(said.contains("declares no namespaces"), "{said}");
        refusal(&types::<u64>(list_in::<u64>), types::<u64>(value));
    }

    #[test]
    fn keys_of_another_type_are_an_error_that_names_both() {
        let said = refusal(&types::<i64>(value), types::<u64>(value));
        assert!(said.contains("records' keys of u64, the program's are i64"), "{said}");
    }

    #[test]
    fn a_state_or_an_operator_that_is_not_recorded_is_not_compared() {
        let other = KeyTypes { operator: Name::new("other").unwrap(), ..types::<i64>(value) };
        types::<u64>(value).check(&[other]).unwrap();
        types::<u64>(map::<u8>).check(&[types::<u64>(value)]).unwrap();
    }
}
