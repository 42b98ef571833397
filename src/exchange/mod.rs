//! The way between subtasks: bounded channels of batches, routing by key group, merging of inputs.
//!
//! A full channel is the backpressure. Barriers and end of input travel in the same channels, between
//! batches, so what stands before them is what was sent before them.

mod align;
mod channel;
mod gate;
mod route;

pub use align::{Action, Aligner};
pub use channel::{Inlet, Outlet, channel};
pub use gate::{Event, InputGate};
pub use route::KeyRouter;
