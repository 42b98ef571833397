//! The names of a record's fields, by which rows are told that would stand under the wrong columns.
//!
//! A row of CSV has no names, so a field that is left out moves those after it to other columns, and one that is left
//! out where another is not moves them without changing their number. Owns which names a record has, in which order;
//! how many fields it has the writer of rows counts itself.

use std::fmt;

use serde::ser::{
    Impossible, Serialize, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct,
    Serializer,
};

/// The names of a record's fields in their order; none where it has no names, as a tuple.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header(Vec<&'static str>);

impl Header {
    /// That of `record`.
    pub(super) fn of<T: Serialize>(record: &T) -> Self {
        let mut names = Vec::new();
        // What has no such form has no row either, and that says why.
        let _no_row = record.serialize(&mut Names(|name| names.push(name)));
        Self(names)
    }

    /// Whether `record` has these names. Compares each, and looks at no value; where there are none it does nothing.
    pub(super) fn fits<T: Serialize>(&self, record: &T) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let (mut rest, mut same) = (self.0.iter(), true);
        let walked = record.serialize(&mut Names(|name| same &= rest.next() == Some(&name)));
        // One without any name, as `None` is, stands under no wrong one: its number of fields decides.
        let has_names = !same || rest.len() < self.0.len();
        walked.is_err() || !has_names || same && rest.len() == 0
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("without names");
        }
        f.write_str(&self.0.join(","))
    }
}

/// Gives each name to a function. It goes where the `csv` crate looks for a header, and into newtypes besides.
struct Names<F>(F);

type Done = Result<(), fmt::Error>;

/// Values outside of a struct, which have no name.
macro_rules! nameless {
    ($($method:ident($($value:ty),*);)*) => {
        $(fn $method(self $(, _: $value)*) -> Done {
            Ok(())
        })*
    };
}

impl<F: FnMut(&'static str)> Serializer for &mut Names<F> {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Impossible<(), fmt::Error>;
    type SerializeMap = Impossible<(), fmt::Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), fmt::Error>;

    nameless! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn collect_str<T: ?Sized + fmt::Display>(self, _: &T) -> Done {
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    // These have no row.

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, fmt::Error> {
        Err(fmt::Error)
    }
}

impl<F: FnMut(&'static str)> SerializeStruct for &mut Names<F> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, name: &'static str, _: &T) -> Done {
        (self.0)(name);
        Ok(())
    }

    fn end(self) -> Done {
        Ok(())
    }
}

/// What has values one after the other, each of which may have names.
macro_rules! in_turn {
    ($($kind:ident::$method:ident;)*) => {
        $(impl<F: FnMut(&'static str)> $kind for &mut Names<F> {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Done {
                value.serialize(&mut **self)
            }

            fn end(self) -> Done {
                Ok(())
            }
        })*
    };
}

in_turn! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
}
