//! A CSV row as serde sees it: a map from column to field, without a copy of either.
//!
//! Owns the reading of fields as numbers, texts and options, and which mistakes are the row's and
//! which the header's.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// The columns' names, all different.
#[derive(Debug)]
pub(super) struct Header {
    names: Vec<String>,
    leniency: Leniency,
    /// The target's fields were compared with the names.
    compared: Cell<bool>,
}

/// What a header may have more or fewer than the type has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leniency {
    pub(super) extra: bool,
    pub(super) missing: bool,
}

impl Header {
    pub(super) fn new(names: Vec<String>, leniency: Leniency) -> Result<Self, String> {
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(format!("its header names the column {name:?} twice"));
            }
        }
        Ok(Self { names, leniency, compared: Cell::new(false) })
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    fn compare(&self, fields: &[&'static str]) -> Result<(), RowError> {
        if self.compared.replace(true) {
            return Ok(());
        }
        let extra = self.names.iter().find(|name| !fields.contains(&name.as_str()));
        if let Some(extra) = extra.filter(|_| !self.leniency.extra) {
            return Err(RowError::Header(format!(
                "its header has the column {extra:?}, but the columns expected are {} \
                 (ignore_extra_columns leaves others out)",
                fields.join(", ")
            )));
        }
        let absent = fields.iter().copied().filter(|field| !self.names.iter().any(|n| n == field));
        let absent: Vec<_> = absent.filter(|_| !self.leniency.missing).collect();
        if absent.is_empty() { Ok(()) } else { Err(RowError::Absent(absent)) }
    }
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum RowError {
    /// This row.
    Value(String),
    /// Every row: the header does not fit the type.
    Header(String),
    /// Said once: the type knows these names, and the header does not. The row can be read again.
    Absent(Vec<&'static str>),
}

impl RowError {
    fn in_column(self, name: &str) -> Self {
        match self {
            Self::Value(reason) => Self::Value(format!("column {name}: {reason}")),
            other => other,
        }
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(reason) | Self::Header(reason) => f.write_str(reason),
            Self::Absent(names) => write!(f, "its header does not have {}", names.join(", ")),
        }
    }
}

impl std::error::Error for RowError {}

impl de::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Header(format!("its header has no column {field:?}"))
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        Self::Header(format!("its header has the unknown column {field:?}"))
    }
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    header: &'a Header,
    text: &'a str,
    fields: &'a [(u32, u32)],
    /// The next field.
    at: usize,
}

impl<'a> Row<'a> {
    /// A row of as many fields as `header` has names; `fields` are ranges of `text`.
    pub(super) fn new(header: &'a Header, text: &'a str, fields: &'a [(u32, u32)]) -> Self {
        Self { header, text, fields, at: 0 }
    }

    fn field(&self) -> Result<&'a str, RowError> {
        let (begin, end) = self.fields[self.at];
        // A cut inside a character cannot be: commas and quotes are characters of their own.
        self.text
            .get(begin as usize..end as usize)
            .ok_or_else(|| RowError::Value("a field that is not UTF-8".to_owned()))
    }

    /// The one field of a row that is read as a single value.
    fn only(&self) -> Result<Field<'a>, RowError> {
        match self.fields.len() {
            1 => Ok(Field(self.field()?)),
            n => Err(RowError::Header(format!("it has {n} columns, but the type expects one"))),
        }
    }
}

macro_rules! through_the_only_field {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Row<'de> {
    type Error = RowError;

    through_the_only_field! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
        deserialize_option
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.header.compare(fields)?;
        visitor.visit_map(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_seq(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        let n = self.fields.len();
        if n != length {
            return Err(RowError::Header(format!(
                "it has {n} columns, but the type expects {length}"
            )));
        }
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }
}

impl<'de> MapAccess<'de> for Row<'de> {
    type Error = RowError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, RowError> {
        let Some(name) = self.header.names.get(self.at) else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, RowError> {
        let value = self.field().and_then(|field| seed.deserialize(Field(field)));
        let name = &self.header.names[self.at];
        self.at += 1;
        value.map_err(|e| e.in_column(name))
    }
}

impl<'de> SeqAccess<'de> for Row<'de> {
    type Error = RowError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, RowError> {
        if self.at == self.fields.len() {
            return Ok(None);
        }
        self.next_value_seed(seed).map(Some)
    }
}

/// One field of a row.
#[derive(Clone, Copy)]
struct Field<'a>(&'a str);

fn parse<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, RowError> {
    text.parse().map_err(|e| {
        let kind = std::any::type_name::<T>();
        RowError::Value(format!("cannot read {text:?} as {kind}: {e}"))
    })
}

macro_rules! parsed {
    ($($method:ident $visit:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
            visitor.$visit(parse(self.0)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = RowError;

    parsed! {
        deserialize_bool visit_bool deserialize_char visit_char
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32
        deserialize_i64 visit_i64 deserialize_i128 visit_i128
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32
        deserialize_u64 visit_u64 deserialize_u128 visit_u128
        deserialize_f32 visit_f32 deserialize_f64 visit_f64
    }

    /// Where the type does not say what it wants: a number or a truth value if it reads as one.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        let text = self.0;
        if let Ok(value) = text.parse() {
            visitor.visit_bool(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_u64(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_i64(value)
        } else if let Ok(value) = text.parse() {
            visitor.visit_f64(value)
        } else {
            visitor.visit_borrowed_str(text)
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_borrowed_str(self.0)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_borrowed_bytes(self.0.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_borrowed_bytes(self.0.as_bytes())
    }

    /// An empty field is none.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        unit unit_struct seq tuple tuple_struct map struct identifier
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_unit()
    }
}

impl<'de> EnumAccess<'de> for Field<'de> {
    type Error = RowError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), RowError> {
        let name: BorrowedStrDeserializer<'de, RowError> = BorrowedStrDeserializer::new(self.0);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Field<'de> {
    type Error = RowError;

    fn unit_variant(self) -> Result<(), RowError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, RowError> {
        Err(not_unit())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, RowError> {
        Err(not_unit())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, RowError> {
        Err(not_unit())
    }
}

fn not_unit() -> RowError {
    RowError::Header("a field can only be a variant without values".to_owned())
}

impl<'de> IntoDeserializer<'de, RowError> for Field<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
