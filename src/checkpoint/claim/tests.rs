//! Tests of claim.
