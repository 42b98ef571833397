//! What a type looks like to serde, in words: by that a stored value is told from another type's.
//!
//! Owns [`Schema`], its text and its fingerprint, and the [`Encoding`] that is recorded of a state.
//! Finding a type's schema is `trace`'s. `std::any::type_name` is neither shown nor compared: it
//! changes with the compiler and with the module that a type stands in.

use std::fmt::{self, Write as _};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::trace::{may_keep_order, schema_of};

/// A type as serde's derived code describes it to a format that does not describe itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// A word of serde's data model: `u64`, `string`, `bytes`, …
    Word(&'static str),
    /// `Option<T>`.
    Option(Box<Self>),
    /// Any number of one type.
    Seq(Box<Self>),
    /// Keys and values.
    Map(Box<Self>, Box<Self>),
    /// A tuple.
    Tuple(Vec<Self>),
    /// An array too long to be looked at element by element.
    Array(Box<Self>, usize),
    /// A struct with named fields.
    Struct(&'static str, Vec<(&'static str, Self)>),
    /// A struct with unnamed fields; none at all for a unit struct.
    TupleStruct(&'static str, Vec<Self>),
    /// An enum. A variant is one of the two kinds of structs above, or a unit struct.
    Enum(&'static str, Vec<Self>),
    /// A type that stands further out in this one.
    Again(&'static str),
    /// What could not be found out: the type refuses every sample, or is larger than any bound.
    Unknown,
}

/// Longest text that is recorded; longer ones are cut. What counts is the fingerprint of all of it.
const MAX_RECORDED: usize = 1000;

impl Schema {
    /// That of `T`. Takes microseconds: it lets `T` read a value for each variant of its enums.
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        schema_of::<T>()
    }

    /// Whether some map in `T` may keep an order other than that of its keys: any but a `HashMap` and a
    /// `BTreeMap`. A schema does not tell them apart.
    #[must_use]
    pub fn may_keep_order<T: DeserializeOwned>() -> bool {
        may_keep_order::<T>()
    }

    /// A number that any other schema surely does not have.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        xxh3_128(self.to_string().as_bytes())
    }

    /// Whether it has a part that asks its reader what comes next: only formats that describe themselves can say.
    #[must_use]
    pub fn has_any(&self) -> bool {
        match self {
            Self::Word(word) => *word == "any",
            Self::Again(_) | Self::Unknown => false,
            Self::Option(inner) | Self::Seq(inner) | Self::Array(inner, _) => inner.has_any(),
            Self::Map(key, value) => key.has_any() || value.has_any(),
            Self::Tuple(all) | Self::TupleStruct(_, all) | Self::Enum(_, all) => {
                all.iter().any(Self::has_any)
            }
            Self::Struct(_, fields) => fields.iter().any(|(_, field)| field.has_any()),
        }
    }

    /// Whether every map in it has keys that are words: what a DynamoDB map can have.
    #[must_use]
    pub fn has_plain_keys(&self) -> bool {
        match self {
            Self::Word(_) | Self::Again(_) => true,
            Self::Unknown => false,
            Self::Option(inner) | Self::Seq(inner) | Self::Array(inner, _) => {
                inner.has_plain_keys()
            }
            Self::Map(key, value) => key.is_plain_key() && value.has_plain_keys(),
            Self::Tuple(all) | Self::TupleStruct(_, all) | Self::Enum(_, all) => {
                all.iter().all(Self::has_plain_keys)
            }
            Self::Struct(_, fields) => fields.iter().all(|(_, field)| field.has_plain_keys()),
        }
    }

    fn is_plain_key(&self) -> bool {
        match self {
            Self::Word(word) => !matches!(*word, "bytes" | "any"),
            Self::TupleStruct(_, one) if one.len() == 1 => one[0].is_plain_key(),
            Self::Enum(_, variants) => {
                variants.iter().all(|v| matches!(v, Self::TupleStruct(_, none) if none.is_empty()))
            }
            _ => false,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Option(inner) => write!(f, "option<{inner}>"),
            Self::Seq(inner) => write!(f, "[{inner}]"),
            Self::Map(key, value) => write!(f, "{{{key}: {value}}}"),
            Self::Tuple(all) => list(f, "(", all, ")"),
            Self::Array(inner, length) => write!(f, "({inner}; {length})"),
            Self::Struct(name, fields) => {
                write!(f, "{} {{", Identifier(name))?;
                for (i, (name, field)) in fields.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(f, "{comma} {}: {field}", Identifier(name))?;
                }
                f.write_str(" }")
            }
            Self::TupleStruct(name, all) => {
                write!(f, "{}", Identifier(name))?;
                if all.is_empty() { Ok(()) } else { list(f, "(", all, ")") }
            }
            Self::Enum(name, variants) => {
                write!(f, "enum {}", Identifier(name))?;
                list(f, " { ", variants, " }")
            }
            Self::Again(name) => write!(f, "^{}", Identifier(name)),
            Self::Unknown => f.write_char('?'),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, all: &[Schema], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (i, one) in all.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{one}")?;
    }
    f.write_str(close)
}

/// A name, in quotes where it could be taken for more than one.
struct Identifier<'a>(&'a str);

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// In Rust's way: `Stats { count: u64, worst: option<string> }`.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// How values of a state are written: by which codec, and of which type. Recorded in every manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Encoding {
    /// [`super::Codec::ID`].
    pub codec: String,
    /// [`super::Codec::VERSION`].
    pub version: u32,
    /// [`Schema::fingerprint`].
    pub fingerprint: u128,
    /// The type in words; for people only, cut where it is long.
    pub schema: String,
}

impl Encoding {
    /// Of values of a type with this schema, by the codec `codec` in its version `version`.
    #[must_use]
    pub fn new(codec: &str, version: u32, schema: &Schema) -> Self {
        let mut text = schema.to_string();
        if text.len() > MAX_RECORDED {
            let cut = (0..=MAX_RECORDED).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.truncate(cut);
            text.push('…');
        }
        Self { codec: codec.to_owned(), version, fingerprint: schema.fingerprint(), schema: text }
    }

    /// Whether values written in the one way can be read in the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.codec, self.version, self.fingerprint)
            == (&other.codec, other.version, other.fingerprint)
    }

    /// The one name by which this type is told from the one that was `recorded`, and that one's, where they differ
    /// in nothing else: of a struct or enum, a variant with something in it, or a field. `None` of texts that are cut.
    #[must_use]
    pub fn other_name(&self, recorded: &Self) -> Option<(String, String)> {
        if (&self.codec, self.version) != (&recorded.codec, recorded.version) {
            return None;
        }
        let (mine, theirs) = (tokens(&self.schema), tokens(&recorded.schema));
        let first = mine.iter().zip(&theirs).position(|(mine, theirs)| mine != theirs)?;
        let (from, to) = (mine[first], theirs[first]);
        // Words of serde stand elsewhere: the last field's before ` }`, the keys' of a map behind its brace.
        let before = first.checked_sub(1).map(|before| mine[before]);
        let is_name = match (mine.get(first + 1).copied(), mine.get(first + 2).copied()) {
            (Some("("), _) | (Some(" "), Some("{")) => true,
            (Some(":"), _) => before == Some(" "),
            _ => false,
        };
        let is_name = is_name && [from, to].iter().all(|name| name.starts_with(is_plain));
        let renamed =
            |token: &&str| if *token == from { to.to_owned() } else { (*token).to_owned() };
        let renamed: String = mine.iter().map(renamed).collect();
        let is_it = is_name && xxh3_128(renamed.as_bytes()) == recorded.fingerprint;
        is_it.then(|| (from.to_owned(), to.to_owned()))
    }
}

/// Names and words whole, all else character by character.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match is_plain(first) {
            true => rest.find(|c| !is_plain(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// `u64 in bincode 1`.
impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} {}", self.schema, self.codec, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_pretend_to_be_more_than_one_field() {
        let one = Schema::Struct("S", vec![("a: u8, b", Schema::Word("u8"))]);
        let two = vec![("a", Schema::Word("u8")), ("b", Schema::Word("u8"))];
        let two = Schema::Struct("S", two);
        assert_eq!(two.to_string(), "S { a: u8, b: u8 }");
        assert_ne!(one.to_string(), two.to_string());
        assert_ne!(one.fingerprint(), two.fingerprint());
    }

    /// Stored tables hold these: they never change.
    #[test]
    fn golden_fingerprints() {
        assert_eq!(
            Schema::Word("u64").fingerprint(),
            110_352_539_501_059_262_571_677_814_355_351_973_875
        );
    }

    #[test]
    fn types_that_differ_in_one_name_alone_are_told_with_both() {
        let visits = |name, field, word| Schema::Struct(name, vec![(field, Schema::Word(word))]);
        let list = |inner| Encoding::new("c", 1, &Schema::Seq(Box::new(inner)));
        let recorded = list(visits("Visits", "count", "u32"));
        let other = |schema| list(schema).other_name(&recorded);
        let both = |one: &str, other: &str| Some((one.to_owned(), other.to_owned()));
        assert_eq!(other(visits("VisitsV1", "count", "u32")), both("VisitsV1", "Visits"));
        assert_eq!(other(visits("Visits", "number", "u32")), both("number", "count"));
        assert_eq!(other(visits("Visits", "count", "u64")), None, "another type");
        assert_eq!(other(visits("VisitsV1", "count", "u64")), None, "and another name");
        assert_eq!(other(visits("Visits", "count", "u32")), None, "nothing");
        let again = |name| {
            let again = vec![("next", Schema::Option(Box::new(Schema::Again(name))))];
            Encoding::new("c", 1, &Schema::Struct(name, again))
        };
        assert_eq!(again("B").other_name(&again("A")), both("B", "A"));
        let word = |word| Encoding::new("c", 1, &Schema::Word(word));
        assert_eq!(word("u32").other_name(&word("u64")), None);
        let pair = |word| Encoding::new("c", 1, &Schema::Tuple(vec![Schema::Word(word); 2]));
        assert_eq!(pair("u32").other_name(&pair("u64")), None);
        let map = |key| {
            let [key, value] = [key, "u8"].map(|word| Box::new(Schema::Word(word)));
            Encoding::new("c", 1, &Schema::Map(key, value))
        };
        assert_eq!(map("u32").other_name(&map("u64")), None);
        let unit = |name| Encoding::new("c", 2, &visits(name, "count", "u32"));
        assert_eq!(unit("A").other_name(&recorded), None, "another codec");
    }

    #[test]
    fn a_long_schema_is_cut_and_still_told_from_one_that_is_longer() {
        let tuple = |n| Schema::Tuple(vec![Schema::Word("string"); n]);
        let (a, b) = (Encoding::new("c", 1, &tuple(500)), Encoding::new("c", 1, &tuple(501)));
        assert_eq!(a.schema, b.schema);
        assert!(a.schema.len() < MAX_RECORDED + 10);
        assert!(a.is_same(&a) && !a.is_same(&b));
        assert!(!a.is_same(&Encoding::new("d", 1, &tuple(500))));
        assert!(!a.is_same(&Encoding::new("c", 2, &tuple(500))));
    }
}
