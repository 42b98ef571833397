//! A write of an item that cleaning has decided on, before its value has the form in which it is stored.
//!
//! Owns the way from the codec's bytes to an attribute, which may take milliseconds for a value: whoever writes
//! takes it, off the worker. Which values can go it is `native`'s, what is written `cleaning`'s.

use super::coding::ToNative;
use super::store::ItemWrite;
use crate::ids::Name;

/// A write whose value may still have to become an attribute.
#[derive(Clone, Debug)]
pub struct PendingWrite {
    /// With the codec's bytes.
    write: ItemWrite,
    to_native: Option<ToNative>,
}

impl PendingWrite {
    pub(super) fn new(write: ItemWrite, to_native: Option<ToNative>) -> Self {
        let to_native = to_native.filter(|_| write.item.value.is_some());
        Self { write, to_native }
    }

    /// Bytes of its key and value, as the codec has them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.write.bytes()
    }

    /// The state that it is of.
    #[must_use]
    pub fn state(&self) -> &Name {
        &self.write.key.state
    }

    /// Whether [`PendingWrite::into_write`] has something to do.
    #[must_use]
    pub fn converts(&self) -> bool {
        self.to_native.is_some()
    }

    /// The write as it is sent: its value as an attribute, where that is asked for and can be. Takes some
    /// microseconds for a small value, milliseconds for one of 200 KB; call it off the workers.
    #[must_use]
    pub fn into_write(self) -> ItemWrite {
        let Self { mut write, to_native } = self;
        let native = to_native.zip(write.item.value.as_ref());
        if let Some(json) = native.and_then(|(to_native, bytes)| to_native(bytes)) {
            write.item.value = Some(json.into());
            write.item.native = true;
        }
        write
    }
}
