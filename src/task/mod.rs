//! One subtask's loop: the only place that sees exchange, operator, state and checkpoint together.
//!
//! A task is a future on its worker's thread; it owns its channels, its state and the way out. It ends
//! when the attempt does: the runtime drops it.

mod build;
mod cleaner;
mod filter;
mod keyed;
mod keyless;
mod log;
mod output;
mod parked;
mod pause;
mod pressure;
mod process;
mod reads;
mod restored;
mod room;
mod segments;
mod side;
mod snapshot;
mod source;
mod tails;
mod union;

pub use build::{
    AnySink, AnySource, BuildContext, ConsumerFactory, Edge, EdgeEnds, JobGraph, Port, Restored,
    Vertex,
};
pub use keyed::KeyedSubtask;
pub use log::filter_of;
pub use output::{Consumer, Fused, Output, Staged, Tail};
pub use pressure::{MemoryUse, Pressure, Reason};
pub use process::ProcessSubtask;
pub use restored::{LogSegments, rebuild};
pub use segments::SegmentPuts;
pub use side::{BroadcastSide, NoSide, SideInput};
pub use source::{Emit, SourceSubtask};
pub use tails::{BroadcastTail, ForkTail, ForwardTail, KeyedTail, SinkTail};
pub use union::UnionSubtask;
