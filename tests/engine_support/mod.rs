//! What tests of the engine share: a job on one thread with a paused clock, a keyed job whose output
//! tells everything, and the sequential reference that it is compared with.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use millpond::Result;
use millpond::checkpoint::Head;
use millpond::clock::Clock;
use millpond::config::{Config, Location, RestartStrategy, StoreSettings};
use millpond::connector::{MemorySink, MemorySource, Reader, ReaderContext, Source, SplitState};
use millpond::dynamodb::{Connection, Execution, Options, Wrap};
use millpond::ids::{Incarnation, Name};
use millpond::operator::{Context, KeyedProcess};
use millpond::record::Positioned;
use millpond::runtime::{Backend, DynamoDbStateBackend, MemoryBackend};
use millpond::state::{MemoryStore, States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use millpond::testing::{Runner, paused};

/// Runs `test` on one thread; time stands still while anything can be done.
pub(crate) fn simulate<T>(test: impl Future<Output = T>) -> T {
    paused(test).unwrap()
}

/// Waits, on the simulation's clock.
pub(crate) async fn pass(time: Duration) {
    clock().sleep(time).await;
}

/// Wall time is the same in each simulation.
pub(crate) fn clock() -> Clock {
    Clock::starting_at(1_000_000)
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn job() -> Name {
    Name::new("job").unwrap()
}

/// Two workers, a checkpoint every 10 ms, small batches, no restarts.
pub(crate) fn small() -> Config {
    let mut config = Config { parallelism: 2, restart: RestartStrategy::None, ..Config::default() };
    config.checkpointing.interval = ms(10);
    config.exchange.batch_records = 4;
    config.exchange.channel_batches = 2;
    config
}

/// The embedded DynamoDB in memory, on the caller's thread.
pub(crate) async fn embedded(wrap: Option<Wrap<'_>>) -> Arc<DynamoDbStateBackend> {
    let settings = StoreSettings { location: Location::EmbeddedMemory, ..Config::default().store };
    let options = Options {
        settings: &settings,
        job: &job(),
        clock: clock(),
        seed: 7,
        execution: Execution::Inline,
        wrap,
    };
    let connection = Connection::open(options).await.unwrap();
    Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(3600)))
}

/// Runs jobs on one backend, one process after the other.
#[derive(Clone)]
pub(crate) struct Engine(Runner);

impl Engine {
    /// On the caller's thread.
    pub(crate) fn new(backend: Arc<dyn Backend>, config: Config) -> Self {
        Self(Runner::new(backend, config))
    }

    /// On the caller's thread, over the twin.
    pub(crate) fn twin(config: Config) -> (Self, MemoryBackend) {
        let backend = MemoryBackend::new();
        (Self::new(Arc::new(backend.clone()), config), backend)
    }

    /// The same store, as another process with other settings would use it.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut other = self.clone();
        change(&mut other.config);
        other
    }
}

impl Deref for Engine {
    type Target = Runner;

    fn deref(&self) -> &Runner {
        &self.0
    }
}

impl DerefMut for Engine {
    fn deref_mut(&mut self) -> &mut Runner {
        &mut self.0
    }
}

/// The head of the twin's job.
pub(crate) fn head(backend: &MemoryBackend) -> Head {
    backend.memory_heads().head(&job()).unwrap()
}

/// The twin's store of the first incarnation.
pub(crate) fn store(backend: &MemoryBackend) -> MemoryStore {
    backend.memory_store(&job(), Incarnation(1))
}

/// Key and value.
pub(crate) type Event = (u64, u64);

/// What [`Tally`] gives out for each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) key: u64,
    pub(crate) split: Arc<str>,
    pub(crate) position: u64,
    pub(crate) value: u64,
    /// The key's records so far, and the sum of their values.
    pub(crate) count: u64,
    pub(crate) sum: u64,
    /// Whether the state was there that each second record deletes.
    pub(crate) odd: bool,
}

/// Counts and adds up, and has a state that comes and goes.
pub(crate) struct Tally {
    count: ValueState<u64>,
    sum: ValueState<u64>,
    odd: ValueState<bool>,
}

impl Tally {
    pub(crate) fn new(states: &mut States) -> Self {
        Self {
            count: states.value(ValueDescriptor::new("count")),
            sum: states.value(ValueDescriptor::new("sum")),
            odd: states.value(ValueDescriptor::new("odd")),
        }
    }
}

impl KeyedProcess for Tally {
    type Key = u64;
    type In = Positioned<Event>;
    type Out = Line;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        let Positioned { origin, value: (key, value) } = record;
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        let sum = context.get(self.sum).copied().unwrap_or(0) + value;
        let odd = context.get(self.odd).is_some();
        context.set(self.count, count);
        context.set(self.sum, sum);
        if odd {
            context.clear(self.odd);
        } else {
            context.set(self.odd, true);
        }
        let (split, position) = (origin.split, origin.position);
        context.emit(Line { key, split, position, value, count, sum, odd });
        Ok(())
    }
}

/// A source, [`Tally`], a sink.
pub(crate) fn tally(source: impl Source<Item = Event>, sink: &MemorySink<Line>) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source_with_origin(source)
        .key_by(|record| record.value.0)
        .process(Tally::new)
        .sink(sink.clone());
    env.build().unwrap()
}

/// Compares committed output with what one loop over each split would give: every record once, each
/// key's states as all of its records before have left them, in order within key and split.
pub(crate) fn check(lines: &[Line], input: &[Vec<Event>]) -> std::result::Result<(), String> {
    let mut keys: HashMap<u64, (u64, u64)> = HashMap::new();
    let mut last: HashMap<(u64, Arc<str>), u64> = HashMap::new();
    for line in lines {
        let (count, sum) = keys.entry(line.key).or_default();
        *count += 1;
        *sum += line.value;
        let split: usize = line.split.parse().unwrap();
        let given = input.get(split).and_then(|s| s.get(line.position as usize));
        if given != Some(&(line.key, line.value)) {
            return Err(format!("{line:?} was never given"));
        }
        if (line.count, line.sum, line.odd) != (*count, *sum, *count % 2 == 0) {
            return Err(format!("{line:?} where count is {count} and sum {sum}"));
        }
        let before = last.insert((line.key, Arc::clone(&line.split)), line.position);
        if before.is_some_and(|before| before >= line.position) {
            return Err(format!("{line:?} comes after position {before:?}"));
        }
    }
    // No two are of one position, so as many as there are records is each of them.
    let records: usize = input.iter().map(Vec::len).sum();
    if lines.len() == records { Ok(()) } else { Err(format!("{} of {records}", lines.len())) }
}

/// A source over one in memory that differs from it in what a test wants.
pub(crate) struct Wrapped<T> {
    pub(crate) source: MemorySource<T>,
    pub(crate) replayable: bool,
    /// Called before the workers are started, and in each of them.
    pub(crate) at: Box<dyn Fn(At) -> Result<()> + Send + Sync>,
}

/// Where a source may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before the workers are started.
    Check,
    /// In one of them.
    Reader,
}

impl<T> Wrapped<T> {
    /// Records that arrive once.
    pub(crate) fn once(source: MemorySource<T>) -> Self {
        Self { source, replayable: false, at: Box::new(|_| Ok(())) }
    }
}

impl<T> std::fmt::Debug for Wrapped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wrapped")
    }
}

impl<T: Clone + Send + 'static> Source for Wrapped<T> {
    type Item = T;

    fn describe(&self) -> String {
        self.source.describe()
    }

    fn replayable(&self) -> bool {
        self.replayable
    }

    fn bounded(&self) -> bool {
        self.source.bounded()
    }

    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>> {
        self.source.discover(parallelism)
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        (self.at)(At::Check)?;
        self.source.check(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<T>>> {
        (self.at)(At::Reader)?;
        self.source.reader(splits, context)
    }
}
