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

use super::job::Job;
use crate::error::{Error, Result};

/// Whether this binary can show them: they run a sample job.
pub(super) fn are_possible<G>(jobs: &[Job<G>]) -> bool {
    jobs.iter().any(|job| job.name == JOB)
}

/// Refuses them where they are not.
///
/// # Errors
/// [`crate::ErrorKind::Usage`].
pub(super) fn check<G>(jobs: &[Job<G>]) -> Result<()> {
    if are_possible(jobs) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the demos run Millpond's sample job {JOB}, which this program does not have: run Millpond's own `millpond demo`"
    )))
}

/// Signals are Unix's.
#[cfg(not(unix))]
pub(super) fn chaos(
    _args: &super::args::ChaosArgs,
    _bar: &super::bar::Bar,
) -> Result<super::exit::Exit> {
    Err(Error::usage("`demo chaos` stops and continues processes: it needs Unix"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They used to end with "there is no job route_stats", which nobody had asked for.
    #[test]
    fn a_program_without_the_sample_job_has_no_demos_and_says_so() {
        let job = |name| Job { name, about: "", default_input: "", build: |_| Ok(()) };
        assert!(check(&[job(JOB)]).is_ok() && are_possible(&[job(JOB)]));
        assert!(!are_possible(&[job("flights")]));
        let error = check(&[job("flights")]).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
        assert!(error.to_string().contains("which this program does not have"), "{error}");
    }
}
