//! Loom's locks and atomics under the names that the crate uses.

pub(crate) use loom::sync::atomic::{AtomicI64, AtomicUsize};
pub(crate) use loom::sync::{Mutex, MutexGuard};

loom::lazy_static! {
    /// Shared by all, or loom would see that no order of the moments makes a difference.
    static ref MOMENTS: AtomicUsize = AtomicUsize::new(0);
}

/// A moment at which loom lets any other thread go on: it does so only at what it knows.
pub(crate) fn anything_may_happen() {
    MOMENTS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

/// Tokio's, between two of whose calls anything may happen.
#[derive(Debug, Default)]
pub(crate) struct Notify(tokio::sync::Notify);

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        anything_may_happen();
        self.0.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        anything_may_happen();
        self.0.notify_waiters();
    }

    pub(crate) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        anything_may_happen();
        self.0.notified()
    }
}

/// As much of Tokio's watch as is used: a value behind a lock. Tokio's would hold a lock that loom
/// does not know while its closure reads atomics that loom does.
pub(crate) mod watch {
    use std::sync::Arc;

    use loom::sync::{Mutex, MutexGuard};

    #[derive(Debug)]
    pub(crate) struct Sender<T>(Arc<Mutex<T>>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Arc<Mutex<T>>);

    pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Mutex::new(value));
        (Sender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> Sender<T> {
        pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            modify(&mut *self.0.lock().unwrap())
        }

        pub(crate) fn borrow(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            Receiver(Arc::clone(&self.0))
        }
    }
}
