//! Operators: what users' functions become.
//!
//! Stateless ones are fused by generics into a [`Chain`], one loop over a batch; keyed ones implement
//! [`KeyedProcess`]. Driving them is `task`'s; building graphs of them is `stream`'s.

mod chain;
mod filter;
mod flat_map;
mod map;
mod process;
mod reduce;

pub use chain::{Chain, Identity};
pub use filter::Filter;
pub use flat_map::FlatMap;
pub use map::Map;
pub use process::{Context, KeyedProcess};
pub use reduce::Reduce;
