//! How an operator state's elements come back: of the present type, and of former ones.
//!
//! Owns what a descriptor hands to its cell. All elements of a state are written in one encoding, the one that
//! their manifest records, and again in the present one at the first barrier after a restore.

use std::sync::Arc;

use super::elements::Elements;
use super::formats::encoding_of;
use crate::codec::{Bincode, Codec, DecodeError, Encoding, Value};

type Decode<T> = dyn Fn(&[u8]) -> Result<T, DecodeError> + Send + Sync;

/// A former type, and the way from it to the present one.
struct Migration<T> {
    encoding: fn() -> Encoding,
    decode: Arc<Decode<T>>,
}

impl<T> Clone for Migration<T> {
    fn clone(&self) -> Self {
        Self { encoding: self.encoding, decode: Arc::clone(&self.decode) }
    }
}

/// The former types of a state, in the order of their declaration.
pub(super) struct Migrations<T>(Vec<Migration<T>>);

impl<T> Clone for Migrations<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Migrations<T> {
    /// No former types.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads elements of `Old` too.
    pub(super) fn add<Old: Value>(&mut self, migrate: impl Fn(Old) -> T + Send + Sync + 'static) {
        let decode = move |bytes: &[u8]| <Bincode as Codec<Old>>::decode(bytes).map(&migrate);
        self.0.push(Migration { encoding: encoding_of::<Old>, decode: Arc::new(decode) });
    }

    /// The encodings that can be read beside the present one.
    pub(super) fn known(&self) -> Vec<Encoding> {
        self.0.iter().map(|migration| (migration.encoding)()).collect()
    }
}

impl<T: Value> Migrations<T> {
    /// Elements that were written as `recorded` says; of the present type where it says nothing.
    pub(super) fn decode_all(
        &self,
        elements: &Elements,
        recorded: Option<&Encoding>,
    ) -> Result<Vec<T>, DecodeError> {
        let recorded = recorded.filter(|recorded| !recorded.is_same(&encoding_of::<T>()));
        let migration = recorded.and_then(|recorded| {
            self.0.iter().find(|migration| (migration.encoding)().is_same(recorded))
        });
        match migration {
            Some(migration) => elements.iter().map(|element| (migration.decode)(element)).collect(),
            None => elements.iter().map(|element| <Bincode as Codec<T>>::decode(element)).collect(),
        }
    }
}
