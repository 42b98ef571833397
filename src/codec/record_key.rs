//! What a record has of its key, beside the key's hash.
//!
//! Owns [`RecordKey`] and what implements it. A whole number of 32 or 64 bits can be told from its hash, so records need not
//! have it: they are a third shorter where their values are numbers as well, and less is sorted by owner, copied to another
//! core and read there (`docs/design/0010-keys-by-hash.md`).

use std::fmt::Debug;

use super::key::{Key, KeyHash};

/// What a record has of a key of type `K`: the key itself, or [`ByHash`]. There are no others.
pub trait RecordKey<K>:
    sealed::Sealed<K> + Clone + Debug + PartialEq + Send + Sync + 'static
{
    /// Whether keys may be told apart by their hashes alone.
    const DISTINCT_HASHES: bool;

    /// Of `key`, whose hash is `hash` and stands beside it.
    fn of(key: K, hash: KeyHash) -> Self;

    /// Shows the key, which is the one of `hash`, to `look`.
    fn with_key<R>(&self, hash: KeyHash, look: impl FnOnce(&K) -> R) -> R;
}

mod sealed {
    /// What is told of keys is relied on: nobody else implements it.
    pub trait Sealed<K> {}

    impl<K: super::Key> Sealed<K> for K {}
    impl<K: super::KeyOfHash> Sealed<K> for super::ByHash {}
}

impl<K: Key> RecordKey<K> for K {
    const DISTINCT_HASHES: bool = false;

    #[inline]
    fn of(key: K, _: KeyHash) -> Self {
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
    fn of(key: K, hash: KeyHash) -> Self {
        debug_assert_eq!(K::of_hash(hash), key, "KeyOfHash is wrong for this key");
        Self
    }

    #[inline]
    fn with_key<R>(&self, hash: KeyHash, look: impl FnOnce(&K) -> R) -> R {
        look(&K::of_hash(hash))
    }
}

/// Keys that can be told from their hashes: integers of 32 and 64 bits.
///
/// A newtype may pass on what its inner key says, where it has nothing beside the inner key, and its encoding and what it
/// hashes are the inner key's; see the example. Else state would be given to other keys than its own. Builds with debug
/// assertions compare each key with what its hash tells, when it is hashed; all builds compare the hash of each
/// key that is new in memory. Either fails the attempt. A test of one's own asserts what the example does.
///
/// ```
/// use millpond::codec::{ByHash, DecodeError, Key, KeyHash, KeyHasher, KeyOfHash, Schema};
///
/// #[derive(Clone, Debug, PartialEq, Eq)]
/// struct Customer(u64);
///
/// impl KeyOfHash for Customer {
///     #[inline]
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
///     #[inline]
///     fn key_hash(&self) -> KeyHash {
///         self.0.key_hash()
///     }
///     fn schema() -> Schema {
///         u64::schema()
///     }
/// }
///
/// for customer in [Customer(0), Customer(7), Customer(u64::MAX)] {
///     assert_eq!(Customer::of_hash(customer.key_hash()), customer);
/// }
/// ```
pub trait KeyOfHash: Key {
    /// The key whose [`Key::key_hash`] is `hash`. It is called any number of times for a record, also where nobody looks at
    /// the key: it has to be quick, does nothing else, and does not panic whatever the hash is.
    fn of_hash(hash: KeyHash) -> Self;
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "KeyOfHash is wrong")]
    fn a_key_that_its_hash_does_not_tell_is_found_out() {
        let _ = ByHash::of(7_u64, 8_u64.key_hash());
    }
}
