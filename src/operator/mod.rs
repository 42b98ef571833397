//! Operators: what users' functions become.
//!
//! Stateless ones are fused by generics into a [`Chain`], one loop over a batch; keyed ones implement
//! [`KeyedProcess`], with a broadcast input [`KeyedBroadcastProcess`], and those that keep something without
//! keys [`OperatorProcess`]. Driving them is `task`'s; building graphs of them is `stream`'s.

mod broadcast;
mod chain;
mod filter;
mod flat_map;
mod map;
mod process;
mod reduce;
mod unkeyed;

pub use broadcast::{BroadcastContext, Connected, KeyedBroadcastContext, KeyedBroadcastProcess};
pub use chain::{Chain, Identity};
pub use filter::Filter;
pub use flat_map::FlatMap;
pub use map::Map;
pub use process::{Context, KeyedProcess};
pub use reduce::Reduce;
#[expect(clippy::module_name_repetitions, reason = "Flink's word for what belongs to no key")]
pub use unkeyed::{OperatorContext, OperatorProcess};
