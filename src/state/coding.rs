//! How one state's values become bytes and come back, in the present encoding and in former ones.
//!
//! Owns [`Coding`], which a descriptor hands to its column. Which encodings there are, and whether a
//! program can go on with them, is decided in `formats`; which values can be attributes, in `native`.

use std::fmt;
use std::sync::Arc;

use super::formats::{StateFormats, StateKind};
use super::native;
use super::ttl::Expiry;
use crate::codec::{Bincode, Codec, DecodeError, Encoding, Schema, Value};
use crate::error::Result;
use crate::ids::{CheckpointId, Name};

/// A value as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether these are an attribute's JSON, and not the codec's.
    pub(super) native: bool,
    /// Whose change it is.
    pub(super) checkpoint: CheckpointId,
    /// When it expires.
    pub(super) expires: Option<Expiry>,
}

/// Appends a value's bytes.
pub(super) type Encode<V> = fn(&V, &mut Vec<u8>) -> std::result::Result<(), DecodeError>;

/// The codec's bytes of a value as an attribute's JSON, if the value can be one.
pub(super) type ToNative = fn(&[u8]) -> Option<Vec<u8>>;

type Decode<V> = dyn Fn(Stored<'_>) -> std::result::Result<V, DecodeError> + Send + Sync;

/// What can be done with values of one encoding without knowing their type.
#[derive(Clone, Copy)]
struct Untyped {
    encoding: fn() -> Encoding,
    /// Why values would not be read back, where that can be told of the type.
    cannot_read: fn() -> Option<String>,
    is_fit: fn() -> bool,
    /// `None`: no value of the type can be an attribute.
    to_native: Option<ToNative>,
}

impl Untyped {
    const fn of<C: Codec<T>, T: Value>() -> Self {
        Self {
            encoding: || Encoding::new(C::ID, C::VERSION, &Schema::of::<T>()),
            cannot_read: || match C::ID == <Bincode as Codec<T>>::ID {
                true => Bincode::cannot_read::<T>(),
                false => None,
            },
            is_fit: native::is_fit::<T>,
            to_native: Some(native::to_native::<T, C>),
        }
    }
}

/// A former encoding, and the way from its values to the present type.
struct Migration<V> {
    untyped: Untyped,
    decode: Arc<Decode<V>>,
}

impl<V> Clone for Migration<V> {
    fn clone(&self) -> Self {
        Self { untyped: self.untyped, decode: Arc::clone(&self.decode) }
    }
}

/// How a restored table holds values of before `until`.
struct Former {
    until: CheckpointId,
    /// The number of the migration; `None`: they are of the present encoding.
    migration: Option<usize>,
}

/// The codec of a state, and what it can read beside it.
pub(super) struct Coding<V> {
    /// What the state is.
    kind: StateKind,
    untyped: Untyped,
    encode: Encode<V>,
    /// It is not the default codec.
    own_codec: bool,
    decode: fn(Stored<'_>) -> std::result::Result<V, DecodeError>,
    migrations: Vec<Migration<V>>,
    /// Set at a restore: in ascending order, up to the checkpoint from which the present one holds.
    former: Vec<Former>,
}

fn decode<C: Codec<T>, T: Value>(stored: Stored<'_>) -> std::result::Result<T, DecodeError> {
    if stored.native { native::from_native(stored.bytes) } else { C::decode(stored.bytes) }
}

impl<V: Value> Coding<V> {
    /// By the default codec, for a state of this kind.
    pub(super) const fn new(kind: StateKind) -> Self {
        Self {
            kind,
            untyped: Untyped::of::<Bincode, V>(),
            encode: <Bincode as Codec<V>>::encode,
            own_codec: false,
            decode: decode::<Bincode, V>,
            migrations: Vec::new(),
            former: Vec::new(),
        }
    }

    /// From now on by codec `C`.
    pub(super) const fn write_by<C: Codec<V>>(&mut self) {
        self.untyped = Untyped::of::<C, V>();
        self.encode = C::encode;
        self.own_codec = true;
        self.decode = decode::<C, V>;
    }

    /// Reads values of `Old`, written by `C`, too.
    pub(super) fn migrate<Old: Value, C: Codec<Old>>(
        &mut self,
        migrate: impl Fn(Old) -> V + Send + Sync + 'static,
    ) {
        let decode = move |stored: Stored<'_>| decode::<C, Old>(stored).map(&migrate);
        let untyped = Untyped::of::<C, Old>();
        self.migrations.push(Migration { untyped, decode: Arc::new(decode) });
    }

    #[inline]
    pub(super) fn encode(
        &self,
        value: &V,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), DecodeError> {
        (self.encode)(value, out)
    }

    /// How many bytes a value takes when encoded; `None` where it cannot be, which is an error when it is frozen.
    pub(super) fn length(&self, value: &V) -> Option<usize> {
        if !self.own_codec {
            return Some(Bincode::length(value));
        }
        let mut bytes = Vec::new();
        self.encode(value, &mut bytes).ok().map(|()| bytes.len())
    }

    /// How values are encoded, where not by the default codec.
    pub(super) fn own_codec(&self) -> Option<Encode<V>> {
        self.own_codec.then_some(self.encode)
    }

    /// The value whose bytes [`Coding::encode`] has made.
    pub(super) fn decode_again(&self, bytes: &[u8]) -> std::result::Result<V, DecodeError> {
        let checkpoint = CheckpointId::NONE;
        (self.decode)(Stored { bytes, native: false, checkpoint, expires: None })
    }

    /// A copy of a value, which need not be `Clone`.
    pub(super) fn copy(&self, value: &V) -> std::result::Result<V, DecodeError> {
        let mut bytes = Vec::new();
        self.encode(value, &mut bytes)?;
        self.decode_again(&bytes)
    }

    /// Whether what [`Coding::encode`] has made of a value is read back. Of the default codec's it must be the same
    /// value as far as its bytes tell; another codec may write equal values differently (one that compresses a hash
    /// map, say).
    pub(super) fn prove(&self, bytes: &[u8]) -> std::result::Result<(), DecodeError> {
        let value = self.decode_again(bytes).map_err(not_read_back)?;
        if !self.own_codec {
            let mut again = Vec::new();
            self.encode(&value, &mut again)?;
            if native::how_many(&again) != native::how_many(bytes) {
                return Err(not_read_back(DecodeError::new("it is another one then")));
            }
        }
        Ok(())
    }

    /// The value of what was stored.
    #[inline]
    pub(super) fn decode(&self, stored: Stored<'_>) -> std::result::Result<V, DecodeError> {
        match self.migration_of(stored.checkpoint) {
            Some(migration) => (migration.decode)(stored),
            None => (self.decode)(stored),
        }
    }

    /// The way from values of `checkpoint` to the present encoding, if they are not of it.
    #[inline]
    fn migration_of(&self, checkpoint: CheckpointId) -> Option<&Migration<V>> {
        let former = self.former.iter().find(|former| checkpoint < former.until)?;
        former.migration.map(|number| &self.migrations[number])
    }
}

/// What is wrong with a value that was written and cannot be read.
#[cold]
pub(super) fn not_read_back(error: DecodeError) -> DecodeError {
    DecodeError::new(format!(
        "its value was written, and cannot be read back: {error}; its type has an attribute like \
         skip_serializing_if, which is for formats that name fields, or its own codec does not read what it writes"
    ))
}

/// What is known of a coding without its type.
pub(super) trait AnyCoding {
    /// What the state is, in which encoding it is written, and which it can read beside that one.
    fn declared(&self) -> (StateKind, Encoding, Vec<Encoding>);
    /// Why values would not be read back, where that can be told of their type.
    fn cannot_read(&self) -> Option<String>;
    /// The first checkpoint of the present encoding.
    fn since(&self) -> CheckpointId;
    /// How bytes of `checkpoint` become attributes, if any value of the type can be one.
    fn to_native(&self, checkpoint: CheckpointId) -> Option<ToNative>;
    /// Goes on from checkpoint `restored` of operator and state, where `recorded` was there.
    fn settle(
        &mut self,
        names: (&Name, &Name),
        recorded: Option<&StateFormats>,
        restored: CheckpointId,
    ) -> Result<StateFormats>;
}

impl<V: Value> AnyCoding for Coding<V> {
    fn declared(&self) -> (StateKind, Encoding, Vec<Encoding>) {
        let known = self.migrations.iter().map(|m| (m.untyped.encoding)());
        (self.kind, (self.untyped.encoding)(), known.collect())
    }

    fn cannot_read(&self) -> Option<String> {
        (self.untyped.cannot_read)()
    }

    fn since(&self) -> CheckpointId {
        self.former.last().map_or(CheckpointId::NONE, |last| last.until)
    }

    fn to_native(&self, checkpoint: CheckpointId) -> Option<ToNative> {
        self.migration_of(checkpoint).map_or(self.untyped, |m| m.untyped).to_native
    }

    fn settle(
        &mut self,
        names: (&Name, &Name),
        recorded: Option<&StateFormats>,
        restored: CheckpointId,
    ) -> Result<StateFormats> {
        let (kind, current, known) = self.declared();
        let formats =
            StateFormats::settle(names, (kind, current.clone()), &known, recorded, restored)?;
        let each = formats.formats.windows(2).map(|pair| {
            let old = &pair[0].encoding;
            let migration = known.iter().position(|known| known.is_same(old));
            let migration = migration.filter(|_| !old.is_same(&current));
            Former { until: pair[1].from, migration }
        });
        self.former = each.collect();
        self.untyped.forget_unfit();
        self.migrations.iter_mut().for_each(|m| m.untyped.forget_unfit());
        Ok(formats)
    }
}

impl Untyped {
    /// Values of a type that is not fit for it are not tried one by one.
    fn forget_unfit(&mut self) {
        if !(self.is_fit)() {
            self.to_native = None;
        }
    }
}

impl<V> Clone for Coding<V> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            untyped: self.untyped,
            encode: self.encode,
            own_codec: self.own_codec,
            decode: self.decode,
            migrations: self.migrations.clone(),
            former: Vec::new(),
        }
    }
}

impl<V> fmt::Debug for Coding<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coding({})", (self.untyped.encoding)())
    }
}
