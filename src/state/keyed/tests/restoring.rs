//! What a restart makes of log and items, whole or damaged.

use super::*;

/// Key groups 0 to 63 are cleaned up to checkpoint 1 and no further than that, the others up to 2; a
/// segment of both, written before they were parted, is still named for the sake of the first. What it
/// says of the others is older than their items, also after one more restore.
#[test]
fn parts_of_a_range_keep_their_own_horizons_until_all_are_passed() {
    let (mut low, mut high) = (0, 0);
    let half = |last| KeyGroupRange {
        first: KeyGroup(if last > 63 { 64 } else { 0 }),
        last: KeyGroup(last),
    };
    for key in 0..100u64 {
        let group = config(1).max_parallelism.group_of(key.key_hash());
        if half(63).contains(group) { low = key } else { high = key }
    }
    let mut wide = One::new();
    wide.set(low, 1);
    wide.set(high, 1);
    let segment = stored(&wide.complete(1)[0], 1);
    wide.set(high, 2);
    let passed = stored(&wide.complete(2)[0], 1);
    let mut at = RestorePoint {
        checkpoint: CheckpointId(2),
        oldest_retained: CheckpointId(2),
        horizons: vec![(half(63), CheckpointId(0)), (half(127), CheckpointId(2))],
        items_sent: true,
        ..RestorePoint::default()
    };
    for attempt in 2..4 {
        let mut one = One::at(attempt, at.clone());
        assert!(one.state.replay(&segment).unwrap(), "it holds an entry that the horizon left");
        assert!(!one.state.replay(&passed).unwrap(), "it is let go before this subtask's log is");
        one.state.finish_restore().unwrap();
        let row = one.row(low);
        assert_eq!(one.state.get(one.count, row), Some(&1));
        assert!(!one.state.is_loading(row));
        let row = one.row(high);
        assert!(one.state.is_loading(row), "its item is newer than the segment");
        at.checkpoint = at.checkpoint.next();
        at.horizons = one.state.freeze(at.checkpoint).unwrap().horizons;
        assert_eq!(at.horizons[1], (half(127), CheckpointId(2)));
        if attempt == 3 {
            one.clean_all();
            let next = at.checkpoint.next();
            one.state.completed(at.checkpoint);
            let horizons = one.state.freeze(next).unwrap().horizons;
            assert_eq!(horizons, [(config(1).range, at.checkpoint)]);
        }
    }
}

#[test]
fn an_absent_key_is_read_only_where_items_may_exist() {
    let mut fresh = One::new();
    let row = fresh.row(1);
    assert!(!fresh.state.is_loading(row) && fresh.state.take_reads().is_empty());
    fresh.state.end_batch();
    assert_eq!(fresh.state.stats().rows, 0, "given away unused");

    let mut one = One::at(1, RestorePoint { items_sent: true, ..RestorePoint::default() });
    one.state.finish_restore().unwrap();
    let row = one.row(1);
    assert_eq!(one.row(1), row, "found again while loading");
    let reads = one.state.take_reads();
    assert_eq!(reads.len(), 1);
    assert!(one.state.is_loading(row));
    one.state.end_batch();
    assert_eq!(one.state.stats().rows, 1, "kept while loading");
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(3) };
    let item = Item::new(version, Some(vec![9].into()));
    assert!(one.state.loaded(&reads[0], Some(&item)).unwrap());
    assert_eq!(one.state.get(one.count, row), Some(&9));
    one.state.end_batch();
    assert_eq!(one.state.stats().pinned_entries, 0);
}

#[test]
fn a_damaged_item_names_the_state() {
    let mut one = One::at(1, RestorePoint { items_sent: true, ..RestorePoint::default() });
    one.state.finish_restore().unwrap();
    one.row(1);
    let read = one.state.take_reads().remove(0);
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(3) };
    let item = Item::new(version, Some(vec![1, 2, 3].into()));
    let error = one.state.loaded(&read, Some(&item)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("count"), "{error}");
}

/// They used to say "segment" and no more.
#[test]
fn damage_in_the_log_names_segment_and_state() {
    let segments = |limit, key: &[u8], value: &[u8]| {
        let mut writer = Writer::new(limit, [Name::new("count").unwrap()].into(), [false].into());
        writer.begin(CheckpointId(7));
        let append = |out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok(true)
        };
        writer.entry(0, false, |out| out.extend_from_slice(key), append).unwrap();
        writer.finish();
        writer.take()
    };
    let restored = || {
        let checkpoint = CheckpointId(7);
        let at =
            RestorePoint { checkpoint, oldest_retained: checkpoint, ..RestorePoint::default() };
        One::at(2, at).state
    };
    let first = "segment 0 of operator counts, checkpoint 7, attempt 1: ";
    for (key, value, what) in [
        (&[1, 2, 3][..], &[1][..], "a key of state count: "),
        (&[0; 9], &[1], "a key of state count: "),
        (&[0; 8], &[251], "state count: "),
    ] {
        let error = restored().replay(&stored(&segments(4096, key, value)[0], 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().starts_with(&format!("{first}{what}")), "{error}");
    }
    let segments = segments(16, &[0; 8], &[0; 99]);
    let mut state = restored();
    state.replay(&stored(&segments[0], 1)).unwrap();
    let error = state.finish_restore().unwrap_err();
    assert!(error.to_string().starts_with(&first.replace('0', "1")), "{error}");
    let error = restored().replay(&stored(&segments[1], 1)).unwrap_err();
    assert!(error.to_string().starts_with(&first.replace('0', "1")), "{error}");
}
