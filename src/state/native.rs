//! Values as DynamoDB attributes, for other readers of the table.
//!
//! Owns which values can be written so, and the way there and back. What travels is DynamoDB's JSON of
//! one attribute (`{"M": {"count": {"N": "7"}}}`), which the store turns into the attribute itself.
//!
//! A value is written so only if it surely comes back as it was: it is read back before it is handed out,
//! what DynamoDB changes or refuses (a number of more than 38 digits, one without end, a negative zero, a
//! deep nest, a map's key that is empty or has 64 KB) is looked for. All others stay bytes. It is decided for each value as it is materialised,
//! some microseconds each where they are small, off the worker (`pending`).
//!
//! A map's order cannot be looked for so: a hash map comes back in another one each time and is the same,
//! while an ordered map is not, and by chance comes back right. So types with maps that may keep an order are
//! not fit at all.

use serde_dynamo::{AttributeValue, from_attribute_value, to_attribute_value};

use crate::codec::{Codec, DecodeError, Schema, Value};

/// Deepest nest that DynamoDB takes.
const MAX_DEPTH: usize = 31;
/// A value that is larger as JSON stays bytes, so that it surely fits into one item.
const MAX_BYTES: usize = 200_000;
/// Of a name, in maps too: it has a letter, and less than 64 KB. The embedded database takes longer ones.
const NAME_BYTES: std::ops::RangeInclusive<usize> = 1..=65_535;
/// DynamoDB's numbers: digits that count, and the place of the first one.
const MAX_DIGITS: usize = 38;
const PLACES: std::ops::RangeInclusive<i64> = -129..=125;

/// Whether values of `T` can be looked at at all.
pub(super) fn is_fit<T: Value>() -> bool {
    // The serializer panics at other keys. DynamoDB's maps have no order.
    Schema::of::<T>().has_plain_keys() && !Schema::may_keep_order::<T>()
}

/// `bytes` of codec `C` as an attribute's JSON, if the value survives that.
pub(super) fn to_native<T: Value, C: Codec<T>>(bytes: &[u8]) -> Option<Vec<u8>> {
    let value = C::decode(bytes).ok()?;
    let attribute: AttributeValue = to_attribute_value(&value).ok()?;
    if !is_storable(&attribute, MAX_DEPTH) {
        return None;
    }
    let back: T = from_attribute_value(attribute.clone()).ok()?;
    let again: AttributeValue = to_attribute_value(&back).ok()?;
    let mut coded = Vec::new();
    C::encode(&back, &mut coded).ok()?;
    if again != attribute || how_many(&coded) != how_many(bytes) {
        return None;
    }
    serde_json::to_vec(&attribute).ok().filter(|json| json.len() <= MAX_BYTES)
}

/// How often each byte occurs: what tells `Some(())` from `None`, and is the same in whatever order a hash
/// map gives its entries out.
pub(super) fn how_many(bytes: &[u8]) -> [u32; 256] {
    let mut counts = [0; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    counts
}

/// The value of an attribute's JSON.
pub(crate) fn from_native<T: Value>(json: &[u8]) -> Result<T, DecodeError> {
    let attribute: AttributeValue = serde_json::from_slice(json).map_err(DecodeError::new)?;
    from_attribute_value(attribute).map_err(DecodeError::new)
}

/// Whether DynamoDB takes it and gives back the same.
fn is_storable(attribute: &AttributeValue, depth: usize) -> bool {
    match attribute {
        AttributeValue::N(number) => is_kept(number),
        AttributeValue::L(all) => depth > 0 && all.iter().all(|one| is_storable(one, depth - 1)),
        AttributeValue::M(map) => {
            depth > 0
                && map.iter().all(|(name, one)| {
                    NAME_BYTES.contains(&name.len()) && is_storable(one, depth - 1)
                })
        }
        AttributeValue::S(_)
        | AttributeValue::B(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Null(_) => true,
        _ => false,
    }
}

/// Whether a number in Rust's notation, which has no exponents, is one of DynamoDB's.
fn is_kept(number: &str) -> bool {
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return false;
    }
    let all = [whole, fraction].concat();
    let Some(first) = all.bytes().position(|b| b != b'0') else { return !is_negative };
    let last = all.bytes().rposition(|b| b != b'0').unwrap_or(first);
    let place = whole.len() as i64 - first as i64 - 1;
    last - first < MAX_DIGITS && PLACES.contains(&place)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::*;
    use crate::codec::Bincode;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stats {
        count: u64,
        mean: f64,
        worst: Option<String>,
        by_hour: BTreeMap<u8, i32>,
        kind: Kind,
        pair: (bool, char),
        none: (),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Plain,
        Of(u8),
        Two { list: Vec<String> },
    }

    fn native<T: Value>(value: &T) -> Option<String> {
        let mut bytes = Vec::new();
        Bincode::encode(value, &mut bytes).unwrap();
        let json = is_fit::<T>().then(|| to_native::<T, Bincode>(&bytes)).flatten()?;
        let back: T = from_native(&json).unwrap();
        let mut again = Vec::new();
        Bincode::encode(&back, &mut again).unwrap();
        assert_eq!(again.len(), bytes.len());
        Some(String::from_utf8(json).unwrap())
    }

    #[test]
    fn values_become_what_a_reader_expects() {
        assert_eq!(native(&7u64).unwrap(), r#"{"N":"7"}"#);
        assert_eq!(native(&-0.25f64).unwrap(), r#"{"N":"-0.25"}"#);
        assert_eq!(native(&"ä".to_owned()).unwrap(), r#"{"S":"ä"}"#);
        assert_eq!(native(&Some(1u8)).unwrap(), r#"{"N":"1"}"#);
        assert_eq!(native(&None::<u8>).unwrap(), r#"{"NULL":true}"#);
        assert_eq!(native(&vec![1u8, 2]).unwrap(), r#"{"L":[{"N":"1"},{"N":"2"}]}"#);
        let stats = |kind| Stats {
            count: u64::MAX,
            mean: 0.1,
            worst: None,
            by_hour: BTreeMap::from([(3, -7)]),
            kind,
            pair: (true, 'ä'),
            none: (),
        };
        let text = native(&stats(Kind::Plain)).unwrap();
        for part in
            [r#""count":{"N":"18446744073709551615"}"#, r#""by_hour":{"M":{"3":{"N":"-7"}}}"#]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(native(&stats(Kind::Of(7))).unwrap().contains(r#""kind":{"M":{"Of":{"N":"7"}}}"#));
        assert!(native(&stats(Kind::Two { list: vec![String::new()] })).is_some());
        let map: HashMap<String, u32> = (0..100).map(|n| (n.to_string(), n)).collect();
        assert!(native(&map).is_some(), "whatever order it has");
        assert!(native(&Vec::<u8>::new()).is_some());
    }

    #[test]
    fn what_would_not_come_back_stays_bytes() {
        assert_eq!(native(&f64::NAN), None);
        assert_eq!(native(&f64::INFINITY), None);
        assert_eq!(native(&-0.0f64), None);
        assert_eq!(native(&1e126f64), None);
        assert_eq!(native(&1e-131f64), None);
        assert_eq!(native(&f64::MAX), None);
        assert!(native(&9.9e125f64).is_some() && native(&1e-100f64).is_some());
        assert_eq!(native(&u128::MAX), None);
        assert_eq!(native(&Some(None::<u8>)), None);
        assert_eq!(native(&Some(())), None);
        assert_eq!(native(&BTreeMap::from([((1u8, 2u8), 3u8)])), None);
        // These would panic in the serializer.
        assert_eq!(native(&BTreeMap::from([(vec![1u8], 3u8)])), None);
        assert_eq!(native(&BTreeMap::from([(BTreeMap::from([(1u8, 1u8)]), 3u8)])), None);
        assert_eq!(native(&BTreeMap::from([(String::new(), 3u8)])), None);
        assert!(native(&BTreeMap::from([("ä".repeat(32_767), 3u8)])).is_some());
        assert_eq!(native(&vec![BTreeMap::from([("ä".repeat(32_768), 3u8)])]), None);
        assert_eq!(native(&"x".repeat(MAX_BYTES)), None);
    }

    /// Entries in the order of their insertion, which serde takes for a map as any other.
    #[derive(Debug, PartialEq)]
    struct Ordered(Vec<(String, u8)>);

    impl Serialize for Ordered {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
        }
    }

    impl<'de> Deserialize<'de> for Ordered {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(InOrder)
        }
    }

    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Ordered;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
            let mut all = Vec::new();
            while let Some(entry) = map.next_entry()? {
                all.push(entry);
            }
            Ok(Ordered(all))
        }
    }

    /// They used to come back shuffled: attributes, and how often each byte occurs, are the same.
    #[test]
    fn maps_that_keep_an_order_stay_bytes() {
        #[derive(Serialize, Deserialize)]
        struct Both {
            by_hash: HashMap<String, u8>,
            in_order: Vec<Option<Ordered>>,
        }
        let all = || (0..20).map(|n| (format!("key {}", n * 7 % 20), n));
        assert_eq!(native(&Ordered(all().collect())), None);
        let in_order = vec![None, Some(Ordered(all().collect()))];
        assert_eq!(native(&Both { by_hash: all().collect(), in_order }), None);
        // What has no order of its own is as before, however deep.
        let nested: BTreeMap<u8, Vec<HashMap<String, u8>>> =
            BTreeMap::from([(1, vec![all().collect(), HashMap::new()])]);
        assert!(native(&nested).is_some());
    }

    #[test]
    fn a_deep_nest_stays_bytes() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Nest(Vec<Nest>);
        let nest = |depth| (1..depth).fold(Nest(vec![]), |inner, _| Nest(vec![inner]));
        assert!(native(&nest(31)).is_some());
        assert_eq!(native(&nest(32)), None);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error() {
        for json in [&b""[..], b"{}", b"{\"N\":\"x\"}", b"{\"S\":\"7\"}", b"{\"Q\":1}", b"\xFF"] {
            assert!(from_native::<u64>(json).is_err(), "{json:?}");
        }
    }
}
