//! All that knows DynamoDB: the embedded one and AWS's, behind `state::Store` and
//! `checkpoint::HeadStore`.
//!
//! ```text
//! Connection ── scoped() ──► backend ─► read, write ─┐
//!      │                                            ├─► call (retry, meter) ─► SDK ─► AWS
//!      └─────── heads() ───► heads ─────────────────┘                          └──► embedded ─► database
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
mod lock;
mod meter;
mod purge;
mod read;
mod retry;
mod served;
mod table;
mod tap;
mod write;

pub use client::Wrap;
pub use connection::{Connection, Options};
pub use embedded::Execution;
pub use meter::{Consumption, Meter, Purpose, Usage};
pub use purge::Partition;
pub use served::{Served, Witness};
pub use table::{Difference, Plan, Remedy, Table, policy};
pub use tap::{Listener, Written, tap};
