//! The plain model of random jobs: what each state holds, as a map of numbers.
//!
//! Owns the values, when they expire, and how the bytes of items and of the log amount to them. What a record
//! does to them is `acts`'.

use std::collections::{BTreeMap, BTreeSet};

use super::codecs::AsJson;
use super::handles::{Asked, MapKey, Sum, number_of};
use super::*;
use crate::codec::{Bincode, Codec, Value};
use crate::state::native::from_native;
use crate::state::{ItemKey, Ttl, UpdateType};

/// Where a value is: the state's name without `-n`, key, namespace and map key.
pub(super) type Place = (&'static str, u16, Option<u8>, Option<u8>);

/// What the states hold: numbers, the length of a text, or a list's elements; nothing that is empty.
/// Each with when it expires, 0 for never; what has expired may still be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model(BTreeMap<Place, Vec<(u64, u64)>>);

/// A value as an item or the log has it.
pub(super) struct Stored<'v> {
    pub(super) bytes: &'v [u8],
    pub(super) native: bool,
    pub(super) expires: u64,
}

/// A model at the time of a record.
pub(super) struct At<'m> {
    pub(super) model: &'m mut Model,
    pub(super) ttl: Option<Ttl>,
    pub(super) now: u64,
}

impl At<'_> {
    fn expiry(&self) -> u64 {
        self.ttl.map_or(0, |ttl| self.now + ttl.after.as_millis() as u64)
    }

    /// A late record shortens no life.
    fn begun(&self, old: u64) -> u64 {
        let by_records = self.ttl.is_some_and(|ttl| ttl.is_by_event_time());
        if by_records { self.expiry().max(old) } else { self.expiry() }
    }

    pub(super) fn put(&mut self, place: Place, value: Vec<u64>) {
        let expires = self.expiry();
        self.model.0.insert(place, value.into_iter().map(|n| (n, expires)).collect());
    }

    /// The value is changed in place.
    pub(super) fn change(&mut self, place: Place, value: Vec<u64>) {
        let old = self.model.0.get(&place).map_or(0, |all| all[0].1);
        let expires = self.begun(old);
        self.model.0.insert(place, value.into_iter().map(|n| (n, expires)).collect());
    }

    pub(super) fn append(&mut self, place: Place, elements: impl IntoIterator<Item = u64>) {
        let expires = self.expiry();
        let mut elements = elements.into_iter().map(|element| (element, expires)).peekable();
        if elements.peek().is_some() {
            self.model.0.entry(place).or_default().extend(elements);
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.model.0.remove(&place);
    }

    /// Where there is something, from one place to another: none of those between is looked at, since they are many.
    pub(super) fn places(&self, from: Place, to: Place) -> Vec<Place> {
        if from > to {
            return Vec::new();
        }
        self.model.0.range(from..=to).map(|(place, _)| *place).collect()
    }

    fn is_visible(&self, expires: u64) -> bool {
        expires == 0 || expires > self.now
    }

    /// What a record sees there: nothing that is empty.
    pub(super) fn visible(&self, place: Place) -> Option<Vec<u64>> {
        let all = self.model.0.get(&place)?.iter();
        let visible: Vec<u64> =
            all.filter(|(_, expires)| self.is_visible(*expires)).map(|(value, _)| *value).collect();
        (!visible.is_empty()).then_some(visible)
    }

    pub(super) fn number(&self, place: Place) -> Option<u64> {
        self.visible(place).map(|value| value[0])
    }

    /// A record reads what it sees there: that begins what has not begun, or all of it.
    pub(super) fn read(&mut self, place: Place) {
        let Some(ttl) = self.ttl else { return };
        let refreshes = ttl.update == UpdateType::OnReadAndWrite;
        let mut all = self.model.0.remove(&place).unwrap_or_default();
        for (_, expires) in &mut all {
            if *expires == 0 || refreshes && *expires > self.now {
                *expires = self.begun(*expires);
            }
        }
        if !all.is_empty() {
            self.model.0.insert(place, all);
        }
    }
}

impl Model {
    /// The keys that have something in a state.
    pub(super) fn keys(&self, state: &str, asked: Asked) -> BTreeSet<(u16, Option<u8>)> {
        let is_meant = |n: Option<u8>| match asked {
            Asked::In(namespace) => n == namespace,
            Asked::InAny => n.is_some(),
        };
        let of_state = |(name, _, n, _): &&Place| *name == state && is_meant(*n);
        self.0.keys().filter(of_state).map(|(_, key, n, _)| (*key, *n)).collect()
    }

    /// Without what expires by `gone`.
    pub(super) fn left(&self, gone: u64) -> Self {
        let mut left = self.clone();
        left.0.values_mut().for_each(|all| all.retain(|(_, expires)| !is_gone(*expires, gone)));
        left.0.retain(|_, value| !value.is_empty());
        left
    }

    /// What lives on of values that have expired by the clock where `by_clock`, or else by the times of records, once
    /// that ends at `now`: without an expiry.
    pub(super) fn lasting(&self, by_clock: bool, now: u64) -> Self {
        let mut lasting = if by_clock { self.left(now) } else { self.clone() };
        lasting.0.values_mut().flatten().for_each(|(_, expires)| *expires = 0);
        lasting
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stored entries, in the order of their keys, amount to; each with its state, key and value.
    pub(super) fn of_entries<'e>(
        entries: impl IntoIterator<Item = (&'e str, &'e [u8], Stored<'e>)>,
    ) -> Self {
        let mut model = Self::default();
        for (state, sort_key, stored) in entries {
            let (place, value) = decoded(state, sort_key, &stored);
            model.0.entry(place).or_default().extend(value);
        }
        model.0.retain(|_, value| !value.is_empty());
        model
    }

    /// Whether an item's value is the model's, or gone; of a chunk of a list it cannot be told.
    pub(super) fn agrees(&self, key: &ItemKey, item: &Item, gone: u64) -> bool {
        let state = key.state.as_str();
        if state.starts_with("list") {
            return true;
        }
        match &item.value {
            Some(value) => {
                let expires = item.expires_ms.unwrap_or(0);
                let stored = Stored { bytes: value, native: item.native, expires };
                let (place, value) = decoded(state, &key.sort_key, &stored);
                self.0.get(&place) == Some(&value)
            }
            None => {
                let place = place_of(state, &mut &key.sort_key[..]);
                self.0.get(&place).is_none_or(|all| all.iter().all(|(_, e)| is_gone(*e, gone)))
            }
        }
    }
}

fn is_gone(expires: u64, gone: u64) -> bool {
    expires != 0 && expires <= gone
}

fn place_of(state: &str, sort_key: &mut &[u8]) -> Place {
    let names = ["a", "b", "map", "list", "most", "sum", "value"];
    let name = names.into_iter().find(|name| *name == state.trim_end_matches("-n")).unwrap();
    let key = u16::decode(sort_key).unwrap();
    let namespace = state.ends_with("-n").then(|| u8::decode(sort_key).unwrap());
    let map_key = (name == "map").then(|| number_of(MapKey::decode(sort_key).unwrap()));
    if name == "list" {
        <(u32, u32)>::decode(sort_key).unwrap();
    }
    assert!(sort_key.is_empty());
    (name, key, namespace, map_key)
}

fn decoded(state: &str, mut sort_key: &[u8], stored: &Stored<'_>) -> (Place, Vec<(u64, u64)>) {
    let place = place_of(state, &mut sort_key);
    fn read<V: Value>(state: &str, stored: &Stored<'_>) -> V {
        let has_own_codec = state == "a" || state.ends_with("-n");
        let read = match (stored.native, has_own_codec) {
            (true, _) => from_native(stored.bytes),
            (false, true) => AsJson::decode(stored.bytes),
            (false, false) => Bincode::decode(stored.bytes),
        };
        read.unwrap()
    }
    let value = match place.0 {
        "b" => vec![read::<String>(state, stored).len() as u64],
        "list" => {
            let list: Vec<u16> = read(state, stored);
            list.into_iter().map(u64::from).collect()
        }
        "sum" => {
            let (sum, count): Sum = read(state, stored);
            vec![sum, count]
        }
        _ => vec![read(state, stored)],
    };
    (place, value.into_iter().map(|n| (n, stored.expires)).collect())
}
