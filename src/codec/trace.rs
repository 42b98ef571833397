//! Finds a type's schema by letting it read samples.
//!
//! Owns the walk. Each pass reads one value of the type from a [`Walker`], which writes down what it is
//! asked for, gives a sample, and takes at each enum a variant that is not known yet; passes go on until
//! all is known. A type that refuses a sample is given others. What a schema is, is `schema`'s.
//!
//! `serde-reflection` does much the same; it takes two types of one serde name for one, so that it fails
//! on a generic struct that is used twice, and gives nothing at all where a part of a type refuses its
//! sample.

use std::any::type_name;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use super::schema::Schema;

mod tracer;

use tracer::{Kind, LENGTHS, Node, TEXTS, Tracer, ZEROS};

/// The schema of `T`; parts that cannot be found out are [`Schema::Unknown`].
pub(super) fn schema_of<T: DeserializeOwned>() -> Schema {
    walk::<T>().schema(0)
}

/// The schema of `T`, and values of it with little in them: each of its options, sequences and maps is empty in one
/// of these, and each variant of its enums stands in one, as far as it takes samples. They are given to `each`
/// until that says `false`; none is where the schema has an `any`.
pub(super) fn sampled<T: DeserializeOwned>(mut each: impl FnMut(T) -> bool) -> Schema {
    let mut tracer = walk::<T>();
    let schema = tracer.schema(0);
    if schema.has_any() {
        return schema;
    }
    tracer.sweeping = true;
    for _ in 0..MAX_SWEEPS {
        tracer.begin();
        let value = T::deserialize(Walker { tracer: &mut tracer, node: 0, minimal: false });
        if value.is_ok_and(|value| !each(value)) || !tracer.changed {
            break;
        }
    }
    schema
}

/// Whether some map in `T` may keep the order that its entries were read in: any that is not one of the
/// standard library's. Two types of maps look alike to serde, so it is their names that tell; a name that is
/// not known, of a later library say, is one of another map.
pub(super) fn may_keep_order<T: DeserializeOwned>() -> bool {
    walk::<T>().other_maps
}

/// Maps whose entries have no order, or that of their keys.
const WITHOUT_ORDER: [&str; 2] =
    ["std::collections::hash::map::HashMap<", "alloc::collections::btree::map::BTreeMap<"];

fn walk<T: DeserializeOwned>() -> Tracer {
    let mut tracer = Tracer { nodes: vec![Node::default()], ..Tracer::default() };
    for _ in 0..MAX_PASSES {
        tracer.begin();
        let outcome = T::deserialize(Walker { tracer: &mut tracer, node: 0, minimal: false });
        let goes_on = match outcome {
            Ok(_) => !tracer.is_done(0) && tracer.changed,
            Err(Stop::Recursion) => tracer.changed || tracer.put_off(),
            Err(Stop::Refused) => tracer.next_sample() || tracer.give_up(),
        };
        if !goes_on {
            break;
        }
    }
    tracer
}

const MAX_PASSES: usize = 10_000;
/// Each sees at least one option, sequence, map or variant that none before it has.
const MAX_SWEEPS: usize = 1000;
const MAX_DEPTH: usize = 64;
/// Longer arrays are taken to have one type of elements.
const MAX_TUPLE: usize = 32;

/// Why a pass has ended early.
#[derive(Debug)]
enum Stop {
    /// A type stands in itself, and no value of it is known that ends.
    Recursion,
    /// The type has not taken a sample.
    Refused,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

/// Reads one node. Where it is `minimal`, nothing is learned: any value that ends will do.
struct Walker<'a> {
    tracer: &'a mut Tracer,
    node: usize,
    minimal: bool,
}

impl Walker<'_> {
    fn at(&mut self, node: usize) -> Walker<'_> {
        Walker { tracer: self.tracer, node, minimal: self.minimal }
    }

    fn enter(&mut self, kind: Kind, children: usize) -> Result<(), Stop> {
        if self.minimal {
            let known = self.tracer.nodes[self.node].kind == kind;
            return if known { Ok(()) } else { Err(Stop::Recursion) };
        }
        self.tracer.enter(self.node, kind, children)
    }

    /// A value without parts: which sample to give.
    fn word(&mut self, word: &'static str) -> Result<usize, Stop> {
        self.enter(Kind::Word(word), 0)?;
        self.tracer.last = self.node;
        self.tracer.ended(self.node);
        if self.tracer.sweeping {
            self.tracer.sweep(self.node);
        }
        Ok(self.tracer.nodes[self.node].sample)
    }

    /// Of an option, a sequence or a map: whether to leave it empty.
    fn empty(&mut self) -> bool {
        if self.minimal {
            return true;
        }
        if self.tracer.sweeping {
            return self.tracer.sweep_empty(self.node);
        }
        let node = &self.tracer.nodes[self.node];
        let known = node.children.iter().all(|&child| self.tracer.is_done(child));
        if known {
            self.tracer.last = self.node;
        }
        known && node.sample == 0
    }

    /// A named type; `read` reads what is in it.
    fn named<'de, V: Visitor<'de>>(
        mut self,
        kind: Kind,
        name: &'static str,
        children: usize,
        read: impl FnOnce(Walker<'_>) -> Result<V::Value, Stop>,
    ) -> Result<V::Value, Stop> {
        let key = (name, type_name::<V::Value>());
        let open = self.tracer.open.iter().find(|(open, _)| *open == key).map(|(_, node)| *node);
        let again = self.tracer.nodes[self.node].kind == Kind::Again(name);
        if let Some(outer) = open.filter(|_| !self.minimal || again) {
            if !self.minimal {
                let is_new = self.tracer.nodes[self.node].kind == Kind::Blank;
                self.enter(Kind::Again(name), 0)?;
                if is_new {
                    return Err(Stop::Recursion);
                }
            }
            return self.deeper(|walker| {
                read(Walker { tracer: walker.tracer, node: outer, minimal: true })
            });
        }
        self.enter(kind, children)?;
        self.tracer.open.push((key, self.node));
        let (node, minimal) = (self.node, self.minimal);
        let value = self.deeper(|walker| read(walker.at(node)))?;
        self.tracer.open.pop();
        if !minimal {
            self.tracer.ended(node);
        }
        Ok(value)
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Walker<'_>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if self.tracer.depth >= MAX_DEPTH {
            return Err(Stop::Refused);
        }
        self.tracer.depth += 1;
        let value = read(&mut self.at(self.node))?;
        self.tracer.depth -= 1;
        Ok(value)
    }

    /// Reads the children in order.
    fn parts(&mut self) -> Parts<'_> {
        let children = self.tracer.nodes[self.node].children.clone();
        Parts { walker: self.at(self.node), children, next: 0 }
    }

    fn compound<T>(
        &mut self,
        read: impl FnOnce(&mut Walker<'_>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let value = self.deeper(read)?;
        if !self.minimal {
            self.tracer.ended(self.node);
        }
        Ok(value)
    }
}

macro_rules! words {
    ($($deserialize:ident $visit:ident $word:literal $sample:expr;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
            let sample = self.word($word)?;
            visitor.$visit($sample(sample))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Walker<'_> {
    type Error = Stop;

    /// As bincode and other formats for machines.
    fn is_human_readable(&self) -> bool {
        false
    }

    words! {
        deserialize_bool visit_bool "bool" |n| n == 1;
        deserialize_i8 visit_i8 "i8" |n| n as i8;
        deserialize_i16 visit_i16 "i16" |n| n as i16;
        deserialize_i32 visit_i32 "i32" |n| n as i32;
        deserialize_i64 visit_i64 "i64" |n| n as i64;
        deserialize_i128 visit_i128 "i128" |n| n as i128;
        deserialize_u8 visit_u8 "u8" |n| n as u8;
        deserialize_u16 visit_u16 "u16" |n| n as u16;
        deserialize_u32 visit_u32 "u32" |n| n as u32;
        deserialize_u64 visit_u64 "u64" |n| n as u64;
        deserialize_u128 visit_u128 "u128" |n| n as u128;
        deserialize_f32 visit_f32 "f32" |n: usize| n as f32;
        deserialize_f64 visit_f64 "f64" |n: usize| n as f64;
        deserialize_char visit_char "char" |n| if n == 0 { 'a' } else { '0' };
        deserialize_str visit_borrowed_str "string" |n| TEXTS[n % TEXTS.len()];
        deserialize_string visit_borrowed_str "string" |n| TEXTS[n % TEXTS.len()];
        deserialize_bytes visit_borrowed_bytes "bytes" |n| &ZEROS[..LENGTHS[n % LENGTHS.len()]];
        deserialize_byte_buf visit_borrowed_bytes "bytes" |n| &ZEROS[..LENGTHS[n % LENGTHS.len()]];
    }

    /// Only a format that describes itself can read such a type.
    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        match self.word("any")? {
            0 => visitor.visit_u64(0),
            1 => visitor.visit_borrowed_str(""),
            2 => visitor.visit_unit(),
            _ => visitor.visit_bool(false),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.word("unit")?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter(Kind::Option, 1)?;
        if self.empty() {
            self.compound(|_| visitor.visit_none())
        } else {
            let inner = self.tracer.nodes[self.node].children[0];
            self.compound(|walker| visitor.visit_some(walker.at(inner)))
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter(Kind::Seq, 1)?;
        let empty = self.empty();
        self.compound(|walker| visitor.visit_seq(walker.parts().unless(empty)))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter(Kind::Map, 2)?;
        let name = type_name::<V::Value>();
        self.tracer.other_maps |= !WITHOUT_ORDER.iter().any(|known| name.starts_with(known));
        let empty = self.empty();
        self.compound(|walker| visitor.visit_map(walker.parts().unless(empty)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if length <= MAX_TUPLE {
            self.enter(Kind::Tuple, length)?;
            return self.compound(|walker| visitor.visit_seq(walker.parts()));
        }
        self.enter(Kind::Array(length), 1)?;
        let inner = self.tracer.nodes[self.node].children[0];
        self.compound(|walker| {
            let children = vec![inner; length];
            visitor.visit_seq(Parts { walker: walker.at(inner), children, next: 0 })
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named::<V>(Kind::TupleStruct(name), name, 0, |_| visitor.visit_unit())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named::<V>(Kind::TupleStruct(name), name, 1, |mut walker| {
            let inner = walker.tracer.nodes[walker.node].children.first().copied();
            visitor.visit_newtype_struct(walker.at(inner.ok_or(Stop::Recursion)?))
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named::<V>(Kind::TupleStruct(name), name, length, |mut walker| {
            visitor.visit_seq(walker.parts())
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named::<V>(Kind::Struct(name, fields), name, fields.len(), |mut walker| {
            visitor.visit_seq(walker.parts())
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named::<V>(Kind::Enum(name), name, variants.len(), |walker| {
            let Walker { tracer, node, minimal } = walker;
            let chosen = if minimal { tracer.first_ended(node) } else { tracer.choose(node) };
            let index = chosen.ok_or(Stop::Recursion)?;
            let variant = tracer.nodes[node].children[index];
            let walker = Walker { tracer, node: variant, minimal };
            visitor.visit_enum(Variant { walker, index, name: variants[index] })
        })
    }
}

/// A variant that was chosen.
struct Variant<'a> {
    walker: Walker<'a>,
    index: usize,
    name: &'static str,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Stop> {
        let index = self.index as u32;
        let value = seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(index))?;
        if !self.walker.minimal {
            self.walker.tracer.variants.push(self.walker.node);
        }
        Ok((value, self))
    }
}

impl Variant<'_> {
    fn read<T>(
        mut self,
        kind: Kind,
        children: usize,
        read: impl FnOnce(&mut Walker<'_>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        self.walker.enter(kind, children)?;
        let value = self.walker.compound(read)?;
        if !self.walker.minimal {
            self.walker.tracer.variants.pop();
        }
        Ok(value)
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        let kind = Kind::TupleStruct(self.name);
        self.read(kind, 0, |_| Ok(()))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        let kind = Kind::TupleStruct(self.name);
        self.read(kind, 1, |walker| {
            let inner = walker.tracer.nodes[walker.node].children[0];
            seed.deserialize(walker.at(inner))
        })
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        let kind = Kind::TupleStruct(self.name);
        self.read(kind, length, |walker| visitor.visit_seq(walker.parts()))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let kind = Kind::Struct(self.name, fields);
        self.read(kind, fields.len(), |walker| visitor.visit_seq(walker.parts()))
    }
}

/// Nodes that are read one after another.
struct Parts<'a> {
    walker: Walker<'a>,
    children: Vec<usize>,
    next: usize,
}

impl Parts<'_> {
    fn unless(mut self, empty: bool) -> Self {
        if empty {
            self.children.clear();
        }
        self
    }

    fn take<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(&child) = self.children.get(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(self.walker.at(child)).map(Some)
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.take(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.children.len() - self.next)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.take(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        self.take(seed)?.ok_or(Stop::Refused)
    }
}

#[cfg(test)]
mod tests;
