//! What the command line gives a job: inputs, an output, and parameters of the job's own.
//!
//! Owns who asks for what: an option that a job never looks at would do nothing without a word, so it is an error,
//! as one that is mistyped is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;

use serde::Serialize;

use crate::config::nearest;
use crate::connector::{
    DeadLetter, FileSink, FileSource, Format, Inputs, OnError, Sink, StdinSource, StdoutSink,
};
use crate::error::{Error, Result};
use crate::ids::Name;
use crate::operator::Identity;
use crate::stream::{Stream, StreamEnvironment};

/// What stands for standard input.
const STDIN: &str = "-";

/// What the command line says about input, output and a job's own parameters. Without any option:
/// [`JobArgs::default`]; with some, for a test of a job's `build`: [`JobArgs::of`]. What a clone is asked for
/// counts as asked of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobArgs {
    given: Given,
    asked: Rc<RefCell<Asked>>,
}

/// The options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// `--input`: of each path the source that it is for, if it is for one.
    pub(super) inputs: Vec<(Option<String>, String)>,
    pub(super) output: Option<PathBuf>,
    pub(super) rate: Option<u64>,
    pub(super) on_error: OnError,
    pub(super) dead_letters: Option<PathBuf>,
    /// `--set`, by name.
    pub(super) set: BTreeMap<String, String>,
}

/// What a job has looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// The sources that paths may be for.
    sources: BTreeSet<String>,
    /// How often the paths that are for no source in particular were handed out; several sources may use what
    /// was handed out once.
    handed: u32,
    /// How often a source's own took their place.
    replaced: u32,
    /// A source reads them.
    kept: bool,
    /// The source that reads standard input.
    stdin: Option<String>,
    output: bool,
    rate: bool,
    on_error: bool,
    dead_letters: bool,
    set: BTreeSet<String>,
}

impl Asked {
    /// Whether nobody can be reading the paths that are for no source in particular.
    fn shared_is_unread(&self) -> bool {
        self.handed == 0 || (!self.kept && self.replaced >= self.handed)
    }
}

/// The source that the text of `--input` is for, if any, and the path. What cannot be an id is a part of the
/// path: `./a=b`.
pub(super) fn input(text: &str) -> (Option<String>, String) {
    match text.split_once('=') {
        Some((id, path)) if Name::new(id).is_ok() => (Some(id.to_owned()), path.to_owned()),
        _ => (None, text.to_owned()),
    }
}

impl JobArgs {
    pub(super) fn new(given: Given) -> Self {
        Self { given, asked: Rc::default() }
    }

    /// The files that `--input PATH` names, those of one source (`--input ID=PATH`) aside, or `default`.
    #[must_use]
    pub fn inputs_or(&self, default: Inputs) -> Inputs {
        self.asked.borrow_mut().handed += 1;
        files(&self.shared()).unwrap_or(default)
    }

    /// The files that `--input` names for the source `id`, or else for all, or `default`.
    #[must_use]
    pub fn inputs_of(&self, id: &str, default: Inputs) -> Inputs {
        match files(&self.own(id)) {
            Some(own) => own,
            None => self.inputs_or(default),
        }
    }

    /// Lines of standard input where `--input -` says so, else of the files that `--input` names, or of
    /// `default`; `id` is the source's. Otherwise as [`read`](Self::read).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`]: `-` beside other inputs, for two sources, or with `--rate`.
    pub fn read_lines(
        &self,
        env: &StreamEnvironment,
        id: &str,
        default: Inputs,
    ) -> Result<Stream<Identity<String>>> {
        let own = self.own(id);
        let is_shared = own.is_empty();
        let named = if is_shared { self.shared() } else { own };
        if !named.contains(&STDIN) {
            return Ok(self.read(env, id, FileSource::lines(self.inputs_of(id, default))));
        }
        drop(self.inputs_of(id, default));
        self.asked.borrow_mut().kept |= is_shared;
        let other = self.asked.borrow_mut().stdin.replace(id.to_owned());
        let wrong = match (named.len(), self.rate(), other) {
            (1, None, None) => None,
            (1, Some(_), _) => {
                Some("--rate has no effect on standard input (--input -)".to_owned())
            }
            (1, None, Some(other)) => Some(format!(
                "standard input (--input -) can be read by one source, not by {other} and {id}"
            )),
            _ => Some("standard input (--input -) cannot be read beside files".to_owned()),
        };
        if let Some(wrong) = wrong {
            return Err(Error::usage(wrong));
        }
        let source = StdinSource::new();
        Ok(match self.dead_letters() {
            Some(folder) => aside(env.source(source.with_dead_letters()), id, folder),
            None => env.source(source.on_error(self.on_error())).uid(id),
        })
    }

    /// What `source` yields, at most as fast as `--rate` says, without the lines that cannot be read: what
    /// becomes of them is as `--on-error` says. `id` is the source's; it reads the files of `--input ID=PATH`
    /// in place of its own, where some are given.
    pub fn read<F: Format>(
        &self,
        env: &StreamEnvironment,
        id: &str,
        source: FileSource<F>,
    ) -> Stream<Identity<F::Item>> {
        let (own, shared) = (self.own(id), self.shared());
        if source.reads(&shared) {
            let mut asked = self.asked.borrow_mut();
            if own.is_empty() {
                asked.kept = true;
            } else if own != shared {
                asked.replaced += 1;
            }
        }
        let source = match files(&own) {
            Some(own) => source.reading(own),
            None => source,
        };
        let source = match self.rate() {
            Some(rate) => source.rate(rate),
            None => source,
        };
        match self.dead_letters() {
            Some(folder) => aside(env.source(source.with_dead_letters()), id, folder),
            None => env.source(source.on_error(self.on_error())).uid(id),
        }
    }

    /// Where results go: files in the folder of `--output`, exactly once, or standard output.
    #[must_use]
    pub fn json_lines<T: Serialize + 'static>(&self) -> Box<dyn Sink<T>> {
        match self.output() {
            Some(folder) => Box::new(FileSink::json_lines(folder)),
            None => Box::new(StdoutSink::json_lines()),
        }
    }

    /// `--output`: a folder; `None`: standard output. For sinks of one's own.
    #[must_use]
    pub fn output(&self) -> Option<&Path> {
        self.asked.borrow_mut().output = true;
        self.given.output.as_deref()
    }

    /// `--rate`: at most so many records a second from each source. For sources of one's own.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.asked.borrow_mut().rate = true;
        self.given.rate
    }

    /// `--on-error`: what becomes of lines that cannot be read, unless they go to
    /// [`dead_letters`](Self::dead_letters). For sources of one's own.
    #[must_use]
    pub fn on_error(&self) -> OnError {
        self.asked.borrow_mut().on_error = true;
        self.given.on_error
    }

    /// `--on-error dead-letter=FOLDER`: where lines go that cannot be read. For sources of one's own.
    #[must_use]
    pub fn dead_letters(&self) -> Option<&Path> {
        let mut asked = self.asked.borrow_mut();
        (asked.dead_letters, asked.on_error) = (true, true);
        self.given.dead_letters.as_deref()
    }

    /// The text of `--set NAME=TEXT`, a parameter of the job's own. Flink: `ParameterTool.get`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.asked.borrow_mut().set.insert(name.to_owned());
        self.given.set.get(name).map(String::as_str)
    }

    /// As [`get`](Self::get), as a number or anything else that a text can be parsed as.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`] that names the parameter, its text and what is wrong with it.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>> {
        let parsed = |text: &str| {
            text.parse().map_err(|e| {
                let whole = std::any::type_name::<T>();
                let of = whole.rsplit("::").next().unwrap_or(whole);
                Error::usage(format!("--set {name}={text}: this is no {of}: {e}"))
            })
        };
        self.get(name).map(parsed).transpose()
    }

    /// As [`parse`](Self::parse), or `default` where it is not given.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn get_or<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.parse(name)?.unwrap_or(default))
    }

    /// Fails where the job that was built with these has not asked for all that is given.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`] that names each such option, and what the job does ask for.
    pub(super) fn check_all_used(&self) -> Result<()> {
        let (given, asked) = (&self.given, self.asked.borrow());
        let mut wrong = Vec::new();
        for (id, path) in &given.inputs {
            match id {
                None if asked.shared_is_unread() => wrong.push(format!(
                    "--input {path}: the job reads nothing from it{}",
                    listed(&asked.sources, "its sources are")
                )),
                Some(id) if !asked.sources.contains(id) => wrong.push(format!(
                    "--input {id}={path}: the job has no source {id}{}; a path with a \"=\" in it is written \
                     ./{id}={path}",
                    meant(id, &asked.sources, "its sources are")
                )),
                _ => {}
            }
        }
        let unknown = given.set.keys().filter(|name| !asked.set.contains(*name));
        wrong.extend(unknown.map(|name| {
            let meant = meant(name, &asked.set, "it asks for");
            format!("--set {name}: the job has no such parameter{meant}")
        }));
        for (option, is_given, is_asked) in [
            ("--output", given.output.is_some(), asked.output),
            ("--rate", given.rate.is_some(), asked.rate),
            ("--on-error", given.on_error != OnError::default(), asked.on_error),
            ("--on-error dead-letter", given.dead_letters.is_some(), asked.dead_letters),
        ] {
            if is_given && !is_asked {
                wrong.push(format!("{option} has no effect on this job; leave it out"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::usage(wrong.join("\n  "))) }
    }

    /// The paths that are for no source in particular.
    fn shared(&self) -> Vec<&str> {
        let shared = self.given.inputs.iter().filter(|(id, _)| id.is_none());
        shared.map(|(_, path)| path.as_str()).collect()
    }

    /// The paths that are for the source `id` alone.
    fn own(&self, id: &str) -> Vec<&str> {
        self.asked.borrow_mut().sources.insert(id.to_owned());
        let own = self.given.inputs.iter().filter(|(of, _)| of.as_deref() == Some(id));
        own.map(|(_, path)| path.as_str()).collect()
    }
}

fn files(patterns: &[&str]) -> Option<Inputs> {
    patterns.iter().map(|pattern| Inputs::from(*pattern)).reduce(Inputs::and)
}

fn meant(name: &str, known: &BTreeSet<String>, what: &str) -> String {
    let nearest = nearest::find(name, known.iter().map(String::as_str));
    let nearest = nearest.map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
    nearest + &listed(known, what)
}

fn listed(known: &BTreeSet<String>, what: &str) -> String {
    if known.is_empty() {
        return String::new();
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    format!(" ({what} {})", known.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::DiscardSink;
    use crate::task::JobGraph;

    fn args(options: &[&str]) -> JobArgs {
        JobArgs::of(options).unwrap()
    }

    /// What the sources of a graph read.
    fn sources(graph: &JobGraph) -> Vec<String> {
        let sources = graph.vertices.iter().filter_map(|vertex| vertex.source());
        sources.map(|source| source.describe()).collect()
    }

    /// Two files of lines and what is read of them.
    fn two(options: &[&str]) -> Result<Vec<String>> {
        let (args, env) = (args(options), StreamEnvironment::new());
        let orders = FileSource::lines(args.inputs_or("orders.txt".into()));
        args.read(&env, "orders", orders).sink(DiscardSink::new());
        args.read_lines(&env, "rates", "rates.txt".into())?.sink(DiscardSink::new());
        args.check_all_used()?;
        Ok(sources(&env.build()?))
    }

    fn refused(options: &[&str]) -> String {
        let error = two(options).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage, "{error}");
        error.to_string()
    }

    #[test]
    fn a_dash_is_standard_input_and_stands_alone() {
        let lines = |options: &[&str]| {
            let (args, env) = (args(options), StreamEnvironment::new());
            args.read_lines(&env, "lines", Inputs::embedded("x", b""))?.sink(DiscardSink::new());
            args.check_all_used()?;
            Ok::<_, Error>(sources(&env.build()?).concat())
        };
        let stdin = "standard input, which cannot be replayed";
        assert_eq!(lines(&["--input", "-"]).unwrap(), stdin);
        assert_eq!(lines(&["--input", "lines=-"]).unwrap(), stdin);
        assert_eq!(lines(&["--rate", "3"]).unwrap(), "lines of x (compiled in)");
        let wrong = |options: &[&str]| lines(options).unwrap_err().to_string();
        assert!(wrong(&["--input=-", "--input=a"]).contains("beside files"));
        assert!(wrong(&["--input=-", "--rate=3"]).contains("--rate"));
    }

    #[test]
    fn a_path_is_for_one_source_or_for_all_that_have_none_of_their_own() {
        for (options, read) in [
            (&[][..], ["lines of orders.txt", "lines of rates.txt"]),
            (&["--input", "all"], ["lines of all", "lines of all"]),
            (
                &["--input", "orders=a=b", "--input", "orders=c"],
                ["lines of a=b, c", "lines of rates.txt"],
            ),
            (
                &["--input", "rates=-"],
                ["lines of orders.txt", "standard input, which cannot be replayed"],
            ),
            (&["--input", "all", "--input", "orders=own"], ["lines of own", "lines of all"]),
            (&["--input", "./x=1/*"], ["lines of ./x=1/*", "lines of ./x=1/*"]),
            (&["--input", "data/x=1/*"], ["lines of data/x=1/*", "lines of data/x=1/*"]),
        ] {
            assert_eq!(two(options).unwrap(), read, "{options:?}");
        }
    }

    #[test]
    fn inputs_that_nobody_reads_are_refused() {
        let error = refused(&["--input", "order=x"]);
        let said = "--input order=x: the job has no source order; did you mean orders? (its sources are orders, \
                    rates); a path with a \"=\" in it is written ./order=x";
        assert_eq!(error, said);
        let all = ["--input", "all", "--input", "orders=a", "--input", "rates=b"];
        let error = refused(&all);
        assert_eq!(
            error,
            "--input all: the job reads nothing from it (its sources are orders, rates)"
        );
        let two_readers = args(&["--input", "-"]);
        let env = StreamEnvironment::new();
        two_readers.read_lines(&env, "a", "x".into()).unwrap().sink(DiscardSink::new());
        let error = two_readers.read_lines(&env, "b", "x".into()).unwrap_err().to_string();
        assert!(error.contains("by one source, not by a and b"), "{error}");
    }

    /// They used to be counted below nothing, or refused though one of the two reads them.
    #[test]
    fn inputs_of_two_sources_are_unread_where_both_have_their_own() {
        let read = |options: &[&str], hard_coded: Option<&str>| {
            let (args, env) = (args(options), StreamEnvironment::new());
            let inputs: Inputs = match hard_coded {
                Some(path) => path.into(),
                None => args.inputs_or("default".into()),
            };
            for id in ["a", "b"] {
                let source = FileSource::lines(inputs.clone());
                args.read(&env, id, source).sink(DiscardSink::new());
            }
            args.check_all_used()?;
            Ok::<_, Error>(sources(&env.build()?))
        };
        let one = ["--input", "all", "--input", "a=own"];
        assert_eq!(read(&one, None).unwrap(), ["lines of own", "lines of all"]);
        let unread = "--input all: the job reads nothing from it (its sources are a, b)";
        let both = ["--input", "all", "--input", "a=x", "--input", "b=y"];
        assert_eq!(read(&both, None).unwrap_err().to_string(), unread);
        assert_eq!(read(&one, Some("all")).unwrap_err().to_string(), unread);
    }

    #[test]
    fn what_a_clone_is_asked_for_is_asked_for() {
        let given = args(&["--set", "n=1", "--rate", "3"]);
        let clone = given.clone();
        assert_eq!((clone.get("n"), clone.rate()), (Some("1"), Some(3)));
        given.check_all_used().unwrap();
    }

    #[test]
    fn parameters_are_typed_and_those_that_nobody_asks_for_are_refused() {
        let given = args(&["--set", "threshold=7", "--set", "title=a=b", "--set", "share=lots"]);
        assert_eq!(given.get_or("threshold", 3_u64).unwrap(), 7);
        assert_eq!(given.get_or("window", 60_u32).unwrap(), 60);
        assert_eq!(given.parse::<u8>("window").unwrap(), None);
        assert_eq!((given.get("title"), given.get("none")), (Some("a=b"), None));
        let unasked = given.check_all_used().unwrap_err().to_string();
        let known = "(it asks for none, threshold, title, window)";
        assert_eq!(unasked, format!("--set share: the job has no such parameter {known}"));
        let error = given.parse::<f64>("share").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
        assert_eq!(error.to_string(), "--set share=lots: this is no f64: invalid float literal");
        given.check_all_used().unwrap();
    }

    #[test]
    fn options_that_the_job_never_looks_at_are_refused() {
        let given = args(&[
            "--output=out",
            "--rate=3",
            "--on-error=dead-letter=aside",
            "--input=a",
            "--set=n=1",
        ]);
        let error = given.check_all_used().unwrap_err().to_string();
        for option in ["--output", "--rate", "--on-error dead-letter", "--input a", "--set n"] {
            assert!(error.contains(option), "{option}: {error}");
        }
        let skip = args(&["--on-error=skip"]);
        assert!(
            skip.check_all_used().unwrap_err().to_string().contains("--on-error has no effect")
        );
        assert_eq!(skip.on_error(), OnError::Skip);
        skip.check_all_used().unwrap();
    }
}
