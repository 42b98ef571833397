//! Tests of manifests' bytes.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::fakes::{name, range, segment, version};
use crate::codec::{Encoding, Schema};
use crate::handover::{Committable, SplitState};
use crate::state::unkeyed::{Elements, OperatorFormat, OperatorStateKind, SavedState};
use crate::state::{ExpiresBy, KeyTypes, Lifetime, Since, StateKind, StateLifetimes, SubKeys};

fn since(from: u64, word: &'static str) -> Since {
    let encoding = Encoding::new("bincode", 1, &Schema::Word(word));
    Since { from: CheckpointId(from), encoding }
}

fn key(word: &'static str) -> Encoding {
    Encoding::new("key", 1, &Schema::Word(word))
}

fn saved(all: &[&[u8]]) -> SavedState {
    let mut elements = Elements::default();
    elements.extend(all.iter().copied());
    SavedState { state: name("waiting"), kind: OperatorStateKind::List, elements }
}

/// What `tests/fixtures/v6/manifest.bin` holds: written once, read for ever.
pub(super) fn sample() -> Manifest {
    let split = |id: &str, done| SplitState { id: id.to_owned(), state: vec![1, 2, 3], done };
    Manifest {
        checkpoint: CheckpointId(42),
        version: version(3, 42),
        created_ms: 1_700_000_000_123,
        sources: vec![SourceSplits {
            operator: name("flights"),
            splits: vec![split("a.csv", true), split("b.csv", false)],
        }],
        segments: vec![segment(0, 2, 40), segment(2, 3, 42)],
        horizons: vec![
            Horizon { operator: name("counts"), range: range(0, 63), checkpoint: CheckpointId(39) },
            Horizon {
                operator: name("counts"),
                range: range(64, 127),
                checkpoint: CheckpointId(37),
            },
        ],
        may_have_items: vec![name("counts")],
        unfiltered: vec![name("later")],
        records: 200_000,
        committables: vec![Owed {
            sink: name("files"),
            committable: Committable(b"part-3-0-42".to_vec()),
        }],
        states: vec![StateFormats {
            operator: name("counts"),
            state: name("total"),
            kind: StateKind::Value,
            formats: vec![since(1, "u32"), since(40, "u64")],
        }],
        operator_states: vec![SavedOperator {
            operator: name("pairs"),
            subtasks: vec![vec![saved(&[b"one", b""])], vec![]],
        }],
        slots: SlotTable { segments: vec![0, 8, 8], manifests: vec![1, 1] },
        operator_formats: vec![OperatorFormat {
            operator: name("pairs"),
            state: name("waiting"),
            encoding: since(1, "bytes").encoding,
        }],
        key_types: vec![KeyTypes {
            operator: name("counts"),
            key: key("u64"),
            states: vec![
                SubKeys { state: name("total"), namespace: None, map_key: None },
                SubKeys {
                    state: name("by-day"),
                    namespace: Some(key("string")),
                    map_key: Some(key("u32")),
                },
            ],
        }],
        input_ended: true,
        lifetimes: vec![StateLifetimes {
            operator: name("counts"),
            state: name("total"),
            lifetimes: [
                (1, 1_600_000_000_000, ExpiresBy::Clock),
                (40, 1_700_000_000_000, ExpiresBy::Nothing),
            ]
            .map(|(from, began_ms, by)| Lifetime { from: CheckpointId(from), began_ms, by })
            .to_vec(),
        }],
    }
}

#[test]
fn the_format_is_read_for_ever() {
    let bytes = include_bytes!("../../../tests/fixtures/v6/manifest.bin");
    assert_eq!(Manifest::decode(&[Bytes::from_static(bytes)]).unwrap(), sample());
    // A format may not drift: another text under the same number could not be read by its readers.
    assert_eq!(sample().encode().unwrap(), [Bytes::from_static(bytes)]);
}

/// They said nothing of when expiries ceased to count, then nothing of the end of input, nor of the types of keys, and
/// the oldest one nothing of those of operator states.
#[test]
fn the_formats_before_are_read_too() {
    let bytes = include_bytes!("../../../tests/fixtures/v5/manifest.bin");
    let found = Manifest::decode(&[Bytes::from_static(bytes)]).unwrap();
    let before = Manifest { lifetimes: vec![], ..sample() };
    assert_eq!(found, before);
    let bytes = include_bytes!("../../../tests/fixtures/v4/manifest.bin");
    let found = Manifest::decode(&[Bytes::from_static(bytes)]).unwrap();
    let before = Manifest { input_ended: false, ..before };
    assert_eq!(found, before);
    let bytes = include_bytes!("../../../tests/fixtures/v3/manifest.bin");
    let found = Manifest::decode(&[Bytes::from_static(bytes)]).unwrap();
    let before = Manifest { key_types: vec![], ..before };
    assert_eq!(found, before);
    let bytes = include_bytes!("../../../tests/fixtures/v2/manifest.bin");
    let found = Manifest::decode(&[Bytes::from_static(bytes)]).unwrap();
    assert_eq!(found, Manifest { operator_formats: vec![], ..before });
    let mut unknown = bytes.to_vec();
    unknown[4] = 1;
    let error = Manifest::decode(&[unknown.into()]).unwrap_err();
    assert!(error.message().contains("format 1 is not known here, only 2 to 6"), "{error}");
}

#[test]
fn horizons_are_found_by_key_group() {
    let manifest = sample();
    let counts = name("counts");
    assert_eq!(manifest.horizon_of(&counts, KeyGroup(63)), CheckpointId(39));
    assert_eq!(manifest.horizon_of_range(&counts, range(10, 70)), CheckpointId(37));
    assert_eq!(manifest.horizon_of_range(&counts, range(100, 200)), CheckpointId::NONE);
    assert_eq!(manifest.horizon_of(&name("other"), KeyGroup(0)), CheckpointId::NONE);
    assert!(manifest.may_have_items(&counts) && !manifest.may_have_items(&name("other")));
}

#[test]
fn large_manifests_are_cut_into_parts_that_must_all_be_there_in_order() {
    let parts = sample().encode_in_parts_of(48).unwrap();
    assert!(parts.len() > 3 && parts.iter().all(|p| p.len() <= 48));
    assert_eq!(Manifest::decode(&parts).unwrap(), sample());
    let swapped = [&parts[1..2], &parts[..1], &parts[2..]].concat();
    for wrong in [&parts[1..], &parts[..parts.len() - 1], &swapped, &[]] {
        assert_eq!(Manifest::decode(wrong).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// A text under a right checksum whose elements end where there are no bytes.
#[test]
fn elements_beyond_their_bytes_are_damage() {
    let whole = sample().encode().unwrap().remove(0);
    let mut text = whole[HEADER_BYTES..].to_vec();
    let ends = text.windows(7).position(|at| at == b"\x02\x03\x03\x03one").unwrap();
    text[ends + 2] = 9;
    let error = Manifest::decode(&[encode_part(0, 1, &text)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("operator state waiting"), "{error}");
}

#[test]
fn a_slot_beyond_the_table_is_damage() {
    let mut manifest = sample();
    manifest.segments.push(segment(1 << 50, 3, 42));
    let error = Manifest::decode(&manifest.encode().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// A length inside a text whose checksum is right must not be believed either.
#[test]
fn absurd_lengths_are_damage_and_not_memory() {
    let text =
        [&[42u8, 3, 42, 0, 1, 1][..], &[253, 255, 255, 255, 255, 255, 255, 255, 127]].concat();
    let error = Manifest::decode(&[encode_part(0, 1, &text)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(parts in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..200), 0..4,
    )) {
        let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        prop_assert!(Manifest::decode(&parts).is_err());
    }

    #[test]
    fn any_text_under_a_right_checksum_is_read_without_a_panic(
        text in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        drop(Manifest::decode(&[encode_part(0, 1, &text)]));
    }

    #[test]
    fn any_flipped_bit_is_noticed(at in 0usize..10_000, bit in 0u8..8) {
        let part = sample().encode().unwrap().remove(0);
        let mut bytes = part.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let error = Manifest::decode(&[bytes.into()]).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
#[ignore = "writes the fixture of a new format"]
fn write_fixture() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v6/manifest.bin");
    std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
    std::fs::write(path, &sample().encode().unwrap()[0]).unwrap();
}
