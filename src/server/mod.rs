//! HTTP: a job's status in the shape of Flink's REST API.
//!
//! Owns the address, the routes and the JSON. Reads a watch of the status, and cannot reach the
//! engine. Spawns nothing: [`Bound::serve`] is a future that the caller drives.

mod bind;
mod flink;
#[cfg(test)]
mod fuzz;
mod routes;

pub use bind::{Bound, bind};
