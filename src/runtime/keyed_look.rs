//! An operator's keyed state, found by names and looked at from outside of its job. Flink: the State Processor API.
//!
//! Owns the way from names to a checkpoint, beside a job that runs too, and the reads that a look needs. Building the
//! state is `keyed_builder`'s; which keys there are is `state::query`'s.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::backend::Backend;
use super::keyed_builder::{DynamoDbKeyedStateBackendBuilder, KeyedStateBackend};
use super::place::Place;
use crate::checkpoint::{Head, Identity, Manifest, read_manifest};
use crate::codec::{HASH_ID, KEY_ENCODING_VERSION, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::key_group::MaxParallelism;
use crate::operator::{Context, KeyedProcess};
use crate::state::{Read, Scan, States};
use crate::task::Restored;

/// Items that are read together: those of one `BatchGetItem`.
const READ_KEYS: usize = 100;
/// Of a range, what is read at a time.
const PAGE_BYTES: u64 = 1 << 20;
/// Looks at each kind of entry, after a look of the caller's, for some that may leave.
const LOOKS: u32 = 4096;

/// Reads of the log that a job was faster than: it has to be looked at when it is slower, or with more checkpoints
/// retained.
const MOST_TRIES: u32 = 5;

/// Stands for the function in the context of a [`KeyedStateBackend::look`], which gives out nothing.
#[derive(Debug)]
pub struct Looking<K>(PhantomData<fn(K)>);

impl<K: Key> KeyedProcess for Looking<K> {
    type Key = K;
    type In = ();
    type Out = Infallible;

    fn process(&self, (): (), _: &mut Context<'_, Self>) -> Result<()> {
        Ok(())
    }
}

/// What was asked for and is not there yet: it stays asked for where a look is dropped.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    reads: Vec<Read>,
    scans: Vec<Scan>,
    /// What was wrong with an answer. Its entry is missing from then on, which is not to be taken for absent.
    damage: Option<String>,
}

impl<K: Key> KeyedStateBackend<K> {
    /// The keyed state of `operator`, over all of its keys, as of the last completed checkpoint of `job`: what it is is
    /// read from the job's head. `states` are those of it that are wanted, declared as the operator does, by descriptors
    /// of the same names and types. The state can only be read.
    ///
    /// The job may have ended, or run on beside it; an embedded database on a file has one process at a time. The log is
    /// read at once and stays in memory, all else when it is looked for. As long as the job retains the checkpoint that is all of
    /// that checkpoint; later, what is read from the table may be newer. `backend` must outlive it. One `GetItem` for the
    /// head, one for each 390 KB of the manifest, one for each segment of the log.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use millpond::runtime::KeyedStateBackend;
    /// use millpond::state::{KeyQuery, States, ValueDescriptor};
    /// # use std::sync::Arc;
    /// # use millpond::connector::{DiscardSink, Generator};
    /// # use millpond::runtime::MemoryBackend;
    ///
    /// # let backend = MemoryBackend::new();
    /// # let runner = millpond::testing::Runner::new(Arc::new(backend.clone()), Default::default());
    /// # let env = millpond::stream::StreamEnvironment::new();
    /// # env.source(Generator::new(100, |n| n))
    /// #     .key_by(|n| n % 7)
    /// #     .reduce_with(ValueDescriptor::new("sum"), |sum, n| sum + n)
    /// #     .uid("sums")
    /// #     .sink(DiscardSink::new());
    /// # let graph = env.build()?;
    /// # millpond::testing::paused(async { runner.run(graph).await })??;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let mut states = States::new();
    /// let sum = states.value(ValueDescriptor::<u64>::new("sum"));
    /// let mut sums = KeyedStateBackend::<u64>::open(&backend, "job", "sums", states).await?;
    /// let keys: Vec<u64> = sums.keys(KeyQuery::of(sum)).try_collect().await?;
    /// assert_eq!(keys.len(), 7);
    /// let of_3 = sums.look(&3, |context| Ok(context.get(sum).copied())).await?;
    /// assert_eq!(of_3, Some((0..100).filter(|n| n % 7 == 3).sum()));
    /// # Ok::<(), millpond::Error>(())
    /// # })?;
    /// # Ok::<(), millpond::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where there is no such job, checkpoint, operator or state, or no Tokio runtime to read on;
    /// [`ErrorKind::Graph`] for states or keys of other types, and for states that are declared wrongly;
    /// [`ErrorKind::Corrupt`] for what is damaged; the store's own.
    ///
    /// # Cancel safety
    /// Dropping the future lets all go.
    pub async fn open(
        backend: &dyn Backend,
        job: &str,
        operator: &str,
        states: States,
    ) -> Result<Self> {
        let (job, operator) = (Name::new(job)?, Name::new(operator)?);
        let here = Handle::try_current();
        let here = here.map_err(|_| Error::usage("state is read within a Tokio runtime"))?;
        let io = Place::Threads(here).io();
        let columns = states.finish()?;
        let mut head = head_of(backend, &job).await?;
        let groups = MaxParallelism::new(head.identity.max_parallelism)?;
        let store = backend.store(&job, head.incarnation);
        let mut builder =
            DynamoDbKeyedStateBackendBuilder::new(store, io, operator, columns, groups);
        let mut tries = 0;
        loop {
            tries += 1;
            match builder.read_last::<K>(&head).await {
                Ok(restored) => return builder.assemble(restored),
                // A job that runs has completed checkpoints since, and put others in the place of these blocks.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let now = head_of(backend, &job).await?;
                    let has_moved =
                        now.incarnation == head.incarnation && now.retained != head.retained;
                    if !has_moved || tries == MOST_TRIES {
                        return Err(error.at(format!("job {job}, at try {tries}")));
                    }
                    head = now;
                }
                Err(error) => return Err(error.at(format!("job {job}"))),
            }
        }
    }

    /// Does `look` as if the operator's function did it with a record of `key`; what it asks for that is not in memory
    /// is read for it, and then it is called again, until it returns `Ok` or an error of its own. For an event-time
    /// [`crate::state::Ttl`] the record has no time; by the clock, a value has expired that had when the state was
    /// opened. A change is seen by later looks, and goes nowhere unless the state takes snapshots.
    ///
    /// What was read stays in memory up to the default `cache-size`, or that of the builder's settings.
    ///
    /// # Errors
    /// Those of `look`; [`ErrorKind::Corrupt`] for an item that is damaged, and from then on; the store's own.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn look<R>(
        &mut self,
        key: &K,
        look: impl Fn(&mut Context<'_, Looking<K>>) -> Result<R>,
    ) -> Result<R> {
        let row = self.state.find_row(key.key_hash(), key);
        loop {
            self.read_what_is_asked_for().await?;
            let may_suspend = self.state.may_suspend_at(row);
            if may_suspend {
                self.state.begin_record();
            }
            self.state.record_at(None);
            let mut nothing = Vec::new();
            let seen = look(&mut Context::new(key, row, &mut self.state, &mut nothing));
            // Whatever `look` has made of the error.
            if may_suspend && self.state.end_record()? {
                continue;
            }
            self.state.end_batch();
            let excess = self.state.resident_bytes().saturating_sub(self.cache_bytes);
            if excess > 0 {
                self.state.evict_bytes(excess, LOOKS);
            }
            return seen;
        }
    }

    /// What is read is taken over without a wait, so that a look which is dropped loses none of it.
    async fn read_what_is_asked_for(&mut self) -> Result<()> {
        let Self { state, store, unanswered: Unanswered { reads, scans, damage }, .. } = self;
        if let Some(damage) = damage {
            return Err(Error::new(ErrorKind::Corrupt, damage.as_str()));
        }
        let mut damaged = |error: Error| {
            *damage = Some(error.to_string());
            error
        };
        reads.extend(state.take_reads());
        scans.extend(state.take_scans());
        while !reads.is_empty() {
            let some = reads.len().saturating_sub(READ_KEYS);
            let keys = reads[some..].iter().map(|read| read.key.clone()).collect();
            let items = store.read_items(keys).await?;
            for (read, item) in reads.drain(some..).zip(items) {
                state.loaded(&read, item.as_ref()).map_err(&mut damaged)?;
            }
        }
        while let Some(scan) = scans.last_mut() {
            let page = store.scan_page(scan.range.clone(), PAGE_BYTES).await?;
            if state.page_scanned(scan, page).map_err(&mut damaged)?.is_some() {
                scans.pop();
            }
        }
        Ok(())
    }
}

/// The head of `job`, by which this version can find keys.
async fn head_of(backend: &dyn Backend, job: &Name) -> Result<Head> {
    let head = backend.heads().read(job).await?;
    let head = head
        .ok_or_else(|| Error::usage(format!("there is no job {job} on {}", backend.describe())))?;
    let Identity { hash, key_encoding, .. } = &head.identity;
    if (hash.as_str(), *key_encoding) == (HASH_ID, KEY_ENCODING_VERSION) {
        return Ok(head);
    }
    let message = format!(
        "job {job}: its keys are hashed by {hash} and written in form {key_encoding}, this version knows {HASH_ID} and \
         {KEY_ENCODING_VERSION}"
    );
    Err(Error::new(ErrorKind::Graph, message))
}

impl DynamoDbKeyedStateBackendBuilder {
    /// Goes to the last checkpoint that `head` names, and reads its log.
    async fn read_last<K: Key>(&mut self, head: &Head) -> Result<Restored> {
        let (Some(oldest), Some(last)) = (head.retained.first(), head.retained.last()) else {
            return Err(Error::usage("it has not completed a checkpoint yet"));
        };
        let manifest = read_manifest(Arc::clone(&self.store), *last).await?.manifest;
        are_recorded(&manifest, &self.operator, &self.columns.names())?;
        self.restore_at(manifest, oldest.checkpoint);
        self.read_log::<K>().await
    }
}

/// Whether there are such states. Not to be found would be the same as to be empty.
fn are_recorded(manifest: &Manifest, operator: &Name, states: &[Name]) -> Result<()> {
    let all = &manifest.states;
    let of_operator = || all.iter().filter(|state| state.operator == *operator);
    if of_operator().next().is_none() {
        let operators: BTreeSet<_> = all.iter().map(|state| state.operator.as_str()).collect();
        let message = format!("no operator {operator} has keyed state, only {}", list(operators));
        return Err(Error::usage(message));
    }
    match states.iter().find(|state| of_operator().all(|recorded| recorded.state != **state)) {
        None => Ok(()),
        Some(state) => {
            let states = list(of_operator().map(|recorded| recorded.state.as_str()));
            Err(Error::usage(format!("operator {operator} has no state {state}, only {states}")))
        }
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
