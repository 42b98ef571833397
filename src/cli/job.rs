//! Jobs by name.

use super::job_args::JobArgs;
use crate::config::nearest;
use crate::error::{Error, Result};

/// One job of a binary.
#[derive(Clone, Copy, Debug)]
pub struct Job<G> {
    /// What it is called on the command line; the default of `--name`, so a valid
    /// [`crate::ids::Name`].
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// What it reads without `--input`, in words.
    pub default_input: &'static str,
    /// Builds its graph.
    pub build: fn(&JobArgs) -> Result<G>,
}

/// The job that `name` is.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] that names the nearest one and all others.
pub(super) fn find<'a, G>(jobs: &'a [Job<G>], name: &str) -> Result<&'a Job<G>> {
    jobs.iter().find(|job| job.name == name).ok_or_else(|| {
        let names = || jobs.iter().map(|job| job.name);
        let meant = nearest::find(name, names())
            .map_or(String::new(), |nearest| format!(" did you mean {nearest}?"));
        let all = names().collect::<Vec<_>>().join(", ");
        Error::usage(format!("there is no job {name:?};{meant} jobs: {all}"))
    })
}

/// The list that `jobs` prints.
pub(super) fn list<G>(jobs: &[Job<G>]) -> String {
    let width = jobs.iter().map(|job| job.name.len()).max().unwrap_or(0);
    let line =
        |job: &Job<G>| format!("{:width$}  {} (input: {})", job.name, job.about, job.default_input);
    jobs.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: [Job<()>; 2] = [
        Job { name: "word_count", about: "Words", default_input: "documents", build: |_| Ok(()) },
        Job { name: "routes", about: "Routes", default_input: "flights", build: |_| Ok(()) },
    ];

    #[test]
    fn an_unknown_job_names_the_nearest_and_all() {
        assert_eq!(find(&JOBS, "routes").unwrap().name, "routes");
        let error = find(&JOBS, "word-count").unwrap_err();
        let expected =
            "there is no job \"word-count\"; did you mean word_count? jobs: word_count, routes";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn jobs_are_listed_in_columns() {
        assert_eq!(
            list(&JOBS),
            "word_count  Words (input: documents)\nroutes      Routes (input: flights)"
        );
    }
}
