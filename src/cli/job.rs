//! Jobs by name, and what the command line gives them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::nearest;
use crate::connector::{
    DeadLetter, FileSink, FileSource, Format, Inputs, OnError, Sink, StdinSource, StdoutSink,
};
use crate::error::{Error, Result};
use crate::operator::Identity;
use crate::stream::{Stream, StreamEnvironment};

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

/// What the command line says about input and output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobArgs {
    /// `--input`: paths or globs, or `-` for standard input; none: the job's own default.
    pub input: Vec<String>,
    /// `--output`: a folder; `None`: standard output.
    pub output: Option<PathBuf>,
    /// `--rate`: at most so many records a second from each source.
    pub rate: Option<u64>,
    /// `--on-error`: what becomes of lines that cannot be read.
    pub on_error: OnError,
    /// `--on-error dead-letter=FOLDER`: where they go, in place of that.
    pub dead_letters: Option<PathBuf>,
}

impl JobArgs {
    /// The files that `--input` names, or `default`.
    #[must_use]
    pub fn inputs_or(&self, default: Inputs) -> Inputs {
        let named = self.input.iter().map(|pattern| Inputs::from(pattern.as_str()));
        named.reduce(Inputs::and).unwrap_or(default)
    }

    /// Lines of standard input where `--input -` says so, else of the files that `--input` names, or of
    /// `default`; `id` is the source's. Otherwise as [`read`](Self::read).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`]: `-` beside other inputs, or with `--rate`.
    pub fn read_lines(
        &self,
        env: &StreamEnvironment,
        id: &str,
        default: Inputs,
    ) -> Result<Stream<Identity<String>>> {
        if !self.input.iter().any(|pattern| pattern == "-") {
            return Ok(self.read(env, id, FileSource::lines(self.inputs_or(default))));
        }
        match (self.input.len(), self.rate) {
            (1, None) => {}
            (1, Some(_)) => {
                return Err(Error::usage("--rate has no effect on standard input (--input -)"));
            }
            _ => {
                return Err(Error::usage("standard input (--input -) cannot be read beside files"));
            }
        }
        let source = StdinSource::new();
        Ok(match &self.dead_letters {
            Some(folder) => aside(env.source(source.with_dead_letters()), id, folder),
            None => env.source(source.on_error(self.on_error)).uid(id),
        })
    }

    /// What `source` yields, at most as fast as `--rate` says, without the lines that cannot be read: what
    /// becomes of them is as `--on-error` says. `id` is the source's.
    pub fn read<F: Format>(
        &self,
        env: &StreamEnvironment,
        id: &str,
        source: FileSource<F>,
    ) -> Stream<Identity<F::Item>> {
        let source = match self.rate {
            Some(rate) => source.rate(rate),
            None => source,
        };
        match &self.dead_letters {
            Some(folder) => aside(env.source(source.with_dead_letters()), id, folder),
            None => env.source(source.on_error(self.on_error)).uid(id),
        }
    }

    /// Where results go: files in the folder of `--output`, exactly once, or standard output.
    #[must_use]
    pub fn json_lines<T: Serialize + 'static>(&self) -> Box<dyn Sink<T>> {
        match &self.output {
            Some(folder) => Box::new(FileSink::json_lines(folder)),
            None => Box::new(StdoutSink::json_lines()),
        }
    }
}

/// What could be read of the source `id`. What could not goes to files in `folder`, exactly once.
fn aside<T: Send + 'static>(
    read: Stream<Identity<Result<T, DeadLetter>>>,
    id: &str,
    folder: &Path,
) -> Stream<Identity<T>> {
    let (good, bad) = read.uid(id).split_results();
    bad.sink_aside(FileSink::joining(folder)).uid(&format!("{id}-dead-letters"));
    good
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
    use crate::connector::DiscardSink;

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
    fn a_dash_is_standard_input_and_stands_alone() {
        let lines = |input: &[&str], rate| {
            let input = input.iter().map(|&text| text.to_owned()).collect();
            let env = StreamEnvironment::new();
            let args = JobArgs { input, rate, ..JobArgs::default() };
            args.read_lines(&env, "lines", Inputs::embedded("x", b""))?.sink(DiscardSink::new());
            let graph = env.build()?;
            let source = graph.vertices.iter().find_map(|vertex| vertex.source());
            Ok::<_, Error>(source.unwrap().describe())
        };
        assert_eq!(lines(&["-"], None).unwrap(), "standard input, which cannot be replayed");
        assert_eq!(lines(&[], Some(3)).unwrap(), "lines of x (compiled in)");
        assert!(lines(&["-", "a"], None).unwrap_err().to_string().contains("beside files"));
        assert!(lines(&["-"], Some(3)).unwrap_err().to_string().contains("--rate"));
    }

    #[test]
    fn jobs_are_listed_in_columns() {
        assert_eq!(
            list(&JOBS),
            "word_count  Words (input: documents)\nroutes      Routes (input: flights)"
        );
    }
}
