//! The canonical encoding of keys: order-preserving, self-delimiting, and hashed as it stands.
//!
//! Owns [`Key`], its hash and the bytes. The hash is XXH64 with seed 0 of the encoded bytes; it and
//! [`KEY_ENCODING_VERSION`] are recorded in the head, since key groups and item keys come from them.
//! Does not own which bits of the hash are used for what: that is `key_group` and `state::index`.

use std::fmt::Debug;

use xxhash_rust::xxh64::Xxh64;

use super::record_key::{ByHash, KeyOfHash, RecordKey};
use super::{DecodeError, Schema, xxh64};

/// Recorded in the head: the name of the hash.
pub const HASH_ID: &str = "xxh64";
/// Recorded in the head: the version of the encoding below.
pub const KEY_ENCODING_VERSION: u32 = 1;

/// The stable 64-bit hash of an encoded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub u64);

/// Takes the bytes of an encoded key piece by piece, without a buffer.
pub struct KeyHasher(Xxh64);

impl KeyHasher {
    /// Appends bytes of the encoding.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHasher")
    }
}

/// What a stream can be keyed by. Equal keys have equal bytes, and bytes order as keys do.
///
/// Implemented for integers, `bool`, `char`, `String`, `Vec<u8>`, `Option`, and tuples of up to four, the
/// empty one included, which takes no bytes.
/// Implement it for a newtype by passing on to the inner key:
///
/// ```
/// use millpond::codec::{DecodeError, Key, KeyHash, KeyHasher, Schema};
///
/// #[derive(Clone, Debug, PartialEq, Eq)]
/// struct Airport(String);
///
/// impl Key for Airport {
///     type RecordKey = Self;
///
///     fn encode(&self, out: &mut Vec<u8>) {
///         self.0.encode(out);
///     }
///     fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
///         String::decode(input).map(Self)
///     }
///     fn hash_into(&self, hasher: &mut KeyHasher) {
///         self.0.hash_into(hasher);
///     }
///     #[inline]
///     fn key_hash(&self) -> KeyHash {
///         self.0.key_hash()
///     }
///     fn schema() -> Schema {
///         String::schema()
///     }
/// }
/// ```
pub trait Key: Clone + Eq + Debug + Send + Sync + 'static {
    /// What a record has of its key, beside the hash: `Self`, or [`ByHash`] where that tells the key ([`KeyOfHash`]). Of no
    /// use in namespaces and map keys, which records do not have.
    type RecordKey: RecordKey<Self>;

    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one key from the front of `input` and moves `input` past it.
    ///
    /// # Errors
    /// Where the bytes are no encoding of this type.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// Gives the bytes that [`Key::encode`] writes to `hasher`, in pieces of any size.
    fn hash_into(&self, hasher: &mut KeyHasher);

    /// What is encoded, in words: recorded of each keyed operator and state, so that a table of other keys
    /// is refused and not misread. Types whose bytes mean different things have different ones.
    fn schema() -> Schema;

    /// XXH64 of the encoding, with seed 0. Whoever says it in another way has to come to the same: key groups depend on it. A
    /// newtype passes on what its inner key says, since that may have a quicker way.
    #[inline]
    fn key_hash(&self) -> KeyHash {
        let mut hasher = KeyHasher(Xxh64::new(0));
        self.hash_into(&mut hasher);
        KeyHash(hasher.0.digest())
    }
}

fn take<'a>(input: &mut &'a [u8], n: usize) -> Result<&'a [u8], DecodeError> {
    let (head, tail) = input
        .split_at_checked(n)
        .ok_or_else(|| DecodeError(format!("key ends early: {} of {n} bytes", input.len())))?;
    *input = tail;
    Ok(head)
}

macro_rules! integer_keys {
    ($($t:ty, $flip:expr, $record_key:ty;)*) => {$(
        impl Key for $t {
            type RecordKey = $record_key;

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self ^ $flip).to_be_bytes());
            }
            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let mut bytes = [0; size_of::<$t>()];
                bytes.copy_from_slice(take(input, size_of::<$t>())?);
                Ok(<$t>::from_be_bytes(bytes) ^ $flip)
            }
            #[inline]
            fn hash_into(&self, hasher: &mut KeyHasher) {
                hasher.write(&(*self ^ $flip).to_be_bytes());
            }
            #[inline]
            fn key_hash(&self) -> KeyHash {
                let bytes = (*self ^ $flip).to_be_bytes();
                match <[u8; 8]>::try_from(&bytes[..]) {
                    Ok(bytes) => KeyHash(xxh64::of_8(bytes)),
                    Err(_) => KeyHash(xxhash_rust::xxh64::xxh64(&bytes, 0)),
                }
            }
            fn schema() -> Schema {
                Schema::Word(stringify!($t))
            }
        }
    )*};
}

// Signed integers have their sign bit flipped, so that bytes order as numbers do.
integer_keys! {
    u8, 0, Self; u16, 0, Self; u32, 0, ByHash; u64, 0, ByHash; u128, 0, Self;
    i8, i8::MIN, Self; i16, i16::MIN, Self; i32, i32::MIN, ByHash; i64, i64::MIN, ByHash; i128, i128::MIN, Self;
}

macro_rules! keys_of_hashes {
    ($($t:ty, $undone:path;)*) => {$(
        impl KeyOfHash for $t {
            #[inline]
            fn of_hash(hash: KeyHash) -> Self {
                let bits = Self::from_be_bytes($undone(hash.0));
                // Nothing of unsigned ones.
                bits ^ Self::MIN
            }
        }
    )*};
}

keys_of_hashes! { u32, xxh64::undone_4; i32, xxh64::undone_4; u64, xxh64::undone_8; i64, xxh64::undone_8; }

impl Key for bool {
    type RecordKey = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        u8::from(*self).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError(format!("{other} is no bool"))),
        }
    }
    fn hash_into(&self, hasher: &mut KeyHasher) {
        u8::from(*self).hash_into(hasher);
    }
    fn schema() -> Schema {
        Schema::Word("bool")
    }
}

impl Key for char {
    type RecordKey = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let code = u32::decode(input)?;
        Self::from_u32(code).ok_or_else(|| DecodeError(format!("{code:#x} is no char")))
    }
    fn hash_into(&self, hasher: &mut KeyHasher) {
        u32::from(*self).hash_into(hasher);
    }
    fn schema() -> Schema {
        Schema::Word("char")
    }
}

/// Bytes end with `00 00`; a zero byte inside is written as `00 FF`. A prefix so sorts first.
fn each_piece(bytes: &[u8], mut piece: impl FnMut(&[u8])) {
    let mut rest = bytes;
    while let Some(zero) = memchr::memchr(0, rest) {
        piece(&rest[..zero]);
        piece(&[0, 0xFF]);
        rest = &rest[zero + 1..];
    }
    piece(rest);
    piece(&[0, 0]);
}

fn decode_bytes(input: &mut &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    loop {
        let zero = memchr::memchr(0, input)
            .ok_or_else(|| DecodeError("key ends without its end mark".to_owned()))?;
        out.extend_from_slice(take(input, zero)?);
        match take(input, 2)?[1] {
            0 => return Ok(out),
            0xFF => out.push(0),
            other => return Err(DecodeError(format!("00 {other:02x} in a key"))),
        }
    }
}

impl Key for Vec<u8> {
    type RecordKey = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        each_piece(self, |piece| out.extend_from_slice(piece));
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        decode_bytes(input)
    }
    fn hash_into(&self, hasher: &mut KeyHasher) {
        each_piece(self, |piece| hasher.write(piece));
    }
    fn schema() -> Schema {
        Schema::Word("bytes")
    }
}

impl Key for String {
    type RecordKey = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        each_piece(self.as_bytes(), |piece| out.extend_from_slice(piece));
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Self::from_utf8(decode_bytes(input)?).map_err(|e| DecodeError(format!("key: {e}")))
    }
    fn hash_into(&self, hasher: &mut KeyHasher) {
        each_piece(self.as_bytes(), |piece| hasher.write(piece));
    }
    fn schema() -> Schema {
        Schema::Word("string")
    }
}

impl<K: Key> Key for Option<K> {
    type RecordKey = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(key) = self {
            key.encode(out);
        }
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(if bool::decode(input)? { Some(K::decode(input)?) } else { None })
    }
    fn hash_into(&self, hasher: &mut KeyHasher) {
        self.is_some().hash_into(hasher);
        if let Some(key) = self {
            key.hash_into(hasher);
        }
    }
    fn schema() -> Schema {
        Schema::Option(Box::new(K::schema()))
    }
}

impl Key for () {
    type RecordKey = Self;

    #[inline]
    fn encode(&self, _: &mut Vec<u8>) {}
    #[inline]
    fn decode(_: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(())
    }
    #[inline]
    fn hash_into(&self, _: &mut KeyHasher) {}
    fn schema() -> Schema {
        Schema::Tuple(Vec::new())
    }
}

macro_rules! tuple_keys {
    ($($($name:ident $index:tt),*;)*) => {$(
        impl<$($name: Key),*> Key for ($($name,)*) {
            type RecordKey = Self;

            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)*
            }
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Ok(($($name::decode(input)?,)*))
            }
            fn hash_into(&self, hasher: &mut KeyHasher) {
                $(self.$index.hash_into(hasher);)*
            }
            fn schema() -> Schema {
                Schema::Tuple(vec![$($name::schema()),*])
            }
        }
    )*};
}

tuple_keys! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded<K: Key>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn check<K: Key + Ord>(a: &K, b: &K) {
        let (x, y) = (encoded(a), encoded(b));
        assert_eq!(a.cmp(b), x.cmp(&y), "order of {a:?} and {b:?}");
        assert_eq!(a.key_hash().0, xxhash_rust::xxh64::xxh64(&x, 0), "hash of {a:?}");
        let mut both = x.clone();
        both.extend_from_slice(&y);
        let mut input = &both[..];
        assert_eq!(&K::decode(&mut input).unwrap(), a);
        assert_eq!(&K::decode(&mut input).unwrap(), b);
        assert!(input.is_empty());
        if !x.is_empty() {
            assert!(K::decode(&mut &x[..x.len() - 1]).is_err(), "cut short: {a:?}");
        }
    }

    fn told<K: KeyOfHash>(key: &K) {
        assert_eq!(&K::of_hash(key.key_hash()), key);
        ByHash.with_key(key.key_hash(), |seen: &K| assert_eq!(seen, key));
    }

    type Compound = (String, Option<i32>, Vec<u8>, (u64, char));

    proptest! {
        #[test]
        fn integers_keep_order_hash_and_value(a: i64, b: i64, c: u128, d: u128) {
            check(&a, &b);
            check(&c, &d);
        }

        #[test]
        fn bytes_with_zeros_keep_order_hash_and_value(
            a in proptest::collection::vec(0u8..3, 0..6),
            b in proptest::collection::vec(0u8..3, 0..6),
        ) {
            check(&a, &b);
        }

        #[test]
        fn tuples_are_hashed_without_a_buffer_as_their_encoding(a: Compound, b: Compound) {
            check(&a, &b);
            check(&((), a), &((), b));
        }

        #[test]
        fn integers_of_32_and_64_bits_are_told_from_their_hashes(a: u32, b: i32, c: u64, d: i64) {
            told(&a);
            told(&b);
            told(&c);
            told(&d);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Compound::decode(&mut &bytes[..]);
        }
    }

    fn by_hash<K: Key>() -> bool {
        K::RecordKey::DISTINCT_HASHES
    }

    #[test]
    fn of_no_other_keys_it_is_said_that_their_hashes_tell_them() {
        assert_eq!(
            [by_hash::<u32>(), by_hash::<i32>(), by_hash::<u64>(), by_hash::<i64>()],
            [true; 4]
        );
        let others = [by_hash::<u8>(), by_hash::<u16>(), by_hash::<u128>()];
        assert_eq!(
            (others, by_hash::<String>(), by_hash::<Compound>()),
            ([false; 3], false, false)
        );
    }

    /// Tables record them. Types of one encoding, or of one length, must be told apart.
    #[test]
    fn golden_schemas() {
        let golden = [
            (<(String, Option<i32>, Vec<u8>)>::schema(), "(string, option<i32>, bytes)"),
            (<((), (u64, char), bool)>::schema(), "((), (u64, char), bool)"),
            (<((u32, u32), u8)>::schema(), "((u32, u32), u8)"),
            (<(i128,)>::schema(), "(i128)"),
        ];
        for (schema, text) in golden {
            assert_eq!(schema.to_string(), text);
        }
    }

    /// These never change: key groups of stored state depend on them.
    #[test]
    fn golden_hashes() {
        let golden: [(KeyHash, u64); 4] = [
            (0u64.key_hash(), 0x34c9_6acd_cadb_1bbb),
            ("".to_owned().key_hash(), 0x9aab_a41f_fa2d_a101),
            ("JFK".to_owned().key_hash(), 0x8a8b_fa8e_77b0_3ac0),
            (("JFK".to_owned(), -1i32).key_hash(), 0xc31c_18ec_5da5_e6a6),
        ];
        for (i, (hash, expected)) in golden.iter().enumerate() {
            assert_eq!(hash.0, *expected, "vector {i}: {:#x}", hash.0);
        }
    }
}
