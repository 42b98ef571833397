//! The canonical encoding of keys: order-preserving, self-delimiting, and hashed as it stands.
//!
//! Owns [`Key`], its hash and the bytes. The hash is XXH64 with seed 0 of the encoded bytes; it and
//! [`KEY_ENCODING_VERSION`] are recorded in the head, since key groups and item keys come from them.
//! Does not own which bits of the hash are used for what: that is `key_group` and `state::index`.

use std::fmt::Debug;

use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::{DecodeError, Schema};

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
/// Implement it for a newtype by passing on to the inner key.
pub trait Key: Clone + Eq + Debug + Send + Sync + 'static {
    /// Whether different keys always have different hashes, so that whoever has found a key's hash has found the key:
    /// true of integers of 32 and 64 bits. A newtype may pass on what its inner key says, if its encoding is the inner key's
    /// and two of it are equal where the inner keys are. Where it is said and is not so, the state of one key is given to another.
    const DISTINCT_HASHES: bool = false;

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

    /// XXH64 of the encoding.
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
    ($($t:ty, $flip:expr;)*) => {$(
        impl Key for $t {
            // XXH64 of 4 or 8 bytes is a chain of steps each of which can be undone.
            const DISTINCT_HASHES: bool = matches!(size_of::<$t>(), 4 | 8);

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
                    Ok(bytes) => KeyHash(xxh64_of_8(bytes)),
                    Err(_) => KeyHash(xxh64(&bytes, 0)),
                }
            }
            fn schema() -> Schema {
                Schema::Word(stringify!($t))
            }
        }
    )*};
}

// Of XXH64.
const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// XXH64 with seed 0 of exactly eight bytes, after the algorithm's published description: inlined,
/// which the general function is not. It makes a keyed count of integers a tenth faster.
#[inline]
fn xxh64_of_8(bytes: [u8; 8]) -> u64 {
    let lane = u64::from_le_bytes(bytes).wrapping_mul(P2).rotate_left(31).wrapping_mul(P1);
    let mut hash = P5.wrapping_add(8) ^ lane;
    hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

// Signed integers have their sign bit flipped, so that bytes order as numbers do.
integer_keys! {
    u8, 0; u16, 0; u32, 0; u64, 0; u128, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
}

impl Key for bool {
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
        assert_eq!(a.key_hash().0, xxh64(&x, 0), "hash of {a:?}");
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

    /// What an odd number is multiplied by to give 1: by Newton's method, which doubles the bits that are right, three at first.
    fn inverse(odd: u64) -> u64 {
        let step = |near: u64, _| near.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(near)));
        let inverse = (0..5).fold(odd, step);
        assert_eq!(odd.wrapping_mul(inverse), 1);
        inverse
    }

    /// The last steps of XXH64, from the last to the first of them.
    fn avalanche_undone(hash: u64) -> u64 {
        let hash = (hash ^ (hash >> 32)).wrapping_mul(inverse(P3));
        let hash = (hash ^ (hash >> 29) ^ (hash >> 58)).wrapping_mul(inverse(P2));
        hash ^ (hash >> 33)
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

        /// What is said of them by [`Key::DISTINCT_HASHES`].
        #[test]
        fn integers_of_32_and_64_bits_can_be_told_from_their_hashes(narrow: u32, wide: u64) {
            let lane = avalanche_undone(narrow.key_hash().0);
            let lane = lane.wrapping_sub(P3).wrapping_mul(inverse(P2)).rotate_right(23);
            let lane = (lane ^ P5.wrapping_add(4)).wrapping_mul(inverse(P1));
            prop_assert_eq!(lane, u64::from(narrow.swap_bytes()));
            let lane = avalanche_undone(wide.key_hash().0);
            let lane = lane.wrapping_sub(P4).wrapping_mul(inverse(P1)).rotate_right(27);
            let lane = (lane ^ P5.wrapping_add(8)).wrapping_mul(inverse(P1)).rotate_right(31);
            prop_assert_eq!(lane.wrapping_mul(inverse(P2)), wide.swap_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Compound::decode(&mut &bytes[..]);
        }
    }

    #[test]
    fn of_no_other_keys_it_is_said_that_their_hashes_tell_them() {
        let distinct = [u32::DISTINCT_HASHES, i32::DISTINCT_HASHES, u64::DISTINCT_HASHES];
        assert_eq!((distinct, i64::DISTINCT_HASHES), ([true; 3], true));
        let others = [u8::DISTINCT_HASHES, u16::DISTINCT_HASHES, u128::DISTINCT_HASHES];
        assert_eq!(
            (others, String::DISTINCT_HASHES, Compound::DISTINCT_HASHES),
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
