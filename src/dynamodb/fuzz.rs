//! Any attributes as a head, an item or a block.
//!
//! An input is a list of changes to valid attributes: which one, what it becomes, and of which bytes.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{Attributes, ONLY, binary, key_of, number, read_block, read_row};
use super::{head_item, item};
use crate::error::{Error, ErrorKind};
use crate::fuzzing::Target;
use crate::ids::{Name, Version};
use crate::state::BlockKind;

/// Names in heads, items, blocks and in the maps of heads.
const NAMES: [&str; 29] = [
    "attempt",
    "checkpoint",
    "retained",
    "owner",
    "incarnation",
    "status",
    "lease_ms",
    "beat",
    "layout",
    "identity",
    "hash",
    "key_encoding",
    "max_parallelism",
    "graph",
    "input",
    "slot",
    "version",
    "c",
    "v",
    "b",
    "m",
    "e",
    "ttl",
    "d",
    "n",
    "i",
    "k",
    "l",
    "rolled_back",
];
const NUMBERS: [&str; 9] = [
    "0",
    "1",
    "-1",
    "1.5",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "",
];

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn name(&mut self) -> &'static str {
        NAMES[usize::from(self.byte()) % NAMES.len()]
    }

    fn value(&mut self, depth: u32) -> AttributeValue {
        match self.byte() % 9 {
            0 => AttributeValue::S(self.text()),
            1 => AttributeValue::N(self.text()),
            2 => AttributeValue::N(NUMBERS[usize::from(self.byte()) % NUMBERS.len()].to_owned()),
            3 => AttributeValue::B(Blob::new(self.bytes())),
            4 => AttributeValue::Bool(true),
            5 => AttributeValue::Null(true),
            6 if depth < 4 => {
                AttributeValue::L((0..self.byte() % 5).map(|_| self.value(depth + 1)).collect())
            }
            7 if depth < 4 => AttributeValue::M(
                (0..self.byte() % 5)
                    .map(|_| (self.name().to_owned(), self.value(depth + 1)))
                    .collect(),
            ),
            _ => AttributeValue::Ss(vec![self.text()]),
        }
    }

    fn change(&mut self, item: &mut Attributes) {
        while !self.0.is_empty() {
            let name = self.name();
            match (self.byte() % 4, item.get_mut(name)) {
                (0, _) => drop(item.remove(name)),
                (1, Some(AttributeValue::L(list))) => list.push(self.value(1)),
                (1 | 2, Some(AttributeValue::M(map))) => self.change_one(map),
                (2, Some(AttributeValue::L(list))) => {
                    if let Some(AttributeValue::M(map)) = list.first_mut() {
                        self.change_one(map);
                    }
                }
                _ => drop(item.insert(name.to_owned(), self.value(0))),
            }
        }
    }

    fn change_one(&mut self, map: &mut Attributes) {
        let name = self.name();
        drop(map.insert(name.to_owned(), self.value(1)));
    }
}

/// An error that names the place.
fn told(error: &Error, place: &str) -> String {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(place), "{error}");
    error.to_string()
}

#[test]
fn any_attributes_are_a_head_or_an_error() {
    let job = Name::new("counting").unwrap();
    let target = Target::new("head").seed([]).seed([0, 3, 2, 5]).seed([2, 1, 7, 1, 15, 2, 4]);
    target.run(|input| {
        let mut item = head_item::tests::stored(&head_item::tests::head());
        Script(input).change(&mut item);
        match head_item::read(&job, &item) {
            Ok(head) => {
                let again = head_item::read(&job, &head_item::tests::stored(&head)).unwrap();
                assert_eq!(again, head);
                // The first version that whoever claims the job may write.
                let attempt = crate::ids::Attempt(head.attempt.0 + 1);
                let next = Version { attempt, checkpoint: head.checkpoint.next() };
                assert!(Version::from_number(next.to_number()) == next);
                "a head".to_owned()
            }
            Err(e) => told(&e, "head"),
        }
    });
}

#[test]
fn any_attributes_are_an_item_and_a_block_or_an_error() {
    let target = Target::new("item").seed([]).seed([17, 3, 2, 5]).seed([18, 0, 19, 0, 20, 0]);
    target.run(|input| {
        let mut attributes = key_of("counting/1/log/0".to_owned(), ONLY);
        for (name, value) in
            [("c", number(1)), ("v", binary(b"v")), ("b", binary(b"b")), ("m", binary(b"m"))]
        {
            attributes.insert(name.to_owned(), value);
        }
        Script(input).change(&mut attributes);
        item::size_of(&attributes);
        let place = "counting/1/log/0";
        let mut answer = match read_row(attributes.clone()) {
            Ok(row) => {
                let mut again = key_of(place.to_owned(), ONLY);
                let written = row.attributes().map(|(name, value)| (name.to_owned(), value));
                again.extend(written);
                assert_eq!(read_row(again).unwrap(), row);
                format!("{:?} {} {}", row.value.is_some(), row.part > 0, row.parts > 1)
            }
            Err(e) => told(&e, place),
        };
        for kind in [BlockKind::Segment, BlockKind::Manifest] {
            answer += &read_block(kind, attributes.clone())
                .map_or_else(|e| told(&e, place), |_| String::new());
        }
        answer
    });
}
