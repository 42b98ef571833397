//! Tests of the format: what is written is read, whatever else is an error.

use proptest::prelude::*;

use super::super::writer::{Writer, put_number};
use super::*;

type Change = (usize, Vec<u8>, Option<Vec<u8>>);

fn states() -> Vec<Name> {
    ["count", "last"].map(|name| Name::new(name).unwrap()).to_vec()
}

fn range() -> KeyGroupRange {
    KeyGroupRange { first: KeyGroup(3), last: KeyGroup(90) }
}

fn raw_segments(limit: usize, changes: &[Change]) -> Vec<RawSegment> {
    let mut writer = Writer::new(limit, states().into(), [false, false].into());
    writer.begin(CheckpointId(7));
    for (state, key, value) in changes {
        let append = |out: &mut Vec<u8>| {
            out.extend_from_slice(value.as_deref().unwrap_or_default());
            Ok(value.is_some())
        };
        writer.entry(*state, false, |out| out.extend_from_slice(key), append).unwrap();
    }
    writer.finish();
    writer.take()
}

fn stored(raw: &RawSegment) -> Bytes {
    let version = Version { attempt: Attempt(2), checkpoint: raw.checkpoint };
    encode(raw, version, &Name::new("op").unwrap(), range()).unwrap()
}

fn read_all(segments: &[Segment]) -> Result<Vec<Change>> {
    let (mut carry, mut changes) = (Carry::default(), Vec::new());
    for segment in segments {
        segment.each(&mut carry, |entry| {
            changes.push((entry.state, entry.key.to_vec(), entry.value.map(<[u8]>::to_vec)));
            Ok(())
        })?;
    }
    Ok(changes)
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = |n| prop::collection::vec(any::<u8>(), 0..n);
    (0usize..2, bytes(20), prop::option::of(prop_oneof![9 => bytes(30), 1 => bytes(400)]))
}

/// Each part used to keep the room of all that was left with it.
#[test]
fn a_large_entry_takes_its_length_in_segments_and_not_its_square() {
    let (length, key) = (4 << 20, (0, vec![1], Some(vec![2; 10])));
    let raw = raw_segments(4096, &[key.clone(), (1, vec![3], Some(vec![5; length])), key]);
    assert!(raw.len() > length / 4096);
    let room: usize = raw.iter().map(|raw| raw.bytes.capacity()).sum();
    assert!(room <= 2 * length, "{room} bytes of memory");
}

/// A segment with a true checksum, whatever else is wrong with it.
pub(super) fn checksummed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= CHECKED_FROM {
        bytes[..4].copy_from_slice(MAGIC);
        let checksum = crc32fast::hash(&bytes[CHECKED_FROM..]);
        bytes[4..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_whatever_the_size_of_segments(
        changes in prop::collection::vec(change(), 0..40),
        limit in 16usize..600,
    ) {
        let raw = raw_segments(limit, &changes);
        prop_assert!(raw.iter().all(|raw| raw.len() <= limit && !raw.is_empty()));
        let entries: u32 = raw.iter().map(|raw| raw.entries).sum();
        prop_assert_eq!(entries as usize, changes.len());
        let segments: Vec<Segment> = raw.iter().map(|raw| decode(&stored(raw)).unwrap()).collect();
        for (i, segment) in segments.iter().enumerate() {
            prop_assert_eq!(segment.sequence as usize, i);
            prop_assert_eq!(segment.range, range());
        }
        prop_assert_eq!(read_all(&segments).unwrap(), changes);
    }

    #[test]
    fn a_segment_that_is_missing_is_noticed_where_an_entry_crosses_it(
        changes in prop::collection::vec(change(), 1..20),
        limit in 16usize..60,
        lost: prop::sample::Index,
    ) {
        let raw = raw_segments(limit, &changes);
        let mut segments: Vec<Segment> =
            raw.iter().map(|raw| decode(&stored(raw)).unwrap()).collect();
        let lost = lost.index(segments.len());
        segments.remove(lost);
        let crossed = raw[lost].continued > 0 || raw[lost].unfinished > 0;
        let is_last = lost + 1 == raw.len();
        prop_assert_eq!(read_all(&segments).is_err(), crossed && !is_last);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decode(&checksummed(bytes));
    }

    #[test]
    fn a_changed_byte_is_found(
        changes in prop::collection::vec(change(), 1..10),
        place: prop::sample::Index,
        with in 1u8..,
    ) {
        let mut bytes = stored(&raw_segments(1000, &changes)[0]).to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= with;
        prop_assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    /// Behind a true checksum, so that every check after it is reached.
    #[test]
    fn damage_that_the_checksum_hides_never_panics(
        changes in prop::collection::vec(change(), 1..10),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = stored(&raw_segments(1000, &changes)[0]).to_vec();
        for (place, with) in damage {
            let place = place.index(bytes.len());
            bytes[place] = with;
        }
        if let Ok(segment) = decode(&checksummed(bytes)) {
            let _ = read_all(&[segment]);
        }
    }

    #[test]
    fn entries_of_arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        continued in 0usize..10,
        unfinished in 0usize..10,
    ) {
        let mut segment = decode(&stored(&raw_segments(99, &[(0, vec![], None)])[0])).unwrap();
        segment.continued = continued.min(bytes.len());
        segment.unfinished = unfinished.min(bytes.len() - segment.continued);
        segment.bytes = bytes;
        let _ = read_all(&[segment]);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let good = stored(&raw_segments(99, &[(1, vec![1], None)])[0]).to_vec();
    let message = |bytes: Vec<u8>| decode(&bytes).unwrap_err().message().to_owned();
    assert!(message(vec![1, 2]).contains("magic"));
    assert!(message([b"MPXX", &good[4..]].concat()).contains("MPSG"));
    assert!(message(good[..good.len() - 1].to_vec()).contains("checksum"));
    let mut newer = good;
    newer[CHECKED_FROM] = 9;
    assert!(message(checksummed(newer)).contains("format 9"));
}

#[test]
fn the_largest_segment_is_a_block_even_if_it_cannot_be_compressed() {
    let mut noise = 1u64;
    let value = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 56) as u8
    });
    let value = Some(value.take(1_000_000).collect());
    let raw = raw_segments(usize::MAX, &[(0, vec![1], value)]);
    assert_eq!(raw.len(), 4);
    assert!(raw.iter().all(|raw| stored(raw).len() <= MAX_BLOCK_BYTES));
}

/// Bytes of each format as they were first written: they must be read for ever.
#[test]
fn golden_headers() {
    let raw = &raw_segments(99, &[(1, vec![0xAB], Some(vec![5]))])[0];
    let bytes = stored(raw);
    let first = header(1, b"\x02op\x02\x00\x05count\x04last");
    let second = header(2, b"\x02op\x02\x00\x05count\x00\x00\x00\x00\x04last\x05\x00\x00\x00");
    assert_eq!(&bytes[CHECKED_FROM..CHECKED_FROM + second.len()], &second[..]);
    let packed = &bytes[CHECKED_FROM + second.len()..];
    let older = checksummed([&[0; CHECKED_FROM], &first[..], packed].concat());
    for bytes in [&bytes[..], &older] {
        assert_eq!(decode(bytes).unwrap().bytes, [1, 1, 0xAB, 2, 5]);
    }
    let (operator, states) = shares(&older).unwrap();
    assert_eq!((operator.as_str(), states), ("op", Vec::new()));
    assert_eq!(shares(&bytes).unwrap(), (operator, vec![(Name::new("last").unwrap(), 5)]));
}

fn header(format: u8, names: &[u8]) -> Vec<u8> {
    let mut header = vec![format];
    header.extend_from_slice(&2u64.to_le_bytes());
    header.extend_from_slice(&7u64.to_le_bytes());
    header.extend_from_slice(&[0, 0, 0, 0, 3, 0, 90, 0]);
    header.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
    header.extend_from_slice(names);
    header
}

#[test]
fn each_byte_is_some_states_share() {
    let large = (0, vec![1; 20], Some(vec![7; 250]));
    let changes = [(1, vec![2], None), (1, vec![3], Some(vec![1; 30])), large, (1, vec![4], None)];
    let raw = raw_segments(100, &changes);
    assert!(raw.len() > 3);
    for raw in &raw {
        assert_eq!(raw.shares.iter().sum::<u32>() as usize, raw.len(), "{raw:?}");
    }
    let whole = |state: usize| raw.iter().map(|raw| raw.shares[state]).sum::<u32>();
    assert_eq!(whole(1), 4 + 34 + 4);
}

#[test]
fn values_of_a_state_with_a_time_to_live_begin_with_their_expiry() {
    let mut writer = Writer::new(1000, states().into(), [true, false].into());
    writer.begin(CheckpointId(7));
    let late = Some(Expiry { ms: 1_700_000_000_000, event_time: true });
    for (state, expiry) in [(0, Some(late)), (1, None), (0, Some(None))] {
        let value = |out: &mut Vec<u8>| {
            if let Some(expiry) = expiry {
                put_number(out, Expiry::number(expiry));
            }
            out.extend_from_slice(b"value");
            Ok(true)
        };
        writer.entry(state, false, |out| out.push(1), value).unwrap();
    }
    writer.entry(0, false, |out| out.push(2), |_| Ok(false)).unwrap();
    writer.finish();
    let bytes = stored(&writer.take()[0]);
    assert_eq!(shares(&bytes).unwrap().1.len(), 2);
    let segment = decode(&bytes).unwrap();
    assert_eq!(segment.states, states());
    let mut read = Vec::new();
    let each = |entry: Entry<'_>| {
        read.push((entry.value.map(<[u8]>::to_vec), entry.expires));
        Ok(())
    };
    segment.each(&mut Carry::default(), each).unwrap();
    let value = || Some(b"value".to_vec());
    assert_eq!(read, [(value(), late), (value(), None), (value(), None), (None, None)]);
}
