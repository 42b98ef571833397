//! Tests of driver.
