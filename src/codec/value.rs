//! The encoding of state values and of other structured bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a state can hold: anything serde can write and read back.
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

/// Bytes that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub(crate) String);

/// Turns a `T` into bytes and back.
///
/// `decode(encode(x)) == x`, and `encode` of equal values gives equal bytes.
pub trait Codec<T>: Send + Sync + 'static {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    /// Where the value cannot be written in this format (a sequence of unknown length, say).
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), DecodeError>;

    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// Where the bytes are of another type or version, or are damaged.
    fn decode(bytes: &[u8]) -> Result<T, DecodeError>;
}

/// The default codec: bincode 2 with its standard configuration (little-endian, variable-length
/// integers).
#[derive(Clone, Copy, Debug)]
pub struct Bincode;

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    #[inline]
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        bincode::serde::encode_into_std_write(value, out, bincode::config::standard())
            .map(|_| ())
            .map_err(|e| DecodeError(format!("cannot encode: {e}")))
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        let (value, read) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())
            .map_err(|e| DecodeError(format!("cannot decode: {e}")))?;
        if read == bytes.len() {
            Ok(value)
        } else {
            Err(DecodeError(format!("{} bytes too many", bytes.len() - read)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_an_error() {
        let mut bytes = Vec::new();
        Bincode::encode(&7u64, &mut bytes).unwrap();
        assert_eq!(<Bincode as Codec<u64>>::decode(&bytes).unwrap(), 7);
        bytes.push(0);
        assert!(<Bincode as Codec<u64>>::decode(&bytes).is_err());
    }
}
