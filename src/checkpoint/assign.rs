//! Who gets what after a restart, at any parallelism: splits, segments and operator state. Flink:
//! `StateAssignmentOperation`.
//!
//! Owns pure functions from a manifest to shares.

use super::manifest::Manifest;
use super::messages::{SavedOperator, SegmentRef};
use super::rules;
use crate::handover::SplitState;
use crate::ids::Name;
use crate::key_group::KeyGroupRange;
use crate::state::unkeyed::{Elements, OperatorStateKind, SavedState};
use crate::teeth::{Tooth, bites};

/// Hands the splits that are not done to `parallelism` subtasks in turn, in the order in which they
/// were discovered. Equal input gives equal shares. Done splits go to nobody: the coordinator keeps
/// them in the manifests.
#[must_use]
pub fn splits(all: &[SplitState], parallelism: u32) -> Vec<Vec<SplitState>> {
    let mut shares = vec![Vec::new(); parallelism as usize];
    let remaining = all.iter().filter(|split| !split.done);
    for (share, split) in (0..shares.len()).cycle().zip(remaining) {
        shares[share].push(split.clone());
        if bites(Tooth::SplitReadTwice) && parallelism > 1 {
            shares[(share + 1) % parallelism as usize].push(split.clone());
        }
    }
    shares
}

/// The live segments of `operator` that a subtask with `range` replays, in the order of replay.
/// Entries of another range are in them too.
#[must_use]
pub fn segments(manifest: &Manifest, operator: &Name, range: KeyGroupRange) -> Vec<SegmentRef> {
    let of: Vec<SegmentRef> =
        manifest.segments.iter().filter(|s| s.operator == *operator).cloned().collect();
    rules::segments_for(&of, &manifest.horizons, range)
}

/// What each of `parallelism` subtasks is given of an operator's state.
///
/// Lists stay where they are at an equal parallelism. At another one, all elements in the order of the
/// subtasks that had them are cut into as many pieces, whose sizes differ by one at most. Of a union list
/// every subtask is given all elements in that order, of a broadcast map the copy that was saved.
#[must_use]
pub fn operator_state(saved: &SavedOperator, parallelism: u32) -> Vec<Vec<SavedState>> {
    let mut states: Vec<(&Name, OperatorStateKind)> = Vec::new();
    for SavedState { state, kind, .. } in saved.subtasks.iter().flatten() {
        if !states.iter().any(|(known, _)| *known == state) {
            states.push((state, *kind));
        }
    }
    let mut shares = vec![Vec::new(); parallelism as usize];
    for (state, kind) in states {
        let of_state = |of_subtask: &Vec<SavedState>| -> Elements {
            let found = of_subtask.iter().find(|saved| saved.state == *state);
            found.map(|saved| saved.elements.clone()).unwrap_or_default()
        };
        let former: Vec<Elements> = saved.subtasks.iter().map(of_state).collect();
        for (share, elements) in shares.iter_mut().zip(hand_out(kind, former, parallelism)) {
            if !elements.is_empty() {
                share.push(SavedState { state: state.clone(), kind, elements });
            }
        }
    }
    shares
}

fn hand_out(kind: OperatorStateKind, former: Vec<Elements>, parallelism: u32) -> Vec<Elements> {
    let all = |former: Vec<Elements>| {
        let mut all = Elements::default();
        former.iter().for_each(|elements| all.extend(elements.iter()));
        all
    };
    let dealt_out = kind == OperatorStateKind::List
        || (kind == OperatorStateKind::Union && bites(Tooth::UnionDealtOut));
    if !dealt_out {
        return vec![all(former); parallelism as usize];
    }
    if former.len() == parallelism as usize {
        return former;
    }
    let (all, parts) = (all(former), parallelism as usize);
    let twice = usize::from(bites(Tooth::ListDealtTwice));
    let piece = |part: usize| {
        let (start, end) = (part * all.len() / parts, (part + 1) * all.len() / parts);
        let mut elements = Elements::default();
        elements.extend(all.iter().take(end).skip(start.saturating_sub(twice)));
        elements
    };
    (0..parts).map(piece).collect()
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(id: usize, done: bool) -> SplitState {
        SplitState { id: id.to_string(), state: vec![1], done }
    }

    proptest! {
        #[test]
        fn each_remaining_split_goes_to_one_subtask_and_shares_are_even(
            done in proptest::collection::vec(any::<bool>(), 0..40), parallelism in 1u32..9,
        ) {
            let all: Vec<_> = done.iter().enumerate().map(|(id, d)| split(id, *d)).collect();
            let shares = splits(&all, parallelism);
            prop_assert_eq!(shares.len(), parallelism as usize);
            let mut given: Vec<_> = shares.iter().flatten().cloned().collect();
            given.sort_by_key(|s| s.id.parse::<usize>().unwrap());
            let remaining: Vec<_> = all.iter().filter(|s| !s.done).cloned().collect();
            prop_assert_eq!(given, remaining);
            let sizes = shares.iter().map(Vec::len);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    fn elements(all: &[u16]) -> Elements {
        let mut elements = Elements::default();
        all.iter().for_each(|element| elements.extend([&element.to_le_bytes()[..]]));
        elements
    }

    fn saved(kind: OperatorStateKind, subtasks: &[Vec<u16>]) -> SavedOperator {
        let name = |text| Name::new(text).unwrap();
        let of = |all: &Vec<u16>| match &all[..] {
            [] => Vec::new(),
            all => vec![SavedState { state: name("state"), kind, elements: elements(all) }],
        };
        SavedOperator { operator: name("op"), subtasks: subtasks.iter().map(of).collect() }
    }

    fn shares(saved: &SavedOperator, parallelism: u32) -> Vec<Vec<u16>> {
        let number = |element: &[u8]| u16::from_le_bytes([element[0], element[1]]);
        let of = |share: Vec<SavedState>| -> Vec<u16> {
            share.iter().flat_map(|saved| saved.elements.iter().map(number)).collect()
        };
        operator_state(saved, parallelism).into_iter().map(of).collect()
    }

    proptest! {
        #[test]
        fn a_list_is_dealt_out_evenly_in_order_and_stays_where_it_is_at_an_equal_parallelism(
            former in proptest::collection::vec(proptest::collection::vec(any::<u16>(), 0..9), 1..6),
            parallelism in 1u32..7,
        ) {
            let shares = shares(&saved(OperatorStateKind::List, &former), parallelism);
            if parallelism as usize == former.len() {
                prop_assert_eq!(shares, former);
            } else {
                let sizes = shares.iter().map(Vec::len);
                prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
                prop_assert_eq!(shares.concat(), former.concat());
            }
        }

        #[test]
        fn a_union_list_goes_to_all_and_a_map_too(
            former in proptest::collection::vec(proptest::collection::vec(any::<u16>(), 0..9), 1..6),
            parallelism in 1u32..7,
        ) {
            let union = shares(&saved(OperatorStateKind::Union, &former), parallelism);
            prop_assert_eq!(union, vec![former.concat(); parallelism as usize]);
            let map = saved(OperatorStateKind::Broadcast, &former[..1]);
            prop_assert_eq!(shares(&map, parallelism), vec![former[0].clone(); parallelism as usize]);
        }
    }
}
