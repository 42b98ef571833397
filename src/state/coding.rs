//! How one state's values become bytes and come back, in the present encoding and in former ones.
//!
//! Owns [`Coding`], which a descriptor hands to its column. Which encodings there are, and whether a
//! program can go on with them, is decided in `formats`.

use std::fmt;
use std::sync::Arc;

use super::formats::{StateFormats, StateKind};
use crate::codec::{Bincode, Codec, DecodeError, Encoding, Schema, Value};
use crate::error::Result;
use crate::ids::{CheckpointId, Name};

type Decode<V> = dyn Fn(&[u8]) -> std::result::Result<V, DecodeError> + Send + Sync;

/// A former encoding, and the way from its values to the present type.
struct Migration<V> {
    encoding: fn() -> Encoding,
    decode: Arc<Decode<V>>,
}

impl<V> Clone for Migration<V> {
    fn clone(&self) -> Self {
        Self { encoding: self.encoding, decode: Arc::clone(&self.decode) }
    }
}

/// How a restored table holds values of before `until`.
struct Former<V> {
    until: CheckpointId,
    /// `None`: in the present encoding.
    decode: Option<Arc<Decode<V>>>,
}

/// The codec of a state, and what it can read beside it.
pub(super) struct Coding<V> {
    /// What the state is.
    kind: StateKind,
    encoding: fn() -> Encoding,
    encode: fn(&V, &mut Vec<u8>) -> std::result::Result<(), DecodeError>,
    decode: fn(&[u8]) -> std::result::Result<V, DecodeError>,
    migrations: Vec<Migration<V>>,
    /// Set at a restore: in ascending order, up to the checkpoint from which the present one holds.
    former: Vec<Former<V>>,
}

fn encoding_of<C: Codec<T>, T: Value>() -> Encoding {
    Encoding::new(C::ID, C::VERSION, &Schema::of::<T>())
}

impl<V: Value> Coding<V> {
    /// By the default codec, for a state of this kind.
    pub(super) const fn new(kind: StateKind) -> Self {
        Self {
            kind,
            encoding: encoding_of::<Bincode, V>,
            encode: <Bincode as Codec<V>>::encode,
            decode: <Bincode as Codec<V>>::decode,
            migrations: Vec::new(),
            former: Vec::new(),
        }
    }

    /// From now on by codec `C`.
    pub(super) const fn write_by<C: Codec<V>>(&mut self) {
        self.encoding = encoding_of::<C, V>;
        self.encode = C::encode;
        self.decode = C::decode;
    }

    /// Reads values of `Old`, written by `C`, too.
    pub(super) fn migrate<Old: Value, C: Codec<Old>>(
        &mut self,
        migrate: impl Fn(Old) -> V + Send + Sync + 'static,
    ) {
        let decode = move |bytes: &[u8]| C::decode(bytes).map(&migrate);
        let encoding = encoding_of::<C, Old>;
        self.migrations.push(Migration { encoding, decode: Arc::new(decode) });
    }

    #[inline]
    pub(super) fn encode(
        &self,
        value: &V,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), DecodeError> {
        (self.encode)(value, out)
    }

    /// A value as the changes of `checkpoint` are written.
    #[inline]
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        checkpoint: CheckpointId,
    ) -> std::result::Result<V, DecodeError> {
        match self.former.iter().find(|former| checkpoint < former.until) {
            Some(Former { decode: Some(decode), .. }) => decode(bytes),
            _ => (self.decode)(bytes),
        }
    }
}

/// What is known of a coding without its type.
pub(super) trait AnyCoding {
    /// The first checkpoint of the present encoding.
    fn since(&self) -> CheckpointId;
    /// Goes on from checkpoint `restored` of operator and state, where `recorded` was there.
    fn settle(
        &mut self,
        names: (&Name, &Name),
        recorded: Option<&StateFormats>,
        restored: CheckpointId,
    ) -> Result<StateFormats>;
}

impl<V: Value> AnyCoding for Coding<V> {
    fn since(&self) -> CheckpointId {
        self.former.last().map_or(CheckpointId::NONE, |last| last.until)
    }

    fn settle(
        &mut self,
        names: (&Name, &Name),
        recorded: Option<&StateFormats>,
        restored: CheckpointId,
    ) -> Result<StateFormats> {
        let current = (self.encoding)();
        let known: Vec<Encoding> = self.migrations.iter().map(|m| (m.encoding)()).collect();
        let formats =
            StateFormats::settle(names, (self.kind, current.clone()), &known, recorded, restored)?;
        let each = formats.formats.windows(2).map(|pair| {
            let old = known.iter().position(|k| k.is_same(&pair[0].encoding));
            let old = old.filter(|_| !pair[0].encoding.is_same(&current));
            let decode = old.map(|i| Arc::clone(&self.migrations[i].decode));
            Former { until: pair[1].from, decode }
        });
        self.former = each.collect();
        Ok(formats)
    }
}

impl<V> Clone for Coding<V> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            encoding: self.encoding,
            encode: self.encode,
            decode: self.decode,
            migrations: self.migrations.clone(),
            former: Vec::new(),
        }
    }
}

impl<V> fmt::Debug for Coding<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coding({})", (self.encoding)())
    }
}
