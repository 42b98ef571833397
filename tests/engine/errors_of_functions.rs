//! What a function returns is the function's error, whatever kind it was given: the restart strategy decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millpond::checkpoint::HeadStatus;
use millpond::config::{Config, RestartStrategy};
use millpond::connector::{Generator, MemorySink};
use millpond::operator::{
    BroadcastContext, Context, KeyedBroadcastContext, KeyedBroadcastProcess, KeyedProcess,
    OperatorContext, OperatorProcess,
};
use millpond::state::{BroadcastStates, MapDescriptor, MapState, OperatorStates, States};
use millpond::stream::{JobGraph, StreamEnvironment};
use millpond::{Error, ErrorKind, Result};

use crate::engine_support::{Engine, head, ms, simulate, small};

/// Kinds that say that something else is wrong than the function; most of them are final, `Fenced` even without
/// the head's being told.
const KINDS: [ErrorKind; 12] = [
    ErrorKind::Usage,
    ErrorKind::Config,
    ErrorKind::Graph,
    ErrorKind::Input,
    ErrorKind::Output,
    ErrorKind::Lost,
    ErrorKind::Closed,
    ErrorKind::Fenced,
    ErrorKind::Corrupt,
    ErrorKind::TooLarge,
    ErrorKind::Suspended,
    ErrorKind::Internal,
];

/// Where the function fails.
#[derive(Clone, Copy)]
enum Place {
    Keyed,
    /// One that may be suspended, and so is called in another way.
    WithMap,
    Unkeyed,
    End,
    Broadcast,
}

/// Fails once in its life.
#[derive(Clone)]
struct Fails {
    kind: ErrorKind,
    done: Arc<AtomicBool>,
}

impl Fails {
    fn now(&self) -> Result<()> {
        match self.done.swap(true, Ordering::Relaxed) {
            true => Ok(()),
            false => Err(Error::new(self.kind, "unlucky")),
        }
    }
}

struct Function {
    fails: Fails,
    map: Option<MapState<u64, u64>>,
    at_end: bool,
}

impl KeyedProcess for Function {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> Result<()> {
        if let Some(map) = self.map {
            context.map(map).put(n, n);
        }
        context.emit(n);
        self.fails.now()
    }
}

impl OperatorProcess for Function {
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        context.emit(n);
        if self.at_end { Ok(()) } else { self.fails.now() }
    }

    fn end(&self, _: &mut OperatorContext<'_, Self>) -> Result<()> {
        if self.at_end { self.fails.now() } else { Ok(()) }
    }
}

impl KeyedBroadcastProcess for Function {
    type Key = u64;
    type In = u64;
    type Broadcast = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut KeyedBroadcastContext<'_, '_, Self>) -> Result<()> {
        context.emit(n);
        Ok(())
    }

    fn process_broadcast(&self, _: u64, _: &mut BroadcastContext<'_, Self>) -> Result<()> {
        self.fails.now()
    }
}

fn graph(place: Place, kind: ErrorKind, sink: MemorySink<u64>) -> JobGraph {
    let fails = Fails { kind, done: Arc::default() };
    let (keyed, unkeyed, connected) = (fails.clone(), fails.clone(), fails);
    let env = StreamEnvironment::new();
    let source = env.source(Generator::new(20, |n| n));
    match place {
        Place::Keyed | Place::WithMap => {
            let function = move |states: &mut States| {
                let map = || states.map(MapDescriptor::new("seen"));
                let map = matches!(place, Place::WithMap).then(map);
                Function { fails: keyed.clone(), map, at_end: false }
            };
            source.key_by(|n| n % 3).process(function).sink(sink);
        }
        Place::Unkeyed | Place::End => {
            let at_end = matches!(place, Place::End);
            let function = move |_: &mut OperatorStates| Function {
                fails: unkeyed.clone(),
                map: None,
                at_end,
            };
            source.process(function).sink(sink);
        }
        Place::Broadcast => {
            let side = env.source(Generator::new(1, |n| n)).broadcast();
            let function = move |_: &mut States, _: &mut BroadcastStates| Function {
                fails: connected.clone(),
                map: None,
                at_end: false,
            };
            source.key_by(|n| n % 3).connect(side).process(function).sink(sink);
        }
    }
    env.build().unwrap()
}

#[test]
fn a_function_that_fails_once_is_restarted_whatever_the_kind_of_its_error() {
    simulate(async {
        let restart = RestartStrategy::FixedDelay { attempts: 1, delay: ms(1) };
        for place in [Place::Keyed, Place::WithMap, Place::Unkeyed, Place::End, Place::Broadcast] {
            for kind in KINDS {
                let (engine, _) = Engine::twin(Config { restart: restart.clone(), ..small() });
                let sink = MemorySink::new();
                engine.run(graph(place, kind, sink.clone())).await.unwrap();
                let mut output = sink.output();
                output.sort_unstable();
                assert_eq!(output, (0..20).collect::<Vec<_>>(), "{kind:?}");
                assert_eq!(engine.status().attempt, 2, "{kind:?}");
            }
        }
    });
}

#[test]
fn without_restarts_the_job_has_failed_by_its_user_and_the_message_is_the_functions() {
    simulate(async {
        for kind in KINDS {
            let (engine, twin) = Engine::twin(small());
            let graph = graph(Place::Keyed, kind, MemorySink::new());
            let error = engine.run(graph).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::User, "{kind:?}");
            assert!(error.to_string().contains("operator process-1"), "{error}");
            assert!(error.to_string().ends_with("unlucky"), "{error}");
            assert_eq!(head(&twin).status, HeadStatus::Failed, "{kind:?}");
        }
    });
}
