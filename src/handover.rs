//! What sources and sinks hand over at a barrier, in bytes of their own: how far splits are read, and what is staged.
//!
//! Owns these words, which `connector` gives, `checkpoint` keeps and the manifest holds, each blind to the others.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{Bincode, Codec, Key};
use crate::error::{Error, ErrorKind, Result};

/// One part of the input and how far it has been read; stands in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SplitState {
    /// Unique within the source and stable: a path, or a path and range.
    pub id: String,
    /// The source's own bytes: what the split is and the position in it.
    pub state: Vec<u8>,
    /// Nothing is left to read.
    pub done: bool,
}

impl SplitState {
    /// A split whose state is `position`: a number, a text, or a tuple of these, say.
    ///
    /// ```
    /// use millpond::connector::SplitState;
    /// let split = SplitState::at("log.txt", &(3u32, 512u64), false);
    /// assert_eq!(split.position::<(u32, u64)>()?, (3, 512));
    /// # Ok::<(), millpond::Error>(())
    /// ```
    #[must_use]
    pub fn at(id: impl Into<String>, position: &impl Key, done: bool) -> Self {
        let mut state = Vec::new();
        position.encode(&mut state);
        Self { id: id.into(), state, done }
    }

    /// The position that [`SplitState::at`] was given.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the state is not of that type.
    pub fn position<P: Key>(&self) -> Result<P> {
        let mut rest = &self.state[..];
        let wrong = |what: &dyn fmt::Display| {
            let message = format!("the state of split {:?} is no {}: {what}", self.id, P::schema());
            Error::new(ErrorKind::Corrupt, message)
        };
        match P::decode(&mut rest) {
            Ok(position) if rest.is_empty() => Ok(position),
            Ok(_) => Err(wrong(&format_args!("{} bytes are left", rest.len()))),
            Err(error) => Err(wrong(&error)),
        }
    }
}

/// What a sink's writer has staged for a checkpoint, in the sink's own bytes; stands in manifests until it is
/// published. Two committables of one sink never have equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Committable(pub Vec<u8>);

impl Committable {
    /// What is staged, or where it is.
    ///
    /// ```
    /// use millpond::connector::Committable;
    /// let staged = Committable::of(&("part-7".to_owned(), 512u64))?;
    /// assert_eq!(staged.read::<(String, u64)>()?, ("part-7".to_owned(), 512));
    /// # Ok::<(), millpond::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where it cannot be serialised.
    pub fn of<T: Serialize + DeserializeOwned>(staged: &T) -> Result<Self> {
        let mut bytes = Vec::new();
        Bincode::encode(staged, &mut bytes).map_err(|error| {
            let message = format!("what is staged cannot be serialised: {error}");
            Error::new(ErrorKind::Output, message)
        })?;
        Ok(Self(bytes))
    }

    /// What [`Committable::of`] was given.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is not of that type.
    pub fn read<T: Serialize + DeserializeOwned>(&self) -> Result<T> {
        Bincode::decode(&self.0).map_err(|error| {
            let message = format!("what is staged is not of its type: {error}");
            Error::new(ErrorKind::Corrupt, message)
        })
    }
}

/// How one committable ended. Flink: `CommitRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Published now.
    Committed,
    /// It was published before.
    AlreadyCommitted,
    /// Try again later; the text says why.
    Retry(String),
    /// It is not there any more; the text says what is missing where. Fails the attempt, unless the
    /// user gives it up.
    Lost(String),
}
