//! Bytes on their way from a worker to something slow, in order.
//!
//! The worker queues whole chunks; blocking jobs write them. Whoever writes holds the target and
//! takes chunks from the queue's front, so the order holds whichever thread a job runs on. The first
//! failure is remembered, and every later call returns it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::{Error, ErrorKind, Result};
use crate::io::Io;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};

/// How many queued bytes make a writer wait.
const FULL: usize = 4 << 20;

/// What chunks are written to. Its calls block.
pub(super) trait Target: Send + 'static {
    fn write(&mut self, chunk: &[u8]) -> Result<()>;
}

struct Shared<W> {
    queue: Mutex<VecDeque<Vec<u8>>>,
    queued_bytes: AtomicUsize,
    target: Mutex<W>,
    failed: Mutex<Option<(ErrorKind, String)>>,
}

/// A queue of chunks before a target.
pub(super) struct Spool<W> {
    shared: Arc<Shared<W>>,
    io: Io,
    under_way: Option<BoxFuture<'static, Result<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Target> Shared<W> {
    fn failure(&self) -> Result<()> {
        match &*lock(&self.failed) {
            Some((kind, message)) => Err(Error::new(*kind, message.clone())),
            None => Ok(()),
        }
    }

    /// Writes all that is queued, then runs `after`.
    fn work<T>(&self, after: impl FnOnce(&mut W) -> Result<T>) -> Result<T> {
        let mut target = lock(&self.target);
        self.failure()?;
        let result = self.write_queued(&mut target).and_then(|()| after(&mut target));
        if let Err(e) = &result {
            *lock(&self.failed) = Some((e.kind(), e.message().to_owned()));
        }
        result
    }

    fn write_queued(&self, target: &mut W) -> Result<()> {
        loop {
            // The queue is not locked while the target writes: the worker never waits for that.
            let Some(chunk) = lock(&self.queue).pop_front() else { return Ok(()) };
            target.write(&chunk)?;
            self.queued_bytes.fetch_sub(chunk.len(), Ordering::Relaxed);
        }
    }
}

impl<W: Target> Spool<W> {
    pub(super) fn new(target: W, io: Io) -> Self {
        let shared = Shared {
            queue: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
            target: Mutex::new(target),
            failed: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), io, under_way: None }
    }

    /// Queues `chunk` and sees to it that it gets written.
    ///
    /// # Errors
    /// An earlier chunk could not be written.
    pub(super) fn push(&mut self, chunk: Vec<u8>) -> Result<()> {
        if !chunk.is_empty() {
            self.shared.queued_bytes.fetch_add(chunk.len(), Ordering::Relaxed);
            lock(&self.shared.queue).push_back(chunk);
        }
        self.start()
    }

    /// Begins a blocking job unless one is under way or there is nothing to do.
    fn start(&mut self) -> Result<()> {
        if let Some(under_way) = &mut self.under_way {
            match under_way.now_or_never() {
                Some(result) => {
                    self.under_way = None;
                    result?;
                }
                None => return Ok(()),
            }
        }
        if self.shared.queued_bytes.load(Ordering::Relaxed) > 0 {
            let shared = Arc::clone(&self.shared);
            self.under_way = Some(self.io.blocking(move || shared.work(|_| Ok(()))).boxed());
        }
        self.shared.failure()
    }

    /// Waits while too much is queued. May be dropped while it waits.
    pub(super) async fn ready(&mut self) -> Result<()> {
        while self.shared.queued_bytes.load(Ordering::Relaxed) > FULL {
            self.start()?;
            if let Some(under_way) = &mut self.under_way {
                let result = under_way.await;
                self.under_way = None;
                result?;
            }
        }
        Ok(())
    }

    /// Runs `after` once everything that is queued now has been written.
    pub(super) fn then<T: Send + 'static>(
        &self,
        after: impl FnOnce(&mut W) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let shared = Arc::clone(&self.shared);
        self.io.blocking(move || shared.work(after)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{Gate, block_on};

    struct Log(Arc<Mutex<Vec<u8>>>, usize);

    impl Target for Log {
        fn write(&mut self, chunk: &[u8]) -> Result<()> {
            let mut log = lock(&self.0);
            if log.len() + chunk.len() > self.1 {
                return Err(Error::new(ErrorKind::Io, "full"));
            }
            log.extend_from_slice(chunk);
            Ok(())
        }
    }

    #[test]
    fn the_order_holds_whichever_job_runs_first() {
        let (gate, log) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
        let mut spool = Spool::new(Log(Arc::clone(&log), 1000), gate.io());
        spool.push(vec![1]).unwrap();
        let first = spool.then(|_| Ok("one"));
        spool.push(vec![2]).unwrap();
        let second = spool.then(|_| Ok("two"));
        while gate.release_newest() {}
        assert_eq!(block_on(first).unwrap(), "one");
        assert_eq!(block_on(second).unwrap(), "two");
        assert_eq!(*log.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn a_failure_stays() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut spool =
            Spool::new(Log(Arc::clone(&log), 2), crate::connector::testing::inline_io());
        spool.push(vec![1, 2]).unwrap();
        assert!(spool.push(vec![3]).is_err());
        assert!(spool.push(Vec::new()).is_err());
        assert_eq!(block_on(spool.then(|_| Ok(()))).unwrap_err().message(), "full");
    }

    #[test]
    fn a_full_queue_makes_the_writer_wait() {
        let (gate, log) = (Gate::default(), Arc::new(Mutex::new(Vec::new())));
        let mut spool = Spool::new(Log(log, usize::MAX), gate.io());
        block_on(spool.ready()).unwrap();
        spool.push(vec![0; FULL + 1]).unwrap();
        assert!(spool.ready().now_or_never().is_none(), "waits");
        assert!(gate.release());
        block_on(spool.ready()).unwrap();
    }
}
