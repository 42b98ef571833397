//! Where things run: worker threads and a shared I/O runtime, or all on the caller's one thread.
//!
//! The only place that makes threads and spawns tasks.

use std::sync::Arc;

use futures::future::{BoxFuture, LocalBoxFuture};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::error::{Error, Result};
use crate::io::{Io, Spawn};

/// Where a job runs.
#[derive(Clone, Debug)]
pub enum Place {
    /// One thread for each worker; I/O on this runtime.
    Threads(Handle),
    /// Everything on the caller's thread, inside its `LocalSet`; deterministic under a paused clock.
    Inline,
}

/// Makes a worker's future on the worker's thread.
pub(super) type WorkerMain = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A running worker; dropping it asks it to end, [`Worker::ended`] waits for that.
#[derive(Debug)]
pub(super) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    /// `None` once that was seen.
    ended: Option<oneshot::Receiver<()>>,
}

impl Place {
    /// A handle to where I/O runs.
    #[must_use]
    pub fn io(&self) -> Io {
        match self {
            Self::Threads(handle) => Io::new(OnRuntime(handle.clone())),
            Self::Inline => Io::new(OnThisThread),
        }
    }

    /// Starts a worker called `name`, whose future `main` makes and which is dropped at the stop.
    pub(super) fn start_worker(&self, name: String, main: WorkerMain) -> Result<Worker> {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        match self {
            Self::Threads(_) => {
                let thread = std::thread::Builder::new().name(name);
                let spawned = thread.spawn(move || {
                    if let Ok(runtime) =
                        tokio::runtime::Builder::new_current_thread().enable_time().build()
                    {
                        let local = LocalSet::new();
                        local.block_on(&runtime, until_stopped(stopped, main()));
                    }
                    let _ = end.send(());
                });
                spawned.map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
            }
            Self::Inline => {
                let _detached = tokio::task::spawn_local(async move {
                    until_stopped(stopped, main()).await;
                    let _ = end.send(());
                });
            }
        }
        Ok(Worker { stop: Some(stop), ended: Some(ended) })
    }
}

impl Worker {
    /// Asks the worker to end, when the task that has its turn gives it back.
    pub(super) fn ask_to_end(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until everything of it is dropped.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            // Without a word where the thread has panicked: that is an end.
            let _ = ended.await;
            self.ended = None;
        }
    }

    /// Whether everything of it is dropped.
    pub(super) fn has_ended(&mut self) -> bool {
        let waits = |ended: &mut oneshot::Receiver<()>| {
            matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        };
        // What has come is taken, and must not be waited for again.
        self.ended.take_if(|ended| !waits(ended));
        self.ended.is_none()
    }
}

async fn until_stopped(stopped: oneshot::Receiver<()>, main: LocalBoxFuture<'static, ()>) {
    tokio::select! {
        biased;
        _ = stopped => {}
        () = main => {}
    }
}

struct OnRuntime(Handle);

impl Spawn for OnRuntime {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(self.0.spawn(future));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        drop(self.0.spawn_blocking(work));
    }
}

struct OnThisThread;

impl Spawn for OnThisThread {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(tokio::task::spawn_local(future));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Does `work` on `threads` threads of its own at once, and waits for all of them.
///
/// # Errors
/// The system gives no threads.
pub fn in_parallel(threads: usize, work: impl Fn() + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let spawned = std::thread::Builder::new().spawn_scoped(scope, &work);
            spawned.map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        }
        Ok(())
    })
}

/// Does `work` on a thread of its own called `name`, which nobody waits for: the end of the process ends it.
///
/// # Errors
/// The system gives no thread.
pub fn beside(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|e| Error::internal(format!("cannot start a thread: {e}")))
}

/// A Tokio runtime for I/O with `threads` threads, which give way to workers where there are not cores for all.
/// From then on all threads of the process share one heap, where that is glibc's.
///
/// # Errors
/// The system gives no threads.
pub fn io_threads(threads: usize) -> Result<Arc<tokio::runtime::Runtime>> {
    share_one_heap();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("millpond-io")
        .on_thread_start(give_way)
        .enable_all()
        .build()
        .map(Arc::new)
        .map_err(|e| Error::internal(format!("cannot start the I/O runtime: {e}")))
}

/// Bytes of memory that get a mapping of their own, at least: a little less than a large page.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES: libc::c_int = (2 << 20) - (64 << 10);

/// Has all threads of the process, from now on, take memory from one heap. glibc gives each thread its own,
/// and what one has given back serves no other: values are read on an I/O thread and let go by a worker, so
/// that with a cache of 64 MiB a process grew by half of it more the longer its state was.
/// `MALLOC_ARENA_MAX` would do the same. Other allocators are left as they are.
///
/// What is as large as one of the large pages of state gets a mapping of its own, as at the start of every process:
/// later glibc cuts it from the heap, from pages that are small ones already.
fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #![expect(unsafe_code, reason = "the only way to say it from within")]
        // SAFETY: each sets one integer of the allocator, which it reads when memory is needed.
        let _larger_process = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        let _smaller_pages = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES) };
        // Setting either stops glibc from raising both: it would keep as much as this at the heap's end, unused.
        let _more_calls = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * MAPPED_BYTES) };
    }
}

/// Where workers take all cores, compression and the embedded DynamoDB would hold one up for several of the
/// scheduler's slices at a checkpoint. With a niceness it is one of them now and then. Linux has one for each
/// thread; elsewhere it would be the process's.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        const NICENESS: i32 = 10;
        // Where it is refused, pauses are longer, and that is all.
        let _longer_pauses =
            rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other systems have one niceness for all threads, which stays as it is.
    #[cfg(target_os = "linux")]
    #[test]
    fn io_threads_give_way_and_nobody_else_does() {
        let niceness =
            || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let own = niceness();
        let runtime = io_threads(2).unwrap();
        let spawned = runtime.block_on(async { runtime.spawn(async move { niceness() }).await });
        let blocking = runtime.block_on(async { runtime.spawn_blocking(niceness).await });
        for found in [spawned.unwrap(), blocking.unwrap()] {
            // Who runs the tests may have given way further than that, and may not be let come back.
            assert!(found == 10 || own > 10 && found == own, "{found} of {own}");
        }
        assert_eq!(niceness(), own);
    }
}
