//! Time, as the engine sees it: the only room where clocks are read and sleeps begin.
//!
//! Under a paused Tokio runtime both stand still and move with the simulation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on the monotonic clock.
pub type Instant = tokio::time::Instant;

/// The clock of a run: Tokio's monotonic one, and wall time derived from it.
///
/// Wall time is read from the system once, at [`Clock::system`], and moves with the monotonic clock
/// after that, so a paused runtime has one deterministic time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_ms_at_origin: u64,
}

impl Clock {
    /// The system's time. To be called inside a Tokio runtime or out of it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room where time is read")]
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX))
    }

    /// A clock whose wall time is `wall_ms` (milliseconds since 1970) now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room where time is read")]
    pub fn starting_at(wall_ms: u64) -> Self {
        Self { origin: Instant::now(), wall_ms_at_origin: wall_ms }
    }

    /// Now, on the monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room where time is read")]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        let passed = self.now().duration_since(self.origin);
        self.wall_ms_at_origin + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends after `duration`.
    #[expect(clippy::disallowed_methods, reason = "this is the room where sleeps begin")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Ends at `deadline`.
    #[expect(clippy::disallowed_methods, reason = "this is the room where sleeps begin")]
    pub async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
    }
}
