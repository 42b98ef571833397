//! What lists and union lists hold, over stops, rescales, roll-backs and aborted checkpoints; and too much of it.

use millpond::config::Config;
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{OperatorContext, OperatorProcess};
use millpond::state::{Call, OperatorListDescriptor, OperatorListState, OperatorStates};
use millpond::stream::StreamEnvironment;
use millpond::{ErrorKind, Result};

use super::{held, in_order, packing, run_a_while, saved};
use crate::engine_support::{Engine, head, ms, pass, simulate, small, store};

#[test]
fn what_is_held_back_survives_stops_at_each_parallelism_and_is_given_out_once() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (feed, source) = MemorySource::fed(3);
        let sink = MemorySink::new();
        let mut given = 0;
        for parallelism in [2, 2, 5, 1, 3] {
            for split in 0..3 {
                feed.push(split, (given..given + 11).collect::<Vec<_>>());
                given += 11;
            }
            run_a_while(&engine, parallelism, packing(source.clone(), 7, &sink)).await;
            let waiting = held(&twin).await;
            assert_eq!(waiting.len(), parallelism as usize);
            assert!(waiting.iter().all(|list| list.len() < 7));
            assert_eq!(in_order(&sink).len() + waiting.concat().len(), given as usize);
            let counts = saved::<(u32, u64)>(&twin, "pack", "counts").await;
            assert_eq!(counts.concat().iter().map(|(_, count)| count).sum::<u64>(), given);
        }
        feed.close();
        engine.run(packing(source, 7, &sink)).await.unwrap();
        assert_eq!(in_order(&sink), (0..given).collect::<Vec<_>>());
        assert!(held(&twin).await.concat().is_empty());
    });
}

#[test]
fn a_rescale_deals_a_list_out_evenly_and_an_equal_parallelism_leaves_it_alone() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        feed.push(0, 0..30);
        feed.push(1, 30..31);
        let waiting = async |parallelism| {
            run_a_while(&engine, parallelism, packing(source.clone(), 1000, &sink)).await;
            held(&twin).await
        };
        let first = waiting(2).await;
        assert_eq!(first, [(0..30).collect::<Vec<_>>(), vec![30]]);
        assert_eq!(waiting(2).await, first);
        let sizes = |lists: &[Vec<u64>]| lists.iter().map(Vec::len).collect::<Vec<_>>();
        let dealt = waiting(4).await;
        assert_eq!(sizes(&dealt), [7, 8, 8, 8]);
        assert_eq!(dealt.concat(), (0..31).collect::<Vec<_>>());
        assert_eq!(sizes(&waiting(3).await), [10, 10, 11]);
    });
}

#[test]
fn going_back_to_an_older_checkpoint_brings_its_operator_state_back() {
    simulate(async {
        let mut config = small();
        config.checkpointing.num_retained = 50;
        let (mut engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        feed.push(0, 0..5);
        run_a_while(&engine, 2, packing(source.clone(), 1000, &sink)).await;
        let older = head(&twin).checkpoint;
        feed.push(1, 5..9);
        run_a_while(&engine, 3, packing(source.clone(), 1000, &sink)).await;
        assert_eq!(held(&twin).await.concat().len(), 9);
        engine.roll_back = Some(older);
        feed.close();
        engine.run(packing(source, 1000, &sink)).await.unwrap();
        assert_eq!(in_order(&sink), (0..9).collect::<Vec<_>>());
    });
}

#[test]
fn an_aborted_checkpoint_loses_nothing() {
    simulate(async {
        let mut config = small();
        config.checkpointing.timeout = ms(50);
        config.checkpointing.tolerable_failed = 1;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        let trouble = async {
            store(&twin).script().hold(Call::PutBlock);
            feed.push(0, 0..30);
            pass(ms(90)).await;
            store(&twin).script().release(Call::PutBlock);
        };
        // Nothing changes after the checkpoint that was aborted.
        let stop = pass(ms(200));
        let run = engine.run_until(packing(source.clone(), 1000, &sink), stop);
        let (ended, ()) = futures::join!(run, trouble);
        ended.unwrap();
        assert_eq!(engine.status().checkpoints.counts.failed, 1);
        assert_eq!(held(&twin).await.concat(), (0..30).collect::<Vec<_>>());
        feed.close();
        engine.run(packing(source, 1000, &sink)).await.unwrap();
        assert_eq!(in_order(&sink), (0..30).collect::<Vec<_>>());
    });
}

#[test]
fn too_much_of_it_fails_the_job_and_names_the_state() {
    struct Hoard(OperatorListState<String>);

    impl OperatorProcess for Hoard {
        type In = String;
        type Out = u64;

        fn process(&self, text: String, context: &mut OperatorContext<'_, Self>) -> Result<()> {
            context.get_mut(self.0).push(text);
            Ok(())
        }
    }

    simulate(async {
        // With the default strategy it used to restart for ever.
        let (engine, _) = Engine::twin(Config { restart: Config::default().restart, ..small() });
        let env = StreamEnvironment::new();
        env.source(MemorySource::new(vec!["x".repeat(100_000); 11], 1))
            .process(|states: &mut OperatorStates| {
                Hoard(states.list(OperatorListDescriptor::new("hoard")))
            })
            .uid("dragon")
            .sink(MemorySink::new());
        let error = tokio::select! {
            ended = engine.run(env.build().unwrap()) => ended.unwrap_err(),
            () = pass(ms(60_000)) => panic!("it restarts: {:?}", engine.status().last_failure),
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.to_string();
        assert!(text.contains("the list hoard of operator dragon"), "{text}");
        assert!(text.contains("the limit is 1048576"), "{text}");
    });
}
