//! Who leaves first when a table takes less than is to be sent.
//!
//! ```text
//! heads ─► reads of waiting records ─► segments, manifests ─► filters ─► materialising ─► deletion of what is gone
//! ```
//! Owns the two queues, one for each of a table's capacities: reads and writes never wait for each
//! other. A head's write waits for nobody, since a lease runs out meanwhile; it is charged all the
//! same, so that the others wait for it. A filter that is read back has a share beside what goes before it: as
//! long as it is not there, new keys cost the very reads that it would wait for. How fast it goes is `limiter`'s.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::limiter::{Bucket, WINDOW};
use super::meter::{PURPOSES, Purpose};
use crate::clock::{Clock, Instant};

/// Which of a table's capacities a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Read,
    Write,
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Waits for nobody.
    Head,
    /// Records wait for it.
    Waited,
    /// A checkpoint waits for it.
    Checkpoint,
    /// New keys cost no reads once it is there.
    Filter,
    /// The log shrinks by it.
    Materialise,
    /// Nobody waits for it.
    Background,
}

impl Rank {
    /// Whether the lease, records or a checkpoint wait for it. What is not may take for ever, and is no trouble.
    pub(super) fn is_awaited(self) -> bool {
        match self {
            Self::Head | Self::Waited | Self::Checkpoint => true,
            Self::Filter | Self::Materialise | Self::Background => false,
        }
    }
}

/// What a request will take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// So many units.
    Units(f64),
    /// So many items of unknown size, each like the last ones of its purpose.
    Items(usize),
    /// A page of a range, like the last ones: hundreds of items, so nothing that tells what one takes.
    Page,
}

/// A request that asks to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) lane: Lane,
    pub(super) purpose: Purpose,
    pub(super) rank: Rank,
    pub(super) size: Size,
}

/// Decides when requests leave; a cheap handle.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    read: Mutex<Traffic>,
    write: Mutex<Traffic>,
}

/// One capacity and who waits for it.
#[derive(Debug)]
struct Traffic {
    bucket: Bucket,
    /// By rank, then in the order of arrival.
    queue: BTreeMap<(Rank, u64), Waiter>,
    arrived: u64,
    /// Units an item, of each purpose, as the last answers had it.
    typical: [f64; PURPOSES],
    /// Units a page, the same, and one of a filter.
    pages: [f64; 2],
    /// What filters may take before those that are ahead of them, units.
    filters: f64,
}

/// Of what those ahead of them take, what filters that wait may take then.
const SHARE_OF_FILTERS: f64 = 0.25;

impl Traffic {
    /// How many are asked for and what each takes, where that is not known; what it takes is to be learnt.
    fn typical(&mut self, ask: Ask) -> Option<(usize, &mut f64)> {
        match ask.size {
            Size::Units(_) => None,
            Size::Items(items) => Some((items, &mut self.typical[ask.purpose as usize])),
            Size::Page => Some((1, &mut self.pages[usize::from(ask.rank == Rank::Filter)])),
        }
    }

    /// Who is the first to leave.
    fn first(&self) -> Option<((Rank, u64), &Waiter)> {
        let filter = self.first_of(Rank::Filter).filter(|_| self.filters > 0.0);
        filter.or_else(|| self.queue.first_key_value().map(|(key, waiter)| (*key, waiter)))
    }

    /// Within a rank the first one is the oldest.
    fn first_of(&self, rank: Rank) -> Option<((Rank, u64), &Waiter)> {
        let mut of_rank = self.queue.range((rank, 0)..=(rank, u64::MAX));
        of_rank.next().map(|(key, waiter)| (*key, waiter))
    }

    /// A request of `rank` takes so many units.
    fn take(&mut self, rank: Rank, units: f64) {
        self.bucket.take(units);
        if rank == Rank::Filter {
            self.filters = (self.filters - units).max(-units);
        } else if rank < Rank::Filter && self.first_of(Rank::Filter).is_some() {
            self.filters += SHARE_OF_FILTERS * units;
        }
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.first() {
            first.wake.notify_one();
        }
    }
}

/// A request that waits.
#[derive(Clone, Debug)]
struct Waiter {
    wake: Arc<Notify>,
    since: Instant,
}

impl Traffic {
    /// Since when the oldest request waits that records or a checkpoint wait for.
    fn awaited_since(&self) -> Option<Instant> {
        let oldest = |rank| self.first_of(rank);
        let oldest = [Rank::Waited, Rank::Checkpoint].into_iter().filter_map(oldest);
        oldest.map(|(_, waiter)| waiter.since).min()
    }
}

/// A request that has left. Without an answer it stays charged: it may have been applied.
#[derive(Debug)]
pub(super) struct Leave {
    pace: Pace,
    ask: Ask,
    taken: f64,
}

impl Pace {
    /// For a table of (read, write) provisioned units a second, or on demand.
    pub(super) fn new(provisioned: Option<(u64, u64)>, clock: Clock) -> Self {
        let now = clock.now();
        let traffic = |capacity| {
            let mut typical = [1.0; PURPOSES];
            typical[Purpose::Log as usize] = SEGMENT_UNITS;
            let bucket = Bucket::new(capacity, now);
            let (queue, pages) = (BTreeMap::new(), [1.0; 2]);
            Mutex::new(Traffic { bucket, queue, arrived: 0, typical, pages, filters: 0.0 })
        };
        let (read, write) = provisioned.unzip();
        Self(Arc::new(Shared { clock, read: traffic(read), write: traffic(write) }))
    }

    fn traffic(&self, lane: Lane) -> MutexGuard<'_, Traffic> {
        let of = match lane {
            Lane::Read => &self.0.read,
            Lane::Write => &self.0.write,
        };
        of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table has so many (read, write) provisioned units a second from now on, or is on demand. Who waits sees
    /// it when it looks again, within a [`WINDOW`].
    pub(super) fn set_capacity(&self, provisioned: Option<(u64, u64)>) {
        let now = self.0.clock.now();
        let (read, write) = provisioned.unzip();
        for (lane, capacity) in [(Lane::Read, read), (Lane::Write, write)] {
            let mut traffic = self.traffic(lane);
            let waiting = !traffic.queue.is_empty();
            traffic.bucket.set_capacity(capacity, waiting, now);
        }
    }

    /// Units a second; `None`: no limit.
    pub(super) fn rate(&self, lane: Lane) -> Option<f64> {
        self.traffic(lane).bucket.rate()
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.traffic(Lane::Read).queue.len() + self.traffic(Lane::Write).queue.len()
    }

    /// Since when a request waits that records or a checkpoint wait for, the oldest one. What materialises or
    /// deletes may wait for ever.
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        let [read, write] =
            [Lane::Read, Lane::Write].map(|lane| self.traffic(lane).awaited_since());
        read.into_iter().chain(write).min()
    }

    /// Ends when the request may leave.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place.
    pub(super) async fn admit(&self, ask: Ask) -> Leave {
        let mut place = None;
        loop {
            let (wake, wait) = match self.try_admit(ask, &mut place) {
                Ok(taken) => return Leave { pace: self.clone(), ask, taken },
                Err(waits) => waits,
            };
            match wait {
                // Not at once: the rate may grow meanwhile.
                Some(wait) => {
                    tokio::select! {
                        biased;
                        () = wake.notified() => {}
                        () = self.0.clock.sleep(wait.min(WINDOW)) => {}
                    }
                }
                None => wake.notified().await,
            }
        }
    }

    /// What was taken, or by what to be woken, and for how long at most to wait where it is the first.
    fn try_admit(
        &self,
        ask: Ask,
        place: &mut Option<Place>,
    ) -> Result<f64, (Arc<Notify>, Option<Duration>)> {
        let now = self.0.clock.now();
        let mut traffic = self.traffic(ask.lane);
        let waiting = !traffic.queue.is_empty();
        traffic.bucket.turn(waiting, now);
        let units = match ask.size {
            Size::Units(units) => units,
            Size::Items(_) | Size::Page => {
                traffic.typical(ask).map_or(1.0, |(number, each)| number as f64 * *each)
            }
        };
        let key = place.as_ref().map(|place| place.key);
        let ahead = traffic.first().map(|(first, _)| first);
        let has_share = traffic.filters > 0.0;
        let is_first = match (key, ahead) {
            (Some(key), ahead) => ahead == Some(key),
            (None, Some((Rank::Filter, _))) if has_share => false,
            (None, ahead) => ahead.is_none_or(|(rank, _)| ask.rank < rank),
        };
        let wait = if ask.rank == Rank::Head { None } else { traffic.bucket.wait(units) };
        if wait.is_none() && (is_first || ask.rank == Rank::Head) {
            traffic.take(ask.rank, units);
            if place.is_none() {
                traffic.wake_first();
            }
            drop(traffic);
            // Gives the place to the next one.
            drop(place.take());
            return Ok(units);
        }
        let key = key.unwrap_or_else(|| {
            traffic.arrived += 1;
            let key = (ask.rank, traffic.arrived);
            traffic.queue.insert(key, Waiter { wake: Arc::default(), since: now });
            *place = Some(Place { pace: self.clone(), lane: ask.lane, key });
            key
        });
        let is_first = traffic.first().is_some_and(|(first, _)| first == key);
        let wake = traffic.queue.get(&key).map(|w| Arc::clone(&w.wake)).unwrap_or_default();
        Err((wake, is_first.then(|| wait.unwrap_or(Duration::ZERO))))
    }
}

/// Read units of a segment, until one was read.
const SEGMENT_UNITS: f64 = 16.0;

/// A place in a queue, given up when dropped.
#[derive(Debug)]
struct Place {
    pace: Pace,
    lane: Lane,
    key: (Rank, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut traffic = self.pace.traffic(self.lane);
        traffic.queue.remove(&self.key);
        traffic.wake_first();
    }
}

impl Leave {
    /// What was taken, units: an estimate.
    pub(super) fn taken(&self) -> f64 {
        self.taken
    }

    /// Answered: `passed` units were used, and about `throttled` refused.
    pub(super) fn answered(self, passed: f64, throttled: f64) {
        let now = self.pace.0.clock.now();
        let mut traffic = self.pace.traffic(self.ask.lane);
        if throttled <= 0.0
            && passed > 0.0
            && let Some((number, each)) = traffic.typical(self.ask)
            && number > 0
        {
            *each = 0.8 * *each + 0.2 * passed / number as f64;
        }
        traffic.bucket.answered(self.taken, passed, throttled, now);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn write(rank: Rank, units: f64) -> Ask {
        Ask { lane: Lane::Write, purpose: Purpose::Log, rank, size: Size::Units(units) }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_waited_for_goes_first_and_a_head_at_once() {
        let clock = Clock::starting_at(0);
        let pace = Pace::new(Some((20, 20)), clock);
        pace.admit(write(Rank::Background, 20.0)).await;
        let order = RefCell::new(Vec::new());
        let ranks = [
            Rank::Background,
            Rank::Materialise,
            Rank::Materialise,
            Rank::Checkpoint,
            Rank::Head,
            Rank::Waited,
            Rank::Checkpoint,
        ];
        let begun = clock.now();
        let each = |rank| {
            let (pace, order) = (&pace, &order);
            async move {
                pace.admit(write(rank, 20.0)).await;
                order.borrow_mut().push((rank, (clock.now() - begun).as_secs()));
            }
        };
        join_all(ranks.into_iter().map(each)).await;
        let expected = [
            (Rank::Head, 0),
            (Rank::Waited, 2),
            (Rank::Checkpoint, 3),
            (Rank::Checkpoint, 4),
            (Rank::Materialise, 5),
            (Rank::Materialise, 6),
            (Rank::Background, 7),
        ];
        assert_eq!(*order.borrow(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_do_not_wait_for_each_other() {
        let pace = Pace::new(Some((20, 20)), Clock::starting_at(0));
        pace.admit(write(Rank::Checkpoint, 400.0)).await;
        let read = Ask { lane: Lane::Read, ..write(Rank::Materialise, 20.0) };
        assert!(pace.admit(read).now_or_never().is_some());
        assert!(pace.admit(write(Rank::Waited, 1.0)).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_waiter_gives_its_place_to_the_next() {
        let clock = Clock::starting_at(0);
        let pace = Pace::new(Some((20, 20)), clock);
        pace.admit(write(Rank::Checkpoint, 20.0)).await;
        let mut first = Box::pin(pace.admit(write(Rank::Checkpoint, 20.0)));
        let second = pace.admit(write(Rank::Materialise, 1.0));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(pace.waiting(), 2);
        drop(first);
        let begun = clock.now();
        second.await;
        assert!(clock.now() - begun < Duration::from_millis(60), "{:?}", clock.now() - begun);
        assert_eq!(pace.waiting(), 0);
    }

    /// It used to stand among the reads that records wait for: on a small table they waited for all of it.
    #[tokio::test(start_paused = true)]
    async fn a_filter_that_is_read_back_leaves_most_to_the_records_and_goes_on() {
        let clock = Clock::starting_at(0);
        let pace = Pace::new(Some((20, 20)), clock);
        let read = |rank| Ask { lane: Lane::Read, ..write(rank, 20.0) };
        let (order, seen) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let each = |rank| {
            let (pace, order, seen) = (&pace, &order, &seen);
            async move {
                drop(pace.admit(read(rank)).await);
                order.borrow_mut().push(rank);
                seen.borrow_mut().push(pace.awaited_since().is_some());
            }
        };
        pace.admit(read(Rank::Waited)).await;
        let filters = join_all([Rank::Filter; 6].map(each));
        let records = join_all([Rank::Waited; 8].map(each));
        futures::join!(filters, records);
        let (filter, record) = (Rank::Filter, Rank::Waited);
        let expected = [
            vec![record, filter, record, record, record, record],
            vec![filter, record, record, record],
            vec![filter; 4],
        ];
        assert_eq!(*order.borrow(), expected.concat());
        let nobody = seen.borrow().iter().rev().take_while(|awaited| !**awaited).count();
        assert_eq!(nobody, 5, "nothing is awaited where only filters wait");
        assert_eq!(pace.waiting(), 0);
    }

    /// They used to be of one size: after a few pages of 256 units, 100 keys were taken to need thousands.
    #[tokio::test(start_paused = true)]
    async fn pages_do_not_tell_what_an_item_takes() {
        let pace = Pace::new(None, Clock::starting_at(0));
        let ask = |size| Ask { size, purpose: Purpose::Read, ..write(Rank::Waited, 0.0) };
        let read = |size| Ask { lane: Lane::Read, ..ask(size) };
        for _ in 0..40 {
            pace.admit(read(Size::Page)).await.answered(256.0, 0.0);
        }
        assert!(pace.admit(read(Size::Page)).await.taken() > 250.0);
        assert_eq!(pace.admit(read(Size::Items(100))).await.taken(), 100.0);
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_unknown_size_are_taken_to_be_like_the_last_ones() {
        let pace = Pace::new(None, Clock::starting_at(0));
        let read = Ask {
            lane: Lane::Read,
            purpose: Purpose::Read,
            rank: Rank::Waited,
            size: Size::Items(100),
        };
        for _ in 0..40 {
            pace.admit(read).await.answered(400.0, 0.0);
        }
        assert!(pace.admit(read).await.taken() > 399.0);
    }
}
