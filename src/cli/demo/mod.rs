//! The demos: a job that is killed again and again loses nothing (`demo recovery`), nor does one that
//! everything happens to (`demo chaos`).
//!
//! `recovery` is the flow of the one, with `child` the process that is killed, `plan` the moments and
//! `report` the table; `chaos` is the other. They share `folder`, and `output`, which is compared.

#[cfg(unix)]
mod chaos;
mod child;
mod folder;
mod output;
mod plan;
mod recovery;
mod report;

#[cfg(unix)]
pub(super) use chaos::chaos;
pub(super) use recovery::{JOB, recovery};

/// Signals are Unix's.
#[cfg(not(unix))]
pub(super) fn chaos(
    _args: &super::args::ChaosArgs,
    _bar: &super::bar::Bar,
) -> crate::error::Result<super::exit::Exit> {
    Err(crate::error::Error::usage("`demo chaos` stops and continues processes: it needs Unix"))
}
