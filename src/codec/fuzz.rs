//! Any bytes as a state's value or as a key: what is stored is not checksummed by itself, and a value
//! may be of another type than its reader's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bincode, Codec, Key};
use crate::fuzzing::Target;

/// Something of everything.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Everything {
    small: u8,
    large: u128,
    signed: i64,
    text: String,
    bytes: Vec<u8>,
    list: Vec<(u64, String)>,
    map: BTreeMap<String, Option<Box<Inner>>>,
    choice: Choice,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Inner {
    text: String,
    list: Vec<Vec<String>>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
enum Choice {
    #[default]
    None,
    One(char),
    Two {
        flag: bool,
        list: Vec<u128>,
    },
}

fn encoded<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    Bincode::encode(value, &mut bytes).unwrap();
    bytes
}

fn decode_again<T>(bytes: &[u8]) -> String
where
    T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    match <Bincode as Codec<T>>::decode(bytes) {
        Ok(value) => {
            let again: T = Bincode::decode(&encoded(&value)).unwrap();
            assert_eq!(again, value);
            "a value".to_owned()
        }
        Err(e) => e.to_string(),
    }
}

#[test]
fn any_bytes_are_a_value_or_an_error() {
    let inner = Inner { text: "inner".to_owned(), list: vec![Vec::new(), vec!["x".to_owned()]] };
    let everything = Everything {
        small: 7,
        large: u128::MAX,
        signed: -300,
        text: "text".to_owned(),
        bytes: vec![1, 2, 3],
        list: vec![(1 << 40, "a".to_owned()), (2, "b".to_owned())],
        map: BTreeMap::from([
            ("none".to_owned(), None),
            ("some".to_owned(), Some(Box::new(inner))),
        ]),
        choice: Choice::Two { flag: true, list: vec![1, 2, u128::MAX] },
    };
    let one = Everything { choice: Choice::One('ä'), ..Everything::default() };
    Target::new("value")
        .memory(20 << 20)
        .seed(encoded(&everything))
        .seed(encoded(&one))
        .seed([0xFD; 9])
        .run(|bytes| {
            format!(
                "{} {} {}",
                decode_again::<Everything>(bytes),
                decode_again::<String>(bytes),
                decode_again::<Vec<u128>>(bytes)
            )
        });
}

#[test]
fn any_bytes_are_a_key_or_an_error() {
    type Compound = (String, Option<i32>, Vec<u8>, (u64, char));
    let mut seed = Vec::new();
    ("a\0b".to_owned(), Some(-3), vec![0, 1, 0xFF], (9u64, 'ä')).encode(&mut seed);
    Target::new("key").seed(seed).run(|bytes| {
        let mut rest = bytes;
        match Compound::decode(&mut rest) {
            Ok(key) => {
                let mut again = Vec::new();
                key.encode(&mut again);
                // Canonical: one key has one encoding, or two items could be one key's.
                assert_eq!(again, bytes[..bytes.len() - rest.len()], "{key:?}");
                "a key".to_owned()
            }
            Err(e) => e.to_string(),
        }
    });
}
