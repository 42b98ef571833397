//! `demo recovery`: a job that is killed again and again loses nothing.
//!
//! `recovery` is the flow, `child` the process that is killed, `plan` the moments, `output` what is
//! compared, `report` the table and the verdict.

mod child;
mod folder;
mod output;
mod plan;
mod recovery;
mod report;

pub(super) use recovery::{JOB, recovery};
