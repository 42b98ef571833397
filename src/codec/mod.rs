//! Bytes: how values and keys are written.
//!
//! Owns the [`Codec`] of values and the canonical [`Key`] encoding. Does not own the layout of
//! segments (`state::segment`), manifests (`checkpoint::manifest`) or items (`dynamodb::item`).

#[cfg(test)]
mod fuzz;
mod key;
mod value;

pub use key::{HASH_ID, KEY_ENCODING_VERSION, Key, KeyHash, KeyHasher};
pub(crate) use value::decode_from;
pub use value::{Bincode, Codec, DecodeError, Value};
