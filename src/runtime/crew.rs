//! The workers of an attempt: what each of them is at, and how they end: all at once, within a bound, and who does not
//! is named.
//!
//! A user's function may never return, and nothing ends a thread from outside. Owns the wait for that. Does not own
//! what follows from it (`attempt`, `job`). Flink: `TaskCancelerWatchDog`, which ends the process.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::job::Stop;
use super::place::Worker;
use crate::clock::Clock;
use crate::error::Result;
use crate::ids::SubtaskId;
use crate::task::JobGraph;

/// After this long it is said who is waited for.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// How long workers are waited for.
pub(super) struct Patience {
    /// At most: `task.cancellation.timeout`.
    pub(super) whole: Duration,
    /// At most, from when a stop is asked for.
    pub(super) stopping: Duration,
    /// Ends when one is, or was.
    pub(super) stop: Stop,
}

/// Those who have not ended in time.
#[derive(Debug)]
pub(super) struct Stuck {
    /// In words.
    pub(super) who: String,
    /// How long they were waited for.
    pub(super) waited: Duration,
    /// What has ended the wait.
    pub(super) bound: Bound,
}

/// What ends a wait for workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// [`Patience::whole`].
    Whole,
    /// [`Patience::stopping`].
    Stopping,
}

/// All workers of an attempt, by their number.
#[derive(Debug, Default)]
pub(super) struct Crew(Vec<(Worker, Doing)>);

impl Crew {
    /// One more, which says by `doing` what it is at.
    pub(super) fn add(&mut self, worker: Worker, doing: Doing) {
        self.0.push((worker, doing));
    }

    /// Asks all to end, now that the attempt has, as `how` says, and waits until they have.
    ///
    /// # Errors
    /// Those that have not when patience ends: they run on.
    pub(super) async fn join(
        mut self,
        graph: &JobGraph,
        clock: Clock,
        patience: Patience,
        how: String,
    ) -> Result<(), Stuck> {
        let begun = clock.now();
        for (worker, _) in &mut self.0 {
            worker.ask_to_end();
        }
        let mut over = pin!(patience.ends(clock));
        let soon = tokio::select! {
            biased;
            () = self.ended() => return Ok(()),
            bound = &mut over => Some(bound),
            () = clock.sleep(TELL_AFTER) => None,
        };
        let bound = match soon {
            Some(bound) => bound,
            None => {
                let who = self.who(graph);
                tracing::warn!(
                    "the attempt has ended, but for {who}: waiting for that; it ended {how}"
                );
                tokio::select! {
                    biased;
                    () = self.ended() => return Ok(()),
                    bound = &mut over => bound,
                }
            }
        };
        let who = self.who(graph);
        // In the last moment, all may have.
        if who.is_empty() { Ok(()) } else { Err(Stuck { who, waited: clock.now() - begun, bound }) }
    }

    /// # Cancel safety
    /// May be dropped and called again.
    async fn ended(&mut self) {
        for (worker, _) in &mut self.0 {
            worker.ended().await;
        }
    }

    /// Who has not ended.
    fn who(&mut self, graph: &JobGraph) -> String {
        let parallelism = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let left = (0..).zip(&mut self.0).filter_map(|(index, (worker, doing))| {
            let subtask = SubtaskId { index, parallelism };
            (!worker.has_ended()).then(|| {
                match doing.vertex().and_then(|v| graph.vertices.get(v)) {
                    Some(vertex) => {
                        format!("operator {} subtask {subtask}", graph.operators[vertex.operator()])
                    }
                    None => format!("worker {subtask}"),
                }
            })
        });
        left.collect::<Vec<_>>().join(", ")
    }
}

impl Patience {
    async fn ends(self, clock: Clock) -> Bound {
        let stopping = async {
            self.stop.await;
            clock.sleep(self.stopping).await;
        };
        tokio::select! {
            biased;
            () = clock.sleep(self.whole) => Bound::Whole,
            () = stopping => Bound::Stopping,
        }
    }
}

/// What a worker is at, for whoever asks why it does not end. Written once for each time that a task gets its turn.
#[derive(Clone, Debug)]
pub(super) struct Doing(Arc<AtomicUsize>);

impl Doing {
    const NOTHING: usize = usize::MAX;

    /// Nothing, until something begins.
    pub(super) fn nothing() -> Self {
        Self(Arc::new(AtomicUsize::new(Self::NOTHING)))
    }

    /// Does `work` of `vertex`.
    pub(super) fn while_at<T>(&self, vertex: usize, work: impl FnOnce() -> T) -> T {
        // Only ever shown to people.
        self.0.store(vertex, Ordering::Relaxed);
        let _turn = Turn(self);
        work()
    }

    /// The vertex that has its turn.
    fn vertex(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Relaxed)).filter(|vertex| *vertex != Self::NOTHING)
    }
}

/// A turn, which ends when this is dropped: also where its work panics.
struct Turn<'a>(&'a Doing);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.store(Doing::NOTHING, Ordering::Relaxed);
    }
}

/// A task that tells when it has its turn, and when it is let go: that runs a user's code, too.
pub(super) struct Told {
    /// `None` only while it is dropped.
    task: Option<LocalBoxFuture<'static, Result<()>>>,
    vertex: usize,
    doing: Doing,
}

impl Told {
    /// The task of `vertex`.
    pub(super) fn new(
        task: LocalBoxFuture<'static, Result<()>>,
        vertex: usize,
        doing: Doing,
    ) -> Self {
        Self { task: Some(task), vertex, doing }
    }
}

impl Future for Told {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { task, vertex, doing } = &mut *self;
        match task {
            Some(task) => doing.while_at(*vertex, || task.as_mut().poll(context)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let task = self.task.take();
        self.doing.while_at(self.vertex, || drop(task));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures::FutureExt;

    use super::*;

    #[test]
    fn work_that_panics_has_ended_too() {
        let doing = Doing::nothing();
        let work = || doing.while_at(3, || assert_eq!(doing.vertex(), None, "it panics here"));
        assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
        assert_eq!(doing.vertex(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_bounds_the_wait_by_its_own_time() {
        let clock = Clock::starting_at(0);
        let patience = |stop: futures::future::BoxFuture<'static, ()>| Patience {
            whole: Duration::from_secs(180),
            stopping: Duration::from_secs(3),
            stop: stop.shared(),
        };
        let stopped = patience(std::future::ready(()).boxed());
        assert_eq!(stopped.ends(clock).await, Bound::Stopping);
        let unstopped = patience(std::future::pending().boxed());
        assert_eq!(unstopped.ends(clock).await, Bound::Whole);
    }
}
