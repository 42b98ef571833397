//! Types of all kinds, and what is said of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::*;

fn text<T: DeserializeOwned>() -> String {
    schema_of::<T>().to_string()
}

#[derive(Serialize, Deserialize)]
struct Unit;

#[derive(Serialize, Deserialize)]
struct Celsius(f64);

#[derive(Serialize, Deserialize)]
struct Pair<T>(T, u8);

#[derive(Serialize, Deserialize)]
struct Stats {
    count: u64,
    worst: Option<String>,
    #[serde(rename = "by")]
    by_route: BTreeMap<(u16, char), Vec<Celsius>>,
    #[serde(skip)]
    _cached: u32,
}

#[derive(Serialize, Deserialize)]
enum Choice {
    None,
    One(Unit),
    Two { flag: bool, list: Vec<i128> },
    Three(u8, Box<Stats>),
}

#[test]
fn everything_is_told_as_it_is_written_in_rust() {
    let cases = [
        (text::<u64>(), "u64"),
        (text::<()>(), "unit"),
        (text::<String>(), "string"),
        (text::<Arc<Rc<str>>>(), "string"),
        (text::<Option<Box<i8>>>(), "option<i8>"),
        (text::<[u8; 3]>(), "(u8, u8, u8)"),
        (text::<(bool, char)>(), "(bool, char)"),
        (text::<Unit>(), "Unit"),
        (text::<Celsius>(), "Celsius(f64)"),
        (
            text::<Stats>(),
            "Stats { count: u64, worst: option<string>, by: {(u16, char): [Celsius(f64)]} }",
        ),
        (
            text::<Choice>(),
            "enum Choice { None, One(Unit), Two { flag: bool, list: [i128] }, \
             Three(u8, Stats { count: u64, worst: option<string>, by: {(u16, char): \
             [Celsius(f64)]} }) }",
        ),
        (
            text::<IpAddr>(),
            "enum IpAddr { V4((u8, u8, u8, u8)), V6((u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8)) }",
        ),
        (text::<std::time::Duration>(), "Duration { secs: u64, nanos: u32 }"),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

/// One serde name, two types: by name alone they would be one.
#[test]
fn a_generic_struct_may_be_used_twice() {
    assert_eq!(
        text::<(Pair<u64>, Pair<String>, Pair<Pair<u64>>)>(),
        "(Pair(u64, u8), Pair(string, u8), Pair(Pair(u64, u8), u8))"
    );
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
struct Tree {
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
    by_name: BTreeMap<String, Tree>,
    last: u8,
}

/// The variants that end come last, and one needs the other twice.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
enum Expression {
    Add(Box<Expression>, Box<Expression>),
    Call { name: String, arguments: Vec<Expression> },
    Not(Box<Expression>),
    Number(i64),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
struct Even(Option<Box<Odd>>);

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
struct Odd(Option<Box<Even>>);

#[test]
fn recursive_types_end() {
    assert_eq!(
        text::<Tree>(),
        "Tree { children: [^Tree], parent: option<^Tree>, by_name: {string: ^Tree}, last: u8 }"
    );
    assert_eq!(
        text::<Expression>(),
        "enum Expression { Add(^Expression, ^Expression), Call { name: string, arguments: \
         [^Expression] }, Not(^Expression), Number(i64) }"
    );
    assert_eq!(text::<Even>(), "Even(option<Odd(option<^Even>)>)");
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Date(#[expect(dead_code, reason = "only its form counts")] String);

impl TryFrom<String> for Date {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 10 { Ok(Self(text)) } else { Err("no date".to_owned()) }
    }
}

/// Refuses everything.
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(de::Error::custom(text))
    }
}

/// Asks for something else each time.
struct Fickle;

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use std::cell::Cell;
        thread_local! { static TURN: Cell<u32> = const { Cell::new(0) } }
        TURN.set(TURN.get() + 1);
        let read = if TURN.get().is_multiple_of(2) {
            u8::deserialize(deserializer).map(drop)
        } else {
            String::deserialize(deserializer).map(drop)
        };
        read.and(Err(de::Error::custom("no")))
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
enum Mixed {
    First(u8, Never, u16),
    Second(NonZeroU32, Date),
    Third(Fickle),
}

#[test]
fn what_refuses_its_samples_is_unknown_and_the_rest_is_not() {
    assert_eq!(text::<(NonZeroU32, Date, u8)>(), "(u32, string, u8)");
    assert_eq!(text::<(u8, Never, u16)>(), "(u8, string, ?)");
    assert_eq!(text::<Never>(), "string");
    assert_eq!(
        text::<Mixed>(),
        "enum Mixed { First(u8, string, ?), Second(u32, string), Third(string) }"
    );
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its form counts")]
enum Untagged {
    Number(u8),
    Text(String),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form counts")]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

/// Bincode cannot read these at all.
#[test]
fn types_that_need_a_format_that_describes_itself_are_told_apart_from_others() {
    assert_eq!(text::<Untagged>(), "any");
    assert!(text::<Flat>().starts_with("{any: "), "{}", text::<Flat>());
}

#[test]
fn long_arrays_and_large_types_are_bounded() {
    struct Long;
    impl<'de> Deserialize<'de> for Long {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct All;
            impl<'de> Visitor<'de> for All {
                type Value = Long;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("numbers")
                }
                fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Long, A::Error> {
                    while seq.next_element::<u8>()?.is_some() {}
                    Ok(Long)
                }
            }
            deserializer.deserialize_tuple(4096, All)
        }
    }
    assert_eq!(text::<Vec<Long>>(), "[(u8; 4096)]");
    type Ten<T> = (T, T, T, T, T, T, T, T, T, T);
    let large = text::<Ten<Ten<Ten<Ten<u8>>>>>();
    assert!(large.contains('?') && large.len() < 100_000, "{}", large.len());
}
