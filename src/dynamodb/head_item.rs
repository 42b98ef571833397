//! The head's layout: its attributes, and the conditional write of each change.
//!
//! Owns the translation, both ways. Sending is `heads`'.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::{Attributes, PK, number};
use crate::checkpoint::{Head, HeadChange, HeadCondition, HeadStatus, Identity, LAYOUT, Retained};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Incarnation, Name, SlotId, Version};

/// An attribute that heads of earlier versions do not have.
const CLEAN_BELOW: &str = "clean_below";
/// An entry of the map `identity`, there only where it is true.
const ROLLED_BACK: &str = "rolled_back";

/// An `UpdateItem`'s expressions. All names are given as `#name`, since some are reserved words.
#[derive(Debug, PartialEq)]
pub(super) struct Update {
    pub(super) set: String,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: Attributes,
}

/// The write of `change` where `condition` holds.
pub(super) fn update(condition: &HeadCondition, change: &HeadChange) -> Update {
    let mut update = Update {
        set: String::from("SET "),
        condition: String::new(),
        names: HashMap::new(),
        values: HashMap::new(),
    };
    for (i, (name, value)) in changed(change).into_iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        update.set.push_str(&format!("{separator}#{name} = :{name}"));
        update.names.insert(format!("#{name}"), name.to_owned());
        update.values.insert(format!(":{name}"), value);
    }
    let mut expect = |name: &str, value: u64| {
        update.names.insert(format!("#{name}"), name.to_owned());
        update.values.insert(format!(":expected_{name}"), number(value));
        format!("#{name} = :expected_{name}")
    };
    update.condition = match *condition {
        HeadCondition::Absent => format!("attribute_not_exists({PK})"),
        HeadCondition::Owned(attempt) => expect("attempt", attempt.0),
        HeadCondition::At(attempt, checkpoint) => {
            let attempt = expect("attempt", attempt.0);
            format!("{attempt} AND {}", expect("checkpoint", checkpoint.0))
        }
    };
    update
}

fn changed(change: &HeadChange) -> Vec<(&'static str, AttributeValue)> {
    match change {
        HeadChange::Put(head) => whole(head),
        HeadChange::Advance { checkpoint, retained, identity } => {
            let identity = identity.iter().map(|identity| ("identity", write_identity(identity)));
            [("checkpoint", number(checkpoint.0)), ("retained", write_retained(retained))]
                .into_iter()
                .chain(identity)
                .collect()
        }
        HeadChange::Status(status) => vec![("status", text(status.as_str()))],
        HeadChange::Beat(beat) => vec![("beat", number(*beat))],
        HeadChange::CleanBelow(below) => vec![(CLEAN_BELOW, number(below.0))],
    }
}

fn whole(head: &Head) -> Vec<(&'static str, AttributeValue)> {
    let lease_ms = u64::try_from(head.lease.as_millis()).unwrap_or(u64::MAX);
    vec![
        ("attempt", number(head.attempt.0)),
        ("checkpoint", number(head.checkpoint.0)),
        ("retained", write_retained(&head.retained)),
        ("owner", text(&head.owner)),
        ("incarnation", number(head.incarnation.0)),
        ("status", text(head.status.as_str())),
        ("lease_ms", number(lease_ms)),
        ("beat", number(head.beat)),
        ("layout", number(u64::from(head.layout))),
        ("identity", write_identity(&head.identity)),
        (CLEAN_BELOW, number(head.clean_below.0)),
    ]
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, AttributeValue)>) -> AttributeValue {
    AttributeValue::M(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn write_retained(retained: &[Retained]) -> AttributeValue {
    let entry = |r: &Retained| {
        map([
            ("checkpoint", number(r.checkpoint.0)),
            ("slot", number(r.slot.0)),
            ("version", number(r.version.to_number())),
        ])
    };
    AttributeValue::L(retained.iter().map(entry).collect())
}

fn write_identity(identity: &Identity) -> AttributeValue {
    let entries = [
        ("hash", text(&identity.hash)),
        ("key_encoding", number(u64::from(identity.key_encoding))),
        ("max_parallelism", number(u64::from(identity.max_parallelism))),
        ("graph", text(&identity.graph)),
        ("input", text(&identity.input)),
    ];
    let mark = identity.is_rolled_back.then_some((ROLLED_BACK, AttributeValue::Bool(true)));
    map(entries.into_iter().chain(mark))
}

/// Reads a head back.
///
/// # Errors
/// [`ErrorKind::Corrupt`] where the table was written by a newer version, or an attribute is missing.
pub(super) fn read(job: &Name, item: &Attributes) -> Result<Head> {
    let layout = read_small(item, "layout")?;
    if layout != LAYOUT {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the head of job {job} has layout {layout}, this version reads {LAYOUT}: run it \
                 with the version that wrote it"
            ),
        ));
    }
    read_rest(item, layout).map_err(|e| e.at(format!("job {job}")))
}

fn read_rest(item: &Attributes, layout: u32) -> Result<Head> {
    let status = read_text(item, "status")?;
    Ok(Head {
        attempt: Attempt(read_up_to(item, "attempt", Version::MAX_ATTEMPT.0 - 1)?),
        checkpoint: CheckpointId(read_up_to(item, "checkpoint", CheckpointId::MAX.0)?),
        retained: read_retained(item)?,
        owner: read_text(item, "owner")?,
        incarnation: Incarnation(read_up_to(item, "incarnation", u64::MAX - 1)?),
        status: HeadStatus::parse(&status)
            .ok_or_else(|| damaged(&format!("has the unknown status {status:?}")))?,
        lease: Duration::from_millis(read_up_to(item, "lease_ms", u64::MAX)?),
        beat: read_up_to(item, "beat", u64::MAX)?,
        layout,
        identity: read_identity(item)?,
        clean_below: Incarnation(match item.contains_key(CLEAN_BELOW) {
            true => read_up_to(item, CLEAN_BELOW, u64::MAX)?,
            false => 1,
        }),
    })
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the head {what}"))
}

fn read_small(item: &Attributes, name: &str) -> Result<u32> {
    let number = read_up_to(item, name, u64::from(u32::MAX))?;
    u32::try_from(number).map_err(|_| damaged(&format!("has {name} {number}")))
}

/// A number that leaves room for the next one: whoever claims the job counts on.
fn read_up_to(item: &Attributes, name: &str, most: u64) -> Result<u64> {
    let number = item.get(name).and_then(|n| n.as_n().ok()).and_then(|n| n.parse().ok());
    let number = number.ok_or_else(|| damaged(&format!("has no number {name:?}")))?;
    if number <= most { Ok(number) } else { Err(damaged(&format!("has {name} {number}"))) }
}

fn read_text(item: &Attributes, name: &str) -> Result<String> {
    item.get(name)
        .and_then(|text| text.as_s().ok())
        .cloned()
        .ok_or_else(|| damaged(&format!("has no text {name:?}")))
}

fn read_retained(item: &Attributes) -> Result<Vec<Retained>> {
    let list = item.get("retained").and_then(|list| list.as_l().ok());
    let list = list.ok_or_else(|| damaged("has no list \"retained\""))?;
    list.iter()
        .map(|entry| {
            let entry = entry.as_m().map_err(|_| damaged("has a damaged list \"retained\""))?;
            Ok(Retained {
                checkpoint: CheckpointId(read_up_to(entry, "checkpoint", CheckpointId::MAX.0)?),
                slot: SlotId(read_up_to(entry, "slot", u64::MAX)?),
                version: Version::from_number(read_up_to(entry, "version", u64::MAX)?),
            })
        })
        .collect()
}

fn read_identity(item: &Attributes) -> Result<Identity> {
    let identity = item.get("identity").and_then(|identity| identity.as_m().ok());
    let identity = identity.ok_or_else(|| damaged("has no map \"identity\""))?;
    Ok(Identity {
        hash: read_text(identity, "hash")?,
        key_encoding: read_small(identity, "key_encoding")?,
        max_parallelism: read_small(identity, "max_parallelism")?,
        graph: read_text(identity, "graph")?,
        input: read_text(identity, "input")?,
        is_rolled_back: match identity.get(ROLLED_BACK) {
            None => false,
            Some(mark) => {
                *mark.as_bool().map_err(|_| damaged("has a damaged mark of a roll-back"))?
            }
        },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::dynamodb) fn head() -> Head {
        let version = Version { attempt: Attempt(2), checkpoint: CheckpointId(7) };
        Head {
            attempt: Attempt(2),
            checkpoint: CheckpointId(7),
            retained: vec![Retained { checkpoint: CheckpointId(7), slot: SlotId(1), version }],
            owner: "abc".to_owned(),
            incarnation: Incarnation(1),
            status: HeadStatus::Running,
            lease: Duration::from_secs(5),
            beat: 9,
            layout: LAYOUT,
            identity: Identity {
                hash: "xxh64".to_owned(),
                key_encoding: 1,
                max_parallelism: 128,
                graph: "counts".to_owned(),
                input: String::new(),
                is_rolled_back: false,
            },
            clean_below: Incarnation(1),
        }
    }

    pub(in crate::dynamodb) fn stored(head: &Head) -> Attributes {
        whole(head).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn heads_survive_their_stored_form() {
        let job = Name::new("job").unwrap();
        assert_eq!(read(&job, &stored(&head())).unwrap(), head());
        let mut rolled_back = head();
        rolled_back.identity.is_rolled_back = true;
        let mut item = stored(&rolled_back);
        assert_eq!(read(&job, &item).unwrap(), rolled_back);
        let Some(AttributeValue::M(identity)) = item.get_mut("identity") else { panic!("a map") };
        identity.insert(ROLLED_BACK.to_owned(), number(1));
        assert_eq!(read(&job, &item).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_newer_layout_is_refused_and_every_missing_attribute_too() {
        let job = Name::new("job").unwrap();
        let newer = Head { layout: LAYOUT + 1, ..head() };
        let error = read(&job, &stored(&newer)).unwrap_err();
        assert!(error.to_string().contains("layout 2"), "{error}");
        let mut item = stored(&Head { clean_below: Incarnation(7), ..head() });
        item.remove(CLEAN_BELOW);
        assert_eq!(read(&job, &item).unwrap(), head(), "of an earlier version");
        for name in stored(&head()).keys().filter(|name| *name != CLEAN_BELOW) {
            let mut item = stored(&head());
            item.remove(name);
            assert_eq!(read(&job, &item).unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
        }
    }

    #[test]
    fn the_move_is_conditional_on_attempt_and_checkpoint() {
        let condition = HeadCondition::At(Attempt(2), CheckpointId(6));
        let change = HeadChange::Advance {
            checkpoint: CheckpointId(7),
            retained: head().retained,
            identity: None,
        };
        let update = update(&condition, &change);
        assert_eq!(update.set, "SET #checkpoint = :checkpoint, #retained = :retained");
        assert_eq!(
            update.condition,
            "#attempt = :expected_attempt AND #checkpoint = :expected_checkpoint"
        );
        assert_eq!(update.values[":expected_checkpoint"], number(6));
        assert_eq!(update.names["#attempt"], "attempt");
    }
}
