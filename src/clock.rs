//! Time, as the engine sees it: the only room where clocks are read and sleeps begin.
//!
//! Under a paused Tokio runtime both stand still and move with the simulation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on the monotonic clock.
pub type Instant = tokio::time::Instant;

/// The clock of a run: Tokio's monotonic one, and wall time.
///
/// Wall time is the system's, read anew each time: the monotonic clock stands still while a machine is suspended. In tests
/// it is derived from the monotonic one, so a paused runtime has one deterministic time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Wall);

#[derive(Clone, Copy, Debug)]
enum Wall {
    System,
    Derived { origin: Instant, at_origin_ms: u64 },
}

impl Clock {
    /// The system's time. To be called inside a Tokio runtime or out of it.
    #[must_use]
    pub fn system() -> Self {
        Self(Wall::System)
    }

    /// A clock whose wall time is `wall_ms` (milliseconds since 1970) now, and moves with the monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room where time is read")]
    pub fn starting_at(wall_ms: u64) -> Self {
        Self(Wall::Derived { origin: Instant::now(), at_origin_ms: wall_ms })
    }

    /// Now, on the monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room where time is read")]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Now, in milliseconds since 1970; may go back, where the system's clock is set. Some 30 ns.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room where time is read")]
    pub fn wall_ms(&self) -> u64 {
        match self.0 {
            Wall::System => {
                millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
            }
            Wall::Derived { origin, at_origin_ms } => {
                at_origin_ms.saturating_add(millis(self.now().duration_since(origin)))
            }
        }
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// It used to be read once: after a suspend of days, which the monotonic clock does not count, tombstones
    /// were given a life that was too short by these.
    #[tokio::test(start_paused = true)]
    async fn wall_time_is_the_systems_whatever_the_monotonic_clock_does() {
        let (system, derived) = (Clock::system(), Clock::starting_at(7));
        let begun = system.wall_ms();
        system.sleep(HOUR).await;
        assert!(system.wall_ms() - begun < 60_000, "an hour of a paused clock is a moment");
        assert_eq!(derived.wall_ms(), 3_600_007);
    }
}
