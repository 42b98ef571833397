//! The end of input, and crashes between the last checkpoint and *finished*.

use millpond::Result;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus};
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{OperatorContext, OperatorProcess};
use millpond::state::{OperatorListDescriptor, OperatorListState, OperatorStates};
use millpond::stream::StreamEnvironment;

use super::{manifest, run_a_while};
use crate::engine_support::{Engine, head, ms, pass, simulate, small};

/// Gives out how many records it has read, at the end and whether there were any or not.
struct Sum(OperatorListState<u64>);

impl OperatorProcess for Sum {
    type In = u64;
    type Out = (u32, u64);

    fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let read = context.get_mut(self.0);
        match read.first_mut() {
            Some(sum) => *sum += n,
            None => read.push(n),
        }
        Ok(())
    }

    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let sum = std::mem::take(context.get_mut(self.0)).into_iter().sum();
        let subtask = context.subtask().index;
        context.emit((subtask, sum));
        Ok(())
    }
}

/// No manifest told of it: after a crash between the last checkpoint and *finished* it ran again, on the
/// state that it had left.
#[test]
fn the_end_of_input_comes_once_whatever_crashes_after_the_last_checkpoint() {
    for (crashes, parallelism) in [(0, 2), (1, 2), (1, 3), (3, 1)] {
        simulate(async {
            let (engine, twin) = Engine::twin(small());
            let sink = MemorySink::new();
            let (feed, source) = MemorySource::fed(3);
            let graph = || {
                let env = StreamEnvironment::new();
                env.source(source.clone())
                    .process(|states: &mut OperatorStates| {
                        Sum(states.list(OperatorListDescriptor::new("read")))
                    })
                    .uid("sum")
                    .process(|states: &mut OperatorStates| {
                        Twice(states.list(OperatorListDescriptor::new("ends")))
                    })
                    .uid("twice")
                    .sink(sink.clone());
                env.build().unwrap()
            };
            // A checkpoint before the end is of the time before it.
            feed.push(0, 0..10);
            run_a_while(&engine, 2, graph()).await;
            assert!(!manifest(&twin).await.input_ended);
            feed.push(1, 10..20);
            feed.close();
            for crash in 0..crashes {
                // Committed late, so that the job is not finished when it dies.
                sink.hesitate(1000);
                let engine = engine.with(|config| {
                    config.parallelism = if crash == 0 { 2 } else { parallelism };
                });
                tokio::select! {
                    biased;
                    _ = engine.run(graph()) => panic!("it cannot end"),
                    () = pass(ms(500)) => {}
                }
                assert_eq!(head(&twin).status, HeadStatus::Running);
                assert!(manifest(&twin).await.input_ended);
            }
            sink.hesitate(0);
            let last = if crashes == 0 { 2 } else { parallelism };
            let mut engine = engine.with(|config| config.parallelism = last);
            engine.mode = StartMode::Resume;
            assert_eq!(engine.run(graph()).await.unwrap(), Ended::Finished);
            let mut output = sink.output();
            // Of each of the two subtasks that read to the end, what it read and that it ended.
            output.sort_unstable();
            let ends = output.iter().filter(|line| **line == (u32::MAX, 1)).count();
            assert_eq!((output.len(), ends), (4, 2), "{output:?}");
            let sum: u64 = output[..2].iter().map(|(_, sum)| sum).sum();
            assert_eq!(sum, (0..20).sum::<u64>());
        });
    }
}

/// Passes everything on, and gives out how often it has come to an end.
struct Twice(OperatorListState<u64>);

impl OperatorProcess for Twice {
    type In = (u32, u64);
    type Out = (u32, u64);

    fn process(&self, line: Self::In, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        context.emit(line);
        Ok(())
    }

    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        context.get_mut(self.0).push(1);
        let ends = context.get(self.0).len() as u64;
        context.emit((u32::MAX, ends));
        Ok(())
    }
}
