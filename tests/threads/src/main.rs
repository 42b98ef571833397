//! Every order in which threads can meet in what they share, tried one after the other by loom.
//!
//! The sources are the crate's own, over loom's locks and atomics (`sync`), which also give atomics all
//! the freedom that their orderings leave. What Tokio shares inside (channels, `Notify`) is taken as
//! one step; Tokio's own tests try that with loom.

#![allow(dead_code, unused_imports, reason = "the modules are the crate's: a part of each is used")]

#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/codec/mod.rs"]
mod codec;
#[path = "../../../src/error.rs"]
mod error;
mod file;
#[path = "../../../src/handover.rs"]
mod handover;
#[path = "../../../src/ids.rs"]
mod ids;
#[path = "../../../src/io.rs"]
mod io;
#[path = "../../../src/connector/memory/source.rs"]
mod memory;
#[path = "../../../src/metrics.rs"]
mod metrics;
mod models;
#[path = "../../../src/task/pressure.rs"]
mod pressure;
#[path = "../../../src/record.rs"]
mod record;
#[path = "../../../src/connector/source.rs"]
mod source;
#[path = "../../../src/connector/split_bytes.rs"]
mod split_bytes;
#[path = "../../../src/connector/spool.rs"]
mod spool;
#[path = "../../../src/connector/stdin.rs"]
mod stdin;
mod sync;
#[path = "../../../src/teeth.rs"]
mod teeth;

/// As the crate's module of this name has it; what is in it sees the rest as `super`.
mod connector {
    pub use crate::handover::SplitState;
    pub use crate::source::{Progress, Reader, ReaderContext, Source};
    pub(crate) use crate::split_bytes;
}

use connector::{Progress, Reader, ReaderContext, Source, SplitState};
pub use error::{Error, ErrorKind, Result};

fn main() {
    let only = std::env::args().nth(1);
    for (name, model) in models::ALL {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let (orders, began) = (models::Orders::default(), std::time::Instant::now());
        let counted = orders.clone();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            counted.one_more();
            model();
        });
        println!("{name}: {} orders in {:.1} s", orders.count(), began.elapsed().as_secs_f64());
    }
}
