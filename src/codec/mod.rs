//! Bytes: how values and keys are written.
//!
//! Owns the [`Codec`] of values, the [`Schema`] by which types are told apart, and the canonical [`Key`]
//! encoding with what a record has of it ([`RecordKey`]). Does not own the layout of segments (`state::segment`), manifests (`checkpoint::manifest`)
//! or items (`dynamodb::item`).

#[cfg(test)]
mod fuzz;
mod key;
mod record_key;
mod schema;
mod trace;
mod value;
mod xxh64;

pub use key::{HASH_ID, KEY_ENCODING_VERSION, Key, KeyHash, KeyHasher};
pub use record_key::{ByHash, KeyOfHash, RecordKey};
pub use schema::{Encoding, Schema};
pub(crate) use value::decode_from;
pub use value::{Bincode, Codec, DecodeError, Value};
