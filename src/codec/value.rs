//! The encoding of state values and of other structured bytes.

use bincode::serde::decode_from_slice as serde_decode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::trace::sampled;

/// What a state can hold: anything serde can write and read back.
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

/// Bytes that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub(crate) String);

impl DecodeError {
    /// Of a codec of one's own.
    pub fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// Turns a `T` into bytes and back.
///
/// `decode(encode(x)) == x`, and `encode` of equal values gives equal bytes.
pub trait Codec<T>: Send + Sync + 'static {
    /// Recorded of each state: the codec's name, which no other has.
    const ID: &'static str;
    /// Recorded of each state: the version of the bytes that it writes. A codec that writes other bytes
    /// than before has another one, so that a table of the former is refused and not misread.
    const VERSION: u32;

    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    /// Where the value cannot be written in this format (a sequence of unknown length, say).
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), DecodeError>;

    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// Where the bytes are of another type or version, or are damaged.
    fn decode(bytes: &[u8]) -> Result<T, DecodeError>;
}

/// The default codec: bincode 2 with its standard configuration (little-endian, variable-length
/// integers). Like any format that does not describe itself, it cannot read types that ask what comes
/// next (`#[serde(untagged)]`, `#[serde(tag = "…")]`, `#[serde(flatten)]`, `serde_json::Value`), nor such as
/// leave fields out on one way alone (`#[serde(skip_serializing_if = "…")]`). A state of such a type is refused
/// when the graph is built.
#[derive(Clone, Copy, Debug)]
pub struct Bincode;

impl Bincode {
    /// How many bytes `value` takes; 0 where it cannot be encoded, which is an error once it has to be.
    pub(crate) fn length(value: &impl Serialize) -> usize {
        let (mut nowhere, config) = (std::io::sink(), bincode::config::standard());
        bincode::serde::encode_into_std_write(value, &mut nowhere, config).unwrap_or(0)
    }

    /// Why it could not read back what it writes of some values of `T`; `None` where no such were found. Takes
    /// microseconds: it looks at the type's schema, and writes and reads values with as little in them as can be,
    /// of which attributes like `skip_serializing_if` most often leave something out.
    pub(crate) fn cannot_read<T: Serialize + DeserializeOwned>() -> Option<String> {
        let mut error = None;
        let schema = sampled::<T>(|value| {
            error = read_back(&value).err();
            error.is_none()
        });
        if schema.has_any() {
            return Some(format!(
                "a type that asks what comes next, which bincode does not write down ({schema}): an enum that is \
                 untagged or has a tag, a flattened field, a serde_json::Value"
            ));
        }
        error.map(|error| {
            format!(
                "a type that bincode does not read as it is written ({schema}): {error}; most often an attribute \
                 like skip_serializing_if leaves a field out"
            )
        })
    }
}

/// Whether a value that was written can be read back. One that cannot be written at all passes: writing it is an
/// error later.
fn read_back<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    match Bincode::encode(value, &mut bytes) {
        Ok(()) => <Bincode as Codec<T>>::decode(&bytes).map(drop),
        Err(_) => Ok(()),
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    const ID: &'static str = "bincode";
    const VERSION: u32 = 1;

    #[inline]
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let length = bincode::serde::encode_into_std_write(value, out, bincode::config::standard())
            .map_err(|e| DecodeError(format!("cannot encode: {e}")))?;
        check_length(length)
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        let (value, read) = decode_from(bytes)?;
        if read == bytes.len() {
            Ok(value)
        } else {
            Err(DecodeError(format!("{} bytes too many", bytes.len() - read)))
        }
    }
}

/// What is longer could not be read back, whatever it holds, and is refused when it is written.
const MOST_BYTES: usize = 1 << 30;

fn check_length(length: usize) -> Result<(), DecodeError> {
    if length <= MOST_BYTES {
        return Ok(());
    }
    Err(DecodeError(format!(
        "cannot encode: the value takes {length} bytes, and more than {MOST_BYTES} could not be read back: divide it"
    )))
}

/// Of how many bytes at most, and how much memory their value may take.
const LIMITS: [(usize, usize); 5] = [
    (1 << 10, 64 << 10),
    (32 << 10, 1 << 20),
    (512 << 10, 16 << 20),
    (64 << 20, 1 << 30),
    (MOST_BYTES, MOST_BYTES.saturating_mul(16)),
];

/// Reads a value from the front of `bytes`; gives how many it took.
///
/// A length field that is damaged, or none at all because the bytes are of another type, may ask for any
/// memory: bincode sees to it only where it is given a limit, and a constant one. What counts is what a
/// value takes in memory, up to 16 bytes for each one stored (a small `u128`), so these leave that at the least.
///
/// # Errors
/// Where the bytes are of another type or version, or are damaged.
pub(crate) fn decode_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    let config = bincode::config::standard();
    match LIMITS.iter().position(|(most, _)| bytes.len() <= *most) {
        Some(0) => serde_decode(bytes, config.with_limit::<{ LIMITS[0].1 }>()),
        Some(1) => serde_decode(bytes, config.with_limit::<{ LIMITS[1].1 }>()),
        Some(2) => serde_decode(bytes, config.with_limit::<{ LIMITS[2].1 }>()),
        Some(3) => serde_decode(bytes, config.with_limit::<{ LIMITS[3].1 }>()),
        _ => serde_decode(bytes, config.with_limit::<{ LIMITS[4].1 }>()),
    }
    .map_err(|e| DecodeError(format!("cannot decode: {e}")))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;

    use super::*;

    #[test]
    fn what_takes_most_memory_for_its_bytes_is_read_at_every_size() {
        for length in [1, 1000, 1022, 1024, 32 << 10, 500 << 10, 700 << 10] {
            let value = vec![1u128; length];
            let mut bytes = Vec::new();
            Bincode::encode(&value, &mut bytes).unwrap();
            assert_eq!(<Bincode as Codec<Vec<u128>>>::decode(&bytes).unwrap(), value, "{length}");
        }
    }

    /// A value of 128 MiB of small numbers used to be written, and every restore to fail.
    #[test]
    fn what_may_be_written_can_be_read_whatever_it_holds() {
        for (bytes, memory) in LIMITS {
            assert!(memory / 16 >= bytes, "{bytes} bytes of small `u128`s");
        }
        assert!(LIMITS.is_sorted() && LIMITS[4].0 == MOST_BYTES);
        assert!(check_length(MOST_BYTES).is_ok());
        let error = check_length(MOST_BYTES + 1).unwrap_err();
        assert!(error.to_string().contains("1073741825 bytes"), "{error}");
    }

    #[derive(Serialize, Deserialize)]
    enum Plain {
        Nothing,
        One(Option<Box<Self>>),
        Many { all: BTreeMap<String, Vec<Option<f64>>>, text: (char, String) },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind", content = "with")]
    enum Adjacent {
        Nothing,
        Number(u64),
        Both { a: Option<u8>, b: String },
    }

    #[derive(Serialize, Deserialize)]
    struct Defaults {
        #[serde(default, alias = "n", rename = "number")]
        count: u64,
        #[serde(skip)]
        _cached: u64,
        of_std: (std::net::IpAddr, std::time::Duration, std::num::NonZeroU8),
        sets: HashMap<u8, std::collections::HashSet<String>>,
    }

    #[test]
    fn types_that_are_read_as_they_were_written_are_taken() {
        assert_eq!(Bincode::cannot_read::<Plain>(), None);
        assert_eq!(Bincode::cannot_read::<Defaults>(), None);
        assert_eq!(Bincode::cannot_read::<Vec<(u8, [Option<Plain>; 30])>>(), None);
    }

    /// Leaves its field out where there is little in it.
    macro_rules! skips {
        ($($name:ident $type:ty, $condition:literal;)*) => {
            $(
                #[derive(Serialize, Deserialize)]
                struct $name {
                    #[serde(skip_serializing_if = $condition)]
                    field: $type,
                }
            )*

            #[test]
            fn each_common_condition_to_leave_a_field_out_is_met_by_a_sample() {
                $(
                    let said = Bincode::cannot_read::<Vec<Option<$name>>>();
                    assert!(said.is_some_and(|said| said.contains("cannot decode")), "{}", $condition);
                )*
            }
        };
    }

    fn is_zero(n: &i32) -> bool {
        *n == 0
    }

    skips! {
        OfOption Option<Plain>, "Option::is_none";
        OfText String, "String::is_empty";
        OfList Vec<Plain>, "Vec::is_empty";
        OfMap HashMap<u8, Plain>, "HashMap::is_empty";
        OfNumber i32, "is_zero";
        OfFlag bool, "std::ops::Not::not";
    }

    #[derive(Serialize, Deserialize)]
    enum Late {
        First(Plain),
        Second(Vec<Option<OfText>>),
    }

    #[test]
    fn a_field_that_is_left_out_far_within_is_found() {
        assert!(Bincode::cannot_read::<Late>().is_some());
        assert!(Bincode::cannot_read::<HashMap<u8, (u8, Late)>>().is_some());
    }

    #[test]
    fn a_type_that_asks_what_comes_next_is_found() {
        let said = Bincode::cannot_read::<(u8, Option<serde_json::Value>)>();
        assert!(said.is_some_and(|said| said.contains("(u8, option<any>)")));
        // It asks for a name, which is not there either.
        assert!(Bincode::cannot_read::<Adjacent>().is_some());
        assert!(read_back(&Adjacent::Number(7)).is_err());
    }

    /// These used to panic in bincode, or to ask for more memory than there is.
    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        for length in [u64::MAX, 1 << 62, 1 << 40, 1 << 30, 1 << 20] {
            let bytes = [&[0xFD][..], &length.to_le_bytes()].concat();
            assert!(<Bincode as Codec<String>>::decode(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn trailing_bytes_are_an_error() {
        let mut bytes = Vec::new();
        Bincode::encode(&7u64, &mut bytes).unwrap();
        assert_eq!(<Bincode as Codec<u64>>::decode(&bytes).unwrap(), 7);
        bytes.push(0);
        assert!(<Bincode as Codec<u64>>::decode(&bytes).is_err());
    }
}
