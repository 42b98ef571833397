//! A whole job on one thread with a paused clock: it needs no other thread, and one seed is one run.

use std::sync::Arc;

use millpond::checkpoint::Ended;
use millpond::connector::{Commit, Generator, MemorySink, MemorySource};
use millpond::runtime::{Backend, JobState, JobStatus};
use millpond::stream::StreamEnvironment;

use crate::engine_support::{
    Engine, Event, Line, check, embedded, ms, simulate, small, store, tally,
};

fn input() -> Vec<Vec<Event>> {
    (0..3).map(|split| (0..100).map(|n| ((n * 7 + split) % 20, n)).collect()).collect()
}

async fn tally_over(backend: Arc<dyn Backend>) -> (Vec<Commit<Line>>, JobStatus) {
    let engine = Engine::new(backend, small());
    let sink = MemorySink::new();
    let graph = tally(MemorySource::of_splits(input()), &sink);
    assert_eq!(engine.run(graph).await.unwrap(), Ended::Finished);
    check(&sink.output(), &input()).unwrap();
    (sink.commits().unwrap(), engine.status())
}

#[test]
fn one_seed_is_one_run_over_the_twin() {
    let run = || {
        simulate(async {
            let (_, twin) = Engine::twin(small());
            let told = tally_over(Arc::new(twin.clone())).await;
            (told, store(&twin).blocks(), store(&twin).items())
        })
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0.1.state, JobState::Finished);
    assert_eq!(first, second);
}

#[test]
fn one_seed_is_one_run_over_the_embedded_dynamodb() {
    let run = || simulate(async { tally_over(embedded(None).await).await });
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert!(first.1.consumed.write.log > 0.0);
}

#[test]
fn a_rate_and_checkpoints_pass_in_no_time() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let env = StreamEnvironment::new();
        let sink = MemorySink::new();
        env.source(Generator::new(1000, |n| n).rate(2000))
            .key_by(|n| n % 10)
            .reduce(|a, b| a.max(b))
            .sink(sink.clone());
        engine.run(env.build().unwrap()).await.unwrap();
        assert_eq!(sink.output().len(), 1000);
        let status = engine.status();
        let took = ms(status.ended_ms.unwrap() - status.started_ms);
        assert!(ms(450) < took && took < ms(600), "1000 records at 2000/s took {took:?}");
        assert!(status.checkpoints.counts.completed > 40, "{:?}", status.checkpoints.counts);
    });
}
