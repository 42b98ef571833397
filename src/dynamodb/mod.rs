//! All that knows DynamoDB: the embedded one and AWS's, behind `state::Store` and
//! `checkpoint::HeadStore`.
//!
//! ```text
//! Connection ── scoped() ──► backend ─► read, write ─┐
//!      │                                            ├─► send (pace, meter) ─► call (retry) ─► SDK ─► AWS
//!      └─────── heads() ───► heads ─────────────────┘                                         └─► embedded
//! ```

mod backend;
mod call;
mod client;
mod connection;
mod credentials;
mod database;
mod embedded;
#[cfg(test)]
mod fuzz;
mod head_item;
mod heads;
mod item;
mod limiter;
mod lock;
mod meter;
mod native;
mod pace;
mod parts;
mod portion;
mod proxy;
mod purge;
mod put;
mod read;
mod retry;
mod scan;
mod send;
mod served;
mod signatures;
mod statement;
mod table;
mod tap;
mod throttles;
mod whole;
mod write;

pub use client::Wrap;
pub use connection::{Connection, Options};
pub use embedded::Execution;
pub use meter::{Consumption, Meter, Purpose, Share, Usage};
pub use parts::{Joined, Row, Torn, join, key_of, place_of_first, place_of_part};
pub use purge::Partition;
pub use served::{Served, Witness};
pub use table::{Difference, Plan, Remedy, Table, policy};
pub use tap::{Listener, Written, tap};
pub use throttles::Throttling;
