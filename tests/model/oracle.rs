//! The promises that are looked at after each step.

use std::cell::RefCell;
use std::collections::HashMap;

use millpond::checkpoint::{Manifest, Retained};

use super::attempt::{World, position_of};
use super::bounds::{KEYS, Op};
use super::cell::Cell;
use super::names::ranges;
use super::state::State;
use super::subtask::{From, Subtask};
use super::table::{Table, Value};

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// What the head retains cannot be read any more.
    NotThere,
    /// A retained checkpoint does not restore to the fold of the input up to its position.
    RestoresWrong,
    /// A slot that a retained manifest names holds another version.
    SlotOverwritten,
    /// An attempt that is not fenced read a wrong value.
    ReadsWrong,
    /// An attempt that is not fenced misses a segment that it needs.
    SegmentGone,
    /// The head went back without a roll-back.
    HeadWentBack,
    /// An attempt that is not fenced believes another manifest completed than the head names.
    OtherManifest,
    /// Two processes began the same attempt.
    TwoOwners,
    /// A record's output was published twice.
    OutputTwice,
    /// … before the head named its checkpoint.
    OutputEarly,
    /// … is neither published nor owed.
    OutputLost,
    /// A read from outside gave what was not the value at its checkpoint.
    ReaderWrong,
    /// A restored attempt begins at another position than its checkpoint's.
    OtherPosition,
}

/// The value of `key` after the first `position` records.
pub(crate) fn fold(input: &[Op], position: u8, key: u8) -> Value {
    let of_key = |(number, op): (usize, &Op)| match *op {
        Op::Set(of) if of == key => Some(Some(number as u8)),
        Op::Delete(of) if of == key => Some(None),
        _ => None,
    };
    input[..position as usize].iter().enumerate().rev().find_map(of_key).flatten()
}

/// What was found in tables of a world, by their hashes.
type Seen = (Option<World>, HashMap<u64, Option<Broken>>);

thread_local! {
    /// Tables of one world that were looked at: many states share one.
    static SEEN: RefCell<Seen> = RefCell::default();
}

const MOST_SEEN: usize = 1 << 17;

/// Whether everything that the head retains restores to what it should.
pub(crate) fn check_table(world: &World, table: &Cell<Table>) -> Option<Broken> {
    SEEN.with_borrow_mut(|(of, seen)| {
        if of.as_ref() != Some(world) || seen.len() >= MOST_SEEN {
            *of = Some(*world);
            seen.clear();
        }
        *seen.entry(table.hash()).or_insert_with(|| look_at(world, table))
    })
}

fn look_at(world: &World, table: &Table) -> Option<Broken> {
    let head = table.head.as_ref()?;
    head.retained.iter().find_map(|retained| look_at_retained(world, table, retained))
}

fn look_at_retained(world: &World, table: &Table, retained: &Retained) -> Option<Broken> {
    let Some(manifest) = table.manifest(world.rules, retained) else {
        return Some(Broken::NotThere);
    };
    if manifest.segments.iter().any(|s| table.fetch(world.rules, s).is_none()) {
        return Some(Broken::SlotOverwritten);
    }
    let position = position_of(Some(&manifest));
    let all = if world.bounds.rescale { 1..=2 } else { 1..=1 };
    for parallelism in all {
        for key in 0..KEYS as u8 {
            let expected = fold(world.bounds.input, position, key);
            if restored_value(world, table, retained, &manifest, parallelism, key)? != expected {
                return Some(Broken::RestoresWrong);
            }
        }
    }
    None
}

/// A key's value as an attempt that restores it would have it; `None` where it cannot be restored,
/// which was looked at before.
fn restored_value(
    world: &World,
    table: &Table,
    retained: &Retained,
    manifest: &Manifest,
    parallelism: u8,
    key: u8,
) -> Option<Value> {
    let checkpoint = retained.checkpoint;
    let from = From { checkpoint, oldest_retained: checkpoint, manifest: Some(manifest) };
    let range = ranges(parallelism).find(|r| r.contains(millpond::KeyGroup(key.into())))?;
    let subtask = Subtask::restored(world.rules, table, range, from)?;
    let entry = subtask.entries[key as usize];
    if entry.resident {
        return Some(entry.value);
    }
    let item = table.items[key as usize].filter(|_| subtask.needs_read(key));
    Some(item.and_then(|item| item.value))
}

/// Output: published at most once, and at any time either published or owed by the head.
pub(crate) fn check_output(world: &World, state: &State) -> Option<Broken> {
    let head = state.table.head.as_ref();
    let newest = head.and_then(|head| head.retained.last().copied());
    let manifest = newest.and_then(|newest| state.table.manifest(world.rules, &newest));
    let position = position_of(manifest.as_deref());
    let mut times = [0u8; 8];
    for [.., from, to] in &state.published {
        if *to > position {
            return Some(Broken::OutputEarly);
        }
        (*from..*to).for_each(|number| times[number as usize] += 1);
    }
    if times.iter().any(|times| *times > 1) {
        return Some(Broken::OutputTwice);
    }
    for owed in manifest.iter().flat_map(|m| &m.committables) {
        (owed.committable.0[2]..owed.committable.0[3]).for_each(|n| times[n as usize] += 1);
    }
    let lost = times[..position as usize].contains(&0);
    lost.then_some(Broken::OutputLost)
}
