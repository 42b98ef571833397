//! What a record has of its key, beside the key's hash.
//!
//! Owns [`RecordKey`] and what implements it. A whole number of 32 or 64 bits can be told from its hash, so records need not
//! have it: they are a third shorter where their values are numbers as well, and less is sorted by owner, copied to another
//! core and read there (`docs/design/0010-keys-by-hash.md`).

use std::fmt::Debug;

use super::key::{Key, KeyHash};

/// What a record has of a key of type `K`: the key itself, or [`ByHash`].
pub trait RecordKey<K>: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Whether different keys always have different hashes, so that whoever has found a key's hash has found the key.
    const DISTINCT_HASHES: bool;

    /// Of `key`, whose hash stands beside it.
    fn of(key: K) -> Self;

    /// Shows the key, which is the one of `hash`, to `look`.
    fn with_key<R>(&self, hash: KeyHash, look: impl FnOnce(&K) -> R) -> R;
}

impl<K: Key> RecordKey<K> for K {
    const DISTINCT_HASHES: bool = false;

    #[inline]
    fn of(key: K) -> Self {
        key
    }

    #[inline]
    fn with_key<R>(&self, _: KeyHash, look: impl FnOnce(&K) -> R) -> R {
        look(self)
    }
}

/// Nothing: the hash tells the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByHash;

impl<K: KeyOfHash> RecordKey<K> for ByHash {
    const DISTINCT_HASHES: bool = true;

    #[inline]
    fn of(_: K) -> Self {
        Self
    }

    #[inline]
    fn with_key<R>(&self, hash: KeyHash, look: impl FnOnce(&K) -> R) -> R {
        look(&K::of_hash(hash))
    }
}

/// Keys that can be told from their hashes: integers of 32 and 64 bits. A newtype may pass on what its inner key
/// says, if its encoding is the inner key's.
///
/// Where two keys have one hash, or a hash gives another key than it is of, the state of one key is given to another.
///
/// ```
/// use millpond::codec::{ByHash, DecodeError, Key, KeyHash, KeyHasher, KeyOfHash, Schema};
///
/// #[derive(Clone, Debug, PartialEq, Eq)]
/// struct Customer(u64);
///
/// impl KeyOfHash for Customer {
///     fn of_hash(hash: KeyHash) -> Self {
///         Self(u64::of_hash(hash))
///     }
/// }
///
/// impl Key for Customer {
///     type RecordKey = ByHash;
///
///     fn encode(&self, out: &mut Vec<u8>) {
///         self.0.encode(out);
///     }
///     fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
///         u64::decode(input).map(Self)
///     }
///     fn hash_into(&self, hasher: &mut KeyHasher) {
///         self.0.hash_into(hasher);
///     }
///     fn schema() -> Schema {
///         u64::schema()
///     }
/// }
///
/// assert_eq!(Customer::of_hash(Customer(7).key_hash()), Customer(7));
/// ```
pub trait KeyOfHash: Key {
    /// The key whose [`Key::key_hash`] is `hash`.
    fn of_hash(hash: KeyHash) -> Self;
}
