//! Loom's locks and atomics under the names that the crate uses.

pub(crate) use loom::sync::atomic::{AtomicI64, AtomicUsize};
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// A moment at which another thread that comes by the same may go first: loom changes threads only at
/// what it knows, and only where the order makes a difference to it.
#[derive(Debug, Default)]
pub(crate) struct Moment(AtomicUsize);

impl Moment {
    pub(crate) fn passes(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Tokio's, between two of whose calls anything may happen.
#[derive(Debug, Default)]
pub(crate) struct Notify(tokio::sync::Notify, Moment);

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        self.1.passes();
        self.0.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        self.1.passes();
        self.0.notify_waiters();
    }

    pub(crate) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.1.passes();
        self.0.notified()
    }
}
