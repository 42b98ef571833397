//! Tests of slots.
