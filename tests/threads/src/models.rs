//! The models: what a worker and I/O threads do at the same time, and what must hold in every order.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use loom::future::block_on;
use loom::thread;

use crate::clock::Clock;
use crate::connector::{Progress, Reader, ReaderContext, Source};
use crate::error::{Error, Result};
use crate::ids::{Name, SubtaskId};
use crate::io::{Io, Spawn};
use crate::memory::MemorySource;
use crate::metrics::Metrics;
use crate::pressure::{MemoryUse, Pressure, Reason};
use crate::record::Batch;
use crate::spool::{Spool, Target};
use crate::stdin::StdinSource;
use crate::sync::{Moment, Mutex};

/// All, by name.
pub(crate) const ALL: [(&str, fn()); 10] = [
    ("spool: what is queued is written in order before what follows it", spool_writes_in_order),
    ("spool: nothing follows what could not be written", spool_fails_for_good),
    ("spool: a full queue lets its writer go on", spool_lets_go),
    ("standard input: lines arrive whole and once", stdin_arrives),
    ("standard input: a new reader gets what the old one asked for", stdin_changes_hands),
    ("memory source: what is fed wakes the reader", feed_wakes),
    ("pressure: uncommitted changes of two subtasks", pressure_of_changes),
    ("pressure: the log and changes at the same time", pressure_of_both),
    ("pressure: who waits is woken by whoever lets go", pressure_wakes),
    ("pressure: who comes while it is let go does not wait", pressure_wakes_all),
];

/// Counts the orders that were tried.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<AtomicUsize>);

impl Orders {
    pub(crate) fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Each piece of blocking work on a thread of its own. It may be done before the caller goes on.
#[derive(Default)]
struct Threads(Arc<Moment>);

impl Threads {
    fn start(&self, work: impl FnOnce() + 'static) {
        let moment = Arc::clone(&self.0);
        thread::spawn(move || {
            work();
            moment.passes();
        });
        self.0.passes();
    }
}

impl Spawn for Threads {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.start(move || block_on(future));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.start(work);
    }
}

fn io() -> Io {
    Io::new(Threads::default())
}

/// Remembers the first bytes of what it was given, and fails at a chunk that begins with 0.
struct Log(Arc<Mutex<Vec<u8>>>);

impl Target for Log {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        if chunk[0] == 0 {
            return Err(Error::internal("no room"));
        }
        self.0.lock().unwrap().push(chunk[0]);
        Ok(())
    }
}

fn spool() -> (Spool<Log>, Arc<Mutex<Vec<u8>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    (Spool::new(Log(Arc::clone(&log)), io()), log)
}

fn spool_writes_in_order() {
    let (mut spool, log) = spool();
    spool.push(vec![1]).unwrap();
    spool.push(vec![2]).unwrap();
    let written = block_on(spool.then(move |_| Ok(log.lock().unwrap().clone())));
    assert_eq!(written.unwrap(), [1, 2]);
}

fn spool_fails_for_good() {
    let (mut spool, log) = spool();
    let pushed = spool.push(vec![0]).and_then(|()| spool.push(vec![2]));
    let followed = block_on(spool.then(|_| Ok(())));
    assert!(followed.is_err(), "after {pushed:?}");
    assert!(log.lock().unwrap().is_empty(), "written after what could not be");
}

/// Of 3 MiB, so that two are more than a queue holds.
fn spool_lets_go() {
    let (mut spool, log) = spool();
    for chunk in 1..=2 {
        let mut bytes = vec![0; 3 << 20];
        bytes[0] = chunk;
        spool.push(bytes).unwrap();
    }
    block_on(spool.ready()).unwrap();
    assert!(log.lock().unwrap().starts_with(&[1]));
}

/// Gives its pieces one read at a time.
struct Pieces(Vec<&'static [u8]>);

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let piece = self.0.remove(0);
        out[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

fn reader<S: Source>(source: &S) -> Box<dyn Reader<S::Item>> {
    let context = ReaderContext {
        operator: Name::new("source").unwrap(),
        subtask: SubtaskId { index: 0, parallelism: 1 },
        io: io(),
        clock: Clock::starting_at(0),
        with_origin: false,
        metrics: Metrics::default(),
        batch_size: 10,
    };
    source.reader(source.discover(1).unwrap(), context).unwrap()
}

fn read_all<T>(mut reader: Box<dyn Reader<T>>) -> Vec<T> {
    let mut out = Batch::default();
    block_on(async { while reader.next(&mut out).await.unwrap() == Progress::More {} });
    out.values
}

fn stdin_arrives() {
    let source = StdinSource::of(Pieces(vec![b"one\ntw", b"o\n"]));
    assert_eq!(read_all(reader(&source)), ["one", "two"]);
}

fn stdin_changes_hands() {
    let source = StdinSource::of(Pieces(vec![b"one\n"]));
    let mut out = Batch::default();
    {
        use futures::FutureExt;
        let mut old = reader(&source);
        // It asks for bytes and is dropped, at whichever moment they come.
        let _progress = old.next(&mut out).now_or_never();
    }
    let mut values = out.values;
    values.extend(read_all(reader(&source)));
    assert_eq!(values, ["one"]);
}

fn feed_wakes() {
    let (feed, source) = MemorySource::fed(1);
    let feeder = thread::spawn(move || {
        feed.push(0, [1]);
        feed.push(0, [2]);
        feed.close();
    });
    assert_eq!(read_all(reader(&source)), [1, 2]);
    feeder.join().unwrap();
}

fn dirty(dirty_bytes: u64) -> MemoryUse {
    MemoryUse { dirty_bytes, ..MemoryUse::default() }
}

/// A subtask whose uncommitted changes take these, one after the other.
fn subtask(pressure: &Pressure, from: u64, takes: &'static [u64]) -> thread::JoinHandle<()> {
    let pressure = pressure.clone();
    thread::spawn(move || {
        let mut before = from;
        for &now in takes {
            pressure.moved(dirty(before), dirty(now));
            before = now;
        }
    })
}

fn pressure_of_changes() {
    use futures::FutureExt;
    // Sources stop at 100, a checkpoint is asked for at 75.
    let pressure = Pressure::new(200, 100);
    let (one, two) = (subtask(&pressure, 0, &[60, 0]), subtask(&pressure, 0, &[76, 77]));
    one.join().unwrap();
    two.join().unwrap();
    assert_eq!(pressure.memory().dirty_bytes, 77);
    assert_eq!(pressure.stopped(), None, "sources wait for ever");
    assert!(pressure.early().now_or_never().is_some(), "no checkpoint was asked for");
    pressure.moved(dirty(77), dirty(100));
    assert_eq!(pressure.stopped(), Some(Reason::Uncommitted));
}

fn pressure_of_both() {
    let pressure = Pressure::new(200, 100);
    let log = |pinned_bytes| MemoryUse { pinned_bytes, ..MemoryUse::default() };
    let other = subtask(&pressure, 0, &[100, 0]);
    pressure.moved(log(0), log(101));
    other.join().unwrap();
    assert_eq!(pressure.stopped(), Some(Reason::Log), "nobody waits for the log");
    pressure.moved(log(101), log(0));
    assert_eq!(pressure.stopped(), None);
}

/// One source waits while two subtasks change the account: what stops it again on the way is let go of
/// too.
fn pressure_wakes() {
    let pressure = Pressure::new(200, 100);
    pressure.moved(dirty(0), dirty(100));
    let (one, two) = (subtask(&pressure, 60, &[0]), subtask(&pressure, 40, &[100, 40]));
    block_on(pressure.released());
    one.join().unwrap();
    two.join().unwrap();
    assert_eq!(pressure.stopped(), None);
}

/// Two sources wait, for two reasons that go one after the other.
fn pressure_wakes_all() {
    let pressure = Pressure::new(200, 100);
    let log = |pinned_bytes| MemoryUse { pinned_bytes, ..MemoryUse::default() };
    pressure.moved(log(0), log(101));
    pressure.moved(dirty(0), dirty(100));
    let shared = pressure.clone();
    let source = thread::spawn(move || block_on(shared.released()));
    let shared = pressure.clone();
    let subtask = thread::spawn(move || {
        shared.moved(dirty(100), dirty(0));
        shared.moved(log(101), log(0));
    });
    block_on(pressure.released());
    source.join().unwrap();
    subtask.join().unwrap();
}
