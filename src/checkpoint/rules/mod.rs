//! What follows from what was seen: small pure functions over plain data.
//!
//! Owns every decision of the protocol about heads, starts, retention and failures. No I/O, no time,
//! no randomness: the driver, the claim and a model checker share them.

mod claims;
mod graph;
mod ownership;
mod retention;
mod start;

pub use claims::{first_head, resumed, successor, unchanged};
pub use graph::{bound_to, has_operator, inputs_of, name_of, states_in};
pub use ownership::{
    FencedBy, Mine, Resolution, Restorable, claimed, is_mine, resolve_move, resolve_owned,
    restorable,
};
pub use retention::{
    MAX_OPERATOR_STATE_BYTES, counts_as_failure, live_segments, merge_horizons, named_slots,
    next_number, retain, roll_back, segments_for, too_many_failures, too_much_operator_state,
};
pub use start::{Refusal, Start, StartFacts, StartMode, start};
