//! A handle to where I/O runs: off the workers, and on the one thread of a simulation.
//!
//! Owns the handle, the rule that dropping a waiting call ends it, and what a panic becomes. Does not own threads or
//! runtimes: `runtime` is the only module that spawns, and makes these handles.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// Runs what it is given; made by `runtime`.
pub trait Spawn: Send + Sync + 'static {
    /// Drives `future` to its end.
    fn spawn(&self, future: BoxFuture<'static, ()>);

    /// Runs `work`, which may block on files or take the processor for long.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// A cheap handle by which workers hand work to the I/O runtime.
#[derive(Clone)]
pub struct Io {
    spawn: Arc<dyn Spawn>,
    /// What a panic becomes.
    panicked: fn(&(dyn Any + Send)) -> Error,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

impl Io {
    /// A handle to `spawn`.
    pub fn new(spawn: impl Spawn) -> Self {
        Self { spawn: Arc::new(spawn), panicked: internal_panic }
    }

    /// The same for work that a user may have written, as that of connectors: a panic of it is [`ErrorKind::User`].
    #[must_use]
    pub fn of_functions(&self) -> Self {
        Self { spawn: Arc::clone(&self.spawn), panicked: user_panic }
    }

    /// Runs `future` off the caller's thread and waits for its result.
    ///
    /// # Errors
    /// The future's own; [`ErrorKind::Internal`] where it panicked (but see [`Io::of_functions`]) or the runtime has
    /// ended.
    ///
    /// # Cancel safety
    /// Dropping the returned future drops `future` at its next await.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (mut tx, rx) = oneshot::channel();
        let panicked = self.panicked;
        self.spawn.spawn(
            async move {
                let result = tokio::select! {
                    biased;
                    () = tx.closed() => return,
                    result = AssertUnwindSafe(future).catch_unwind() => result,
                };
                drop(tx.send(result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))));
            }
            .boxed(),
        );
        async move { rx.await.unwrap_or_else(|_| Err(ended())) }
    }

    /// Runs blocking `work` off the caller's thread and waits for its result. The work itself is
    /// not interrupted when the returned future is dropped.
    ///
    /// # Errors
    /// The work's own; [`ErrorKind::Internal`] where it panicked (but see [`Io::of_functions`]) or the runtime has
    /// ended.
    pub fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (tx, rx) = oneshot::channel();
        let panicked = self.panicked;
        self.spawn.spawn_blocking(Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(tx.send(result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))));
        }));
        async move { rx.await.unwrap_or_else(|_| Err(ended())) }
    }
}

/// Gives this core to a thread that waits for it. I/O calls it after work that takes long: a kernel that preempts only at
/// its ticks would otherwise keep a worker waiting for a whole tick, 4 ms at 250 a second. By this the median pause in
/// `cargo bench --bench throughput` (1,000,000 keys, two workers, two cores) fell from 4.7 to 5.4 ms down to 2.1 to 2.5.
/// If no thread waits, it is a system call of less than a microsecond.
pub(crate) fn make_way() {
    std::thread::yield_now();
}

fn ended() -> Error {
    Error::internal("the I/O runtime has ended")
}

fn internal_panic(panic: &(dyn Any + Send)) -> Error {
    Error::internal(format!("I/O panicked: {}", panic_message(panic)))
}

/// What a panic of user code becomes, wherever it ran.
#[must_use]
pub fn user_panic(panic: &(dyn Any + Send)) -> Error {
    Error::new(ErrorKind::User, format!("a function panicked: {}", panic_message(panic)))
}

/// Calls what a user has written, where no worker would catch its panic.
///
/// # Errors
/// Its own; [`ErrorKind::User`] where it panicked.
pub fn call_user<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(user_panic(panic.as_ref())))
}

/// The text of a caught panic.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
