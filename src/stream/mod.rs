//! The typed API and the job graph that it builds.
//!
//! ```text
//! source ─► map/filter/flat_map … ─► key_by ─► process/reduce ─► … ─► sink
//!        └──► process ─► …                └─ connect(broadcast) ─► process ─► …
//! ```
//! A [`Stream`] carries its chain in its type, so everything between two exchanges is one loop.
//! [`StreamEnvironment::build`] checks the whole graph before anything starts.

mod connected;
mod edges;
mod env;
mod keyed;
#[expect(clippy::module_inception, reason = "the file is about the type of that name")]
mod stream;
mod vertices;

#[expect(clippy::module_name_repetitions, reason = "Flink's names")]
pub use connected::{BroadcastStream, ConnectedStream};
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use env::StreamEnvironment;
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use keyed::KeyedStream;
pub use stream::{SinkHandle, Stream};

// What [`StreamEnvironment::build`] gives.
pub use crate::task::JobGraph;
