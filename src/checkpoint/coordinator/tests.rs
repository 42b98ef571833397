//! Tests of coordinator.
