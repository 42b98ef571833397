//! Counts the visits of each page, and emits every tenth.

use millpond::Result;
use millpond::cli::{self, Job, JobArgs};
use millpond::connector::Generator;
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::{JobGraph, StreamEnvironment};

/// The job as the command line knows it.
pub(crate) const JOB: Job<JobGraph> = Job {
    name: "visits",
    about: "Every tenth visit of each page",
    default_input: "a thousand visits, generated",
    build,
};

/// What is kept of each key, under a name that stored state is found by.
const VISITS: ValueDescriptor<u64> = ValueDescriptor::new("visits");

struct EveryTenth {
    visits: ValueState<u64>,
}

impl KeyedProcess for EveryTenth {
    type Key = String;
    type In = String;
    type Out = (String, u64);

    fn process(&self, page: String, context: &mut Context<'_, Self>) -> Result<()> {
        let visits = context.get(self.visits).copied().unwrap_or(0) + 1;
        context.set(self.visits, visits);
        if visits % 10 == 0 {
            context.emit((page, visits));
        }
        Ok(())
    }
}

pub(crate) fn build(args: &JobArgs) -> Result<JobGraph> {
    let env = StreamEnvironment::new();
    env.source(Generator::new(1_000, |n| format!("/page/{}", n % 7)))
        .uid("visits")
        .filter(|page| page != "/page/0")
        .key_by(String::clone)
        .process(|states: &mut States| EveryTenth { visits: states.value(VISITS) })
        .uid("every-tenth")
        .sink(args.json_lines())
        .uid("tenths");
    env.build()
}

fn main() -> std::process::ExitCode {
    cli::run(&[JOB])
}
