//! The running count of each word of any text files.

use millpond::Result;
use millpond::cli::{Job, JobArgs};
use millpond::connector::Inputs;
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::{JobGraph, StreamEnvironment};
use serde::Serialize;

/// The job as the command line knows it.
pub(crate) const JOB: Job<JobGraph> = Job {
    name: "word_count",
    about: "The running count of each word of text files",
    default_input: "this project's documents, compiled in",
    build,
};

const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");

/// What is emitted after each word.
#[derive(Debug, Serialize)]
struct Counted {
    word: String,
    count: u64,
}

struct Count {
    count: ValueState<u64>,
}

impl KeyedProcess for Count {
    type Key = String;
    type In = String;
    type Out = Counted;

    fn process(&self, word: String, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        context.emit(Counted { word, count });
        Ok(())
    }
}

fn documents() -> Inputs {
    Inputs::embedded("README.md", include_bytes!("../README.md"))
        .and(Inputs::embedded("guide.md", include_bytes!("../docs/guide.md")))
        .and(Inputs::embedded("operations.md", include_bytes!("../docs/operations.md")))
}

fn words(line: String) -> Vec<String> {
    line.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn build(args: &JobArgs) -> Result<JobGraph> {
    let env = StreamEnvironment::new();
    args.read_lines(&env, "lines", documents())?
        .flat_map(words)
        .key_by(String::clone)
        .process(|states: &mut States| Count { count: states.value(COUNT) })
        .uid("counts")
        .sink(args.json_lines())
        .uid("words");
    env.build()
}
