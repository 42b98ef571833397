//! What threads share things by, for the modules whose interleavings are tried one after the other:
//! the package in `tests/threads` compiles these over loom's.

pub(crate) use std::sync::atomic::{AtomicI64, AtomicUsize};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use tokio::sync::Notify;
