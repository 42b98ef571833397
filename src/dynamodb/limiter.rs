//! How fast requests may leave: a bucket of capacity units whose rate follows what the table takes.
//!
//! ```text
//! a window without throttling ──► rate + step · time       (additive increase, up to the capacity)
//! a window with a share s of it ─► rate · max(½, 1 − s)   (multiplicative decrease)
//! ```
//! Owns the arithmetic, and is pure: `now` is given. Who waits for it, and in which order, is `pace`'s.
//!
//! A table with provisioned capacity has its rate from the start, and saves what is unused as DynamoDB
//! does. One on demand has none until it throttles, and none again once it has not for a minute. The
//! decrease goes by the share that was throttled: one hot partition among many hardly slows the
//! others, whose retries it leaves to the back-off; a table that is too small throttles most.
//!
//! No crate of the shelf does this. `governor` fixes its quota when it is made (its issue 273), knows no
//! order of waiters, cannot be charged afterwards for what a request has really used, and its waiting
//! goes by another timer than the paused one of tests.

use std::time::Duration;

use crate::clock::Instant;

/// In which throttled and passed units are compared.
pub(super) const WINDOW: Duration = Duration::from_millis(250);
/// For how long a table keeps its unused capacity. DynamoDB says five minutes, and does not promise it.
const SAVED: Duration = Duration::from_secs(60);
/// After so long without throttling or waiting, a table on demand has no limit again.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// From nothing to the whole provisioned rate.
const RISE: Duration = Duration::from_secs(20);
/// By which a learned rate grows at least, units a second each second. With 5, a table that takes 50 units
/// refused 4.5 % of them.
const STEP: f64 = 2.0;
/// The step of a learned rate grows by itself each time this passes without throttling: near what the
/// table takes it is small, and after an outage the way up is not long.
const EAGER: Duration = Duration::from_secs(2);
/// Below which a learned rate never falls, units a second.
const FLOOR: f64 = 25.0;

/// Reads or writes of one table.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The provisioned rate.
    capacity: Option<f64>,
    /// `None`: no limit.
    rate: Option<f64>,
    /// What may be had at once; below zero what was had and is still to be waited for.
    level: f64,
    at: Instant,
    window: Window,
    /// When it last throttled or let wait.
    pressed: Instant,
    /// When it slowed down, and from what rate.
    slowed: (Instant, f64),
}

/// What was answered in a span of time.
#[derive(Debug)]
struct Window {
    began: Instant,
    passed: f64,
    throttled: f64,
}

impl Bucket {
    /// For `capacity` units a second, a second's of which are there; `None` is on demand.
    pub(super) fn new(capacity: Option<u64>, now: Instant) -> Self {
        let capacity = capacity.map(|units| units.max(1) as f64);
        Self {
            capacity,
            rate: capacity,
            level: capacity.unwrap_or(0.0),
            at: now,
            window: Window { began: now, passed: 0.0, throttled: 0.0 },
            pressed: now,
            slowed: (now, 0.0),
        }
    }

    /// The table has another capacity from `now` on. More is used at once, since the table says that it is there;
    /// of what was saved at most a second's stays.
    pub(super) fn set_capacity(&mut self, capacity: Option<u64>, waiting: bool, now: Instant) {
        self.turn(waiting, now);
        let fresh = Self::new(capacity, now);
        if self.capacity == fresh.capacity {
            return;
        }
        // Below its capacity the table has throttled: less of it does not make that better.
        self.rate = match (self.capacity.zip(self.rate), fresh.capacity) {
            (Some((old, rate)), Some(new)) if new < old => Some(rate.min(new)),
            (_, new) => new,
        };
        let none_before = self.capacity.is_none();
        self.level = if none_before { fresh.level } else { self.level.min(fresh.level) };
        self.capacity = fresh.capacity;
    }

    /// Units a second; `None`: as many as there are.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Lets time pass up to `now`; `waiting` says whether anyone has had to wait meanwhile.
    pub(super) fn turn(&mut self, waiting: bool, now: Instant) {
        if now.saturating_duration_since(self.window.began) >= WINDOW {
            self.close(now);
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        if waiting {
            self.pressed = now;
        }
        let Some(rate) = self.rate else { return };
        self.level = (self.level + rate * passed).min(self.most());
        if self.window.throttled > 0.0 {
            return;
        }
        match self.capacity {
            Some(capacity) => {
                let step = capacity / RISE.as_secs_f64();
                self.rate = Some((rate + step * passed).min(capacity));
            }
            None if waiting => self.rate = Some(rate + self.step(now) * passed),
            None if now.saturating_duration_since(self.pressed) >= FORGOTTEN => self.rate = None,
            None => {}
        }
    }

    fn step(&self, now: Instant) -> f64 {
        let (at, from) = self.slowed;
        let steps = now.saturating_duration_since(at).as_secs_f64() / EAGER.as_secs_f64();
        (from / RISE.as_secs_f64()).max(STEP) * (1.0 + steps)
    }

    /// The most that is saved.
    fn most(&self) -> f64 {
        let whole = self.rate.filter(|rate| self.capacity == Some(*rate));
        let saved = whole.map(|rate| rate * SAVED.as_secs_f64());
        saved.or(self.rate).unwrap_or(0.0).max(1.0)
    }

    /// How long until a request of `units` may leave; `None`: it may now. One of more than a second's
    /// units leaves when there is a second's.
    pub(super) fn wait(&self, units: f64) -> Option<Duration> {
        let rate = self.rate?;
        let missing = units.min(rate.max(1.0)) - self.level;
        (missing > 1e-6).then(|| Duration::from_secs_f64(missing / rate))
    }

    /// A request of about `units` leaves.
    pub(super) fn take(&mut self, units: f64) {
        if self.rate.is_some() {
            self.level -= units;
        }
    }

    /// Of a request that `taken` was taken for, `passed` units were used and about `throttled` refused.
    pub(super) fn answered(&mut self, taken: f64, passed: f64, throttled: f64, now: Instant) {
        self.window.passed += passed;
        self.window.throttled += throttled;
        if throttled > 0.0 {
            self.pressed = now;
        }
        // What was refused stays taken: it is sent again, and that must not be for nothing.
        self.take(passed + throttled - taken);
    }

    /// Slows down if the window that is over says so, and begins another.
    fn close(&mut self, now: Instant) {
        let Window { passed, throttled, .. } = self.window;
        self.window = Window { began: now, passed: 0.0, throttled: 0.0 };
        if throttled <= 0.0 {
            return;
        }
        let seen = (passed + throttled) / WINDOW.as_secs_f64();
        let floor = self.capacity.map_or(FLOOR, |capacity| (capacity / 10.0).max(1.0));
        // A rate that is not used says nothing of what the table takes.
        let base = self.rate.map_or(seen, |rate| rate.min((2.0 * seen).max(floor)));
        let share = throttled / (passed + throttled);
        self.slowed = (now, base);
        self.rate = Some((base * (1.0 - share).max(0.5)).max(floor));
        // The table has just said that nothing is left.
        self.level = self.level.min(0.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const MS: Duration = Duration::from_millis(1);

    /// What a caller who always waits gets out of `bucket` in `time`, with what `table` leaves of each
    /// request of `units`.
    fn pump(
        bucket: &mut Bucket,
        start: Instant,
        time: Duration,
        units: f64,
        mut table: impl FnMut(Instant, f64) -> bool,
    ) -> (f64, f64) {
        let (mut passed, mut throttled, mut now) = (0.0, 0.0, start);
        while now < start + time {
            bucket.turn(true, now);
            if let Some(wait) = bucket.wait(units) {
                now += wait.min(WINDOW).max(MS);
                continue;
            }
            bucket.take(units);
            if table(now, units) {
                passed += units;
                bucket.answered(units, units, 0.0, now);
            } else {
                throttled += units;
                bucket.answered(units, 0.0, units, now);
            }
            now += MS;
        }
        (passed, throttled)
    }

    #[test]
    fn provisioned_capacity_is_respected_from_the_start() {
        let start = Clock::starting_at(0).now();
        let mut bucket = Bucket::new(Some(20), start);
        let (passed, _) = pump(&mut bucket, start, Duration::from_secs(60), 5.0, |_, _| true);
        assert!((1195.0..=1225.0).contains(&passed), "{passed}");
    }

    #[test]
    fn another_capacity_is_the_rate_from_then_on() {
        let start = Clock::starting_at(0).now();
        let minute = Duration::from_secs(60);
        let mut bucket = Bucket::new(Some(20), start);
        let mut now = start;
        for (capacity, least, most) in [(200, 11_900.0, 12_250.0), (20, 1_190.0, 1_225.0)] {
            bucket.set_capacity(Some(capacity), true, now);
            assert_eq!(bucket.rate(), Some(capacity as f64));
            let (passed, _) = pump(&mut bucket, now, minute, 5.0, |_, _| true);
            assert!((least..=most).contains(&passed), "{capacity}: {passed}");
            now += minute;
        }
        // What the table has refused is not to be had because it has less now.
        bucket.answered(100.0, 50.0, 50.0, now);
        bucket.set_capacity(Some(19), true, now + WINDOW);
        let rate = bucket.rate().unwrap();
        assert!(rate < 12.0, "{rate}");
        bucket.set_capacity(None, true, now + WINDOW);
        assert_eq!(bucket.wait(1e9), None);
    }

    #[test]
    fn what_is_not_used_is_saved_for_a_minute() {
        let start = Clock::starting_at(0).now();
        let mut bucket = Bucket::new(Some(20), start);
        let later = start + Duration::from_secs(3600);
        bucket.turn(false, later);
        assert_eq!(bucket.level, 1200.0);
    }

    #[test]
    fn a_request_of_more_than_a_second_s_units_leaves_and_is_paid_for_afterwards() {
        let start = Clock::starting_at(0).now();
        let mut bucket = Bucket::new(Some(20), start);
        assert_eq!(bucket.wait(256.0), None);
        bucket.take(256.0);
        let wait = bucket.wait(1.0).unwrap().as_secs_f64();
        assert!((11.8..11.9).contains(&wait), "{wait}");
    }

    #[test]
    fn a_table_on_demand_has_no_limit_until_it_throttles_and_none_again_after_a_minute() {
        let start = Clock::starting_at(0).now();
        let mut bucket = Bucket::new(None, start);
        bucket.take(1e9);
        assert_eq!(bucket.wait(1e9), None);
        bucket.answered(100.0, 0.0, 100.0, start);
        bucket.turn(false, start + WINDOW);
        // A hundred units in a quarter of a second, all of them refused.
        assert_eq!(bucket.rate(), Some(200.0));
        bucket.turn(false, start + Duration::from_secs(30));
        assert_eq!(bucket.rate(), Some(200.0), "a rate that nobody waits for does not grow");
        bucket.turn(false, start + Duration::from_secs(61));
        assert_eq!(bucket.rate(), None);
    }

    #[test]
    fn one_throttled_unit_in_a_hundred_slows_by_a_hundredth() {
        let start = Clock::starting_at(0).now();
        let mut bucket = Bucket::new(Some(1000), start);
        bucket.answered(250.0, 247.5, 2.5, start);
        bucket.turn(true, start + WINDOW);
        let rate = bucket.rate().unwrap();
        // It has grown for the window since, too: the turn lets its time pass.
        assert!((990.0..=1000.0).contains(&rate), "{rate}");
        assert!(bucket.level <= 990.0 * 0.25, "{}", bucket.level);
    }

    /// A table of `limit` units a second that saves a second's.
    fn table(start: Instant, limit: f64) -> impl FnMut(Instant, f64) -> bool {
        let (mut level, mut at) = (limit, start);
        move |now, units| {
            level = (level + (now - at).as_secs_f64() * limit).min(limit);
            at = now;
            let passes = level > 0.0;
            if passes {
                level -= units;
            }
            passes
        }
    }

    proptest! {
        /// Whatever the table takes, and however little of it is known: nearly all of that is used, and
        /// little is refused.
        #[test]
        fn the_rate_converges_to_what_the_table_takes(limit in 50.0f64..4000.0) {
            let start = Clock::starting_at(0).now();
            let mut bucket = Bucket::new(None, start);
            let mut table = table(start, limit);
            let warm_up = Duration::from_secs(60);
            pump(&mut bucket, start, warm_up, 5.0, &mut table);
            let time = Duration::from_secs(120);
            let (passed, throttled) = pump(&mut bucket, start + warm_up, time, 5.0, &mut table);
            let used = passed / time.as_secs_f64() / limit;
            let refused = throttled / (passed + throttled);
            prop_assert!(used > 0.95 && refused < 0.04, "used {used:.3}, refused {refused:.3}");
        }
    }
}
