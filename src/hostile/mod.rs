//! Fault injection: a hostile DynamoDB, or what goes wrong between a client and a server, at will and from one seed.
//!
//! Part of the test kit. It stands below the SDK, in front of whatever server the SDK talks to, and
//! knows DynamoDB's protocol but nothing of the engine.
//!
//! ```text
//! SDK ─► connector ─── plan, dice ──► fate ─┐
//!            │                              ▼
//!            ├─ refused, throttled, lost ◄──┤
//!            └─ delivered, twice, late ─────┴──► the real connector
//! ```
//!
//! The same seed, plan and order of calls give the same faults: nothing here reads the time but from
//! the clock that it is given, nor any randomness but the seed's.

mod answers;
mod batch;
mod connector;
mod counts;
mod course;
mod dice;
mod fate;
mod handle;
mod latency;
mod ledger;
mod limits;
mod partition;
mod plan;
mod request;
mod server;
mod size;
mod throttling;
mod trace;

pub use counts::Counts;
pub use handle::Hostile;
pub use latency::Latency;
pub use ledger::Consumed;
pub use limits::{Limits, Throughput};
pub use plan::{Fault, Plan, Rates};
pub use trace::Line;
