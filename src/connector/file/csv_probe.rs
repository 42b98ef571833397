//! Whether a type would take a column that a header lacks for an empty one, without a word.
//!
//! serde makes a missing `Option` a `None`, so a column that was renamed would be lost, row by row. Nothing
//! says which fields these are, so the type is asked: it is given the column, and shows what it wants of
//! it. A name may also be another one's alias: given a column of the same field after it, the type refuses
//! that before it looks at its value.

use std::cell::Cell;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::csv_row::RowError;

/// Whether `absent`, a name that `T` knows, is an `Option` of which the header, `names`, has no column
/// under any name.
pub(super) fn is_lost<T: DeserializeOwned>(absent: &str, names: &[String]) -> bool {
    let asked = |second: Option<&str>| {
        let asked = Cell::new(Asked::Nothing);
        let keys = [Some(absent), second];
        // Its value is of no use: the type was shown two columns.
        let _refused = T::deserialize(Probe { keys, at: 0, asked: &asked }).is_err();
        asked.get()
    };
    asked(None) == Asked::Option
        && names.iter().all(|name| asked(Some(name)) == Asked::OptionAndSecond)
}

/// What a type has asked for so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Option,
    OptionAndSecond,
}

/// A row of one or two columns that looks at what is wanted of it.
struct Probe<'a> {
    keys: [Option<&'a str>; 2],
    at: usize,
    asked: &'a Cell<Asked>,
}

impl<'de> Deserializer<'de> for Probe<'de> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Probe<'de> {
    type Error = RowError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, RowError> {
        let Some(Some(name)) = self.keys.get(self.at).copied() else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, RowError> {
        self.at += 1;
        if self.at == 1 {
            return seed.deserialize(Value(self.asked));
        }
        self.asked.set(Asked::OptionAndSecond);
        Err(enough())
    }
}

/// The value of the column in question.
struct Value<'a>(&'a Cell<Asked>);

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, RowError> {
        Err(enough())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.0.set(Asked::Option);
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn enough() -> RowError {
    RowError::Value("it was asked enough".to_owned())
}
