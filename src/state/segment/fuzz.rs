//! Any bytes as a segment, and any bytes as the entries of one.

use super::super::writer::Writer;
use super::tests::checksummed;
use super::*;
use crate::error::ErrorKind;
use crate::fuzzing::Target;

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn raw(limit: usize) -> Vec<RawSegment> {
    let mut writer = Writer::new(limit, [name("count"), name("last")].into(), [false, true].into());
    writer.begin(CheckpointId(7));
    for n in 0..20u8 {
        let value = vec![n; usize::from(n) * 5];
        let append = |out: &mut Vec<u8>| {
            out.extend_from_slice(&value);
            Ok(n % 5 > 0)
        };
        writer
            .entry(usize::from(n % 2), false, |out| out.extend_from_slice(&[n, 1]), append)
            .unwrap();
    }
    writer.finish();
    writer.take()
}

fn stored(raw: &RawSegment) -> Vec<u8> {
    let version = Version { attempt: Attempt(2), checkpoint: raw.checkpoint };
    let range = KeyGroupRange { first: KeyGroup(3), last: KeyGroup(90) };
    encode(raw, version, &name("op"), range).unwrap().to_vec()
}

/// Reads all entries, with and without one before.
fn read(segment: &Segment) -> String {
    let mut answers = String::new();
    let before = Carry {
        from: Some((segment.operator.clone(), segment.version, segment.sequence.wrapping_sub(1))),
        bytes: vec![0, 200, 1, 5],
    };
    for mut carry in [Carry::default(), before] {
        let mut entries = 0;
        let read = segment.each(&mut carry, |entry| {
            assert!(entry.state < segment.states.len());
            entries += 1;
            Ok(())
        });
        match read {
            Ok(()) => answers += &format!("; {entries} entries, some left: {}", !carry.is_empty()),
            Err(e) => answers += &told(&e),
        }
    }
    answers
}

/// An error that names the place.
fn told(error: &Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().starts_with("segment"), "{error}");
    format!("; {error}")
}

#[test]
fn any_bytes_are_a_segment_or_an_error() {
    let mut target = Target::new("segment").repair(checksummed).memory(4 << 20);
    for limit in [40, 100, 4096] {
        target = raw(limit).iter().fold(target, |target, raw| target.seed(stored(raw)));
    }
    target.run(|bytes| match decode(bytes) {
        Ok(segment) => read(&segment),
        Err(e) => told(&e),
    });
}

/// What compression hides from mutations: the header's numbers and the entries themselves.
#[test]
fn any_entries_are_read_or_an_error() {
    let mut target = Target::new("segment-entries").memory(4 << 20);
    for raw in raw(100).iter().chain(&raw(4096)) {
        let header = [raw.continued, raw.unfinished].map(u32::to_le_bytes).concat();
        target = target.seed([&header[..], &raw.bytes].concat());
    }
    target.run(|input| {
        let Some((header, bytes)) = input.split_first_chunk::<8>() else { return String::new() };
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let raw = RawSegment {
            checkpoint: CheckpointId(7),
            sequence: u32::from(header[0]),
            entries: 3,
            states: [name("count"), name("last")].into(),
            expiring: [false, true].into(),
            shares: vec![1, 2],
            bytes: bytes.to_vec(),
            continued: number(0),
            unfinished: number(4),
        };
        match decode(&stored(&raw)) {
            Ok(segment) => {
                assert_eq!(segment.bytes, bytes);
                read(&segment)
            }
            Err(e) => told(&e),
        }
    });
}
