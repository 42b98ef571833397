//! The bytes of a split's state: a version, then bincode.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Bincode, Codec};
use crate::error::{Error, ErrorKind, Result};

const VERSION: u8 = 1;

pub(super) fn encode<T: Serialize + DeserializeOwned>(state: &T) -> Result<Vec<u8>> {
    encode_as(VERSION, state)
}

pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    decode_as(VERSION, bytes)
}

/// In a layout of the state's own, which has had others.
pub(super) fn encode_as<T: Serialize + DeserializeOwned>(
    version: u8,
    state: &T,
) -> Result<Vec<u8>> {
    let mut bytes = vec![version];
    Bincode::encode(state, &mut bytes).map_err(|e| Error::internal(format!("split state: {e}")))?;
    Ok(bytes)
}

pub(super) fn decode_as<T: Serialize + DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T> {
    match bytes {
        [found, rest @ ..] if *found == version => Bincode::decode(rest)
            .map_err(|e| Error::new(ErrorKind::Corrupt, format!("a split's state: {e}"))),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            format!("a split's state has version {:?}, not {version}", bytes.first()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_and_those_of_another_version_are_named() {
        let mut bytes = encode(&(1u64, "a".to_owned())).unwrap();
        assert_eq!(bytes, [1, 1, 1, b'a']);
        assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), (1, "a".to_owned()));
        bytes[0] = 2;
        let error = decode::<(u64, String)>(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "a split's state has version Some(2), not 1");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
