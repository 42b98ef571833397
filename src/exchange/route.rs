//! Routing of keyed records to the owners of their key groups. Flink: `KeyGroupStreamPartitioner`.
//!
//! Owns one partial batch for each target; a batch leaves when it is full, when the task has nothing
//! else to do, and before every barrier.
//!
//! A batch's memory comes back from its receiver, so that its cache lines are those of another core. Written record
//! by record, each line is asked for several times over, and the core waits. So records are sorted into a buffer a
//! target that stays in this core's cache, and copied from there by the hundred: at 1,000 keys and parallelism 2
//! `cargo bench --bench throughput` did 131 to 134 million records a second with it where it had done 117.
//!
//! Where there are two targets, sorting has no length in memory that the next record would have to wait for, no branch, and no
//! look at the key group. In a loop of nothing else a record of 16 bytes took 1.1 ns so, and 3.1 by pushing; of 64 bytes 1.9 and
//! 5.2, of 1,024 bytes 26 and 36. Hashing goes a quarter of a batch at a time, in a loop without a call, for the same reason: that
//! and sorting without a branch took 1,000 keys at parallelism 2 from 73 to 79 million records a second (medians of eight, in turn).

use std::hint::select_unpredictable;

use super::channel::Outlet;
use crate::codec::Key;
use crate::key_group::{GroupStart, KeyGroup, MaxParallelism};
use crate::record::{Barrier, Element, Keyed};
use crate::teeth::{Tooth, bites};

/// Records that are sorted for one target and not in its batch yet, at most, and so what a batch may lack when it
/// leaves; never more than half of it.
const MOST_SORTED: usize = 512;
/// However many targets there are, and however large records are: fewer are not worth a copy.
const LEAST_SORTED: usize = 64;
/// What they may take over all targets: most of a core's first cache.
const SORTED_BYTES: usize = 24 << 10;

/// Sends records to the subtasks of one keyed operator.
#[derive(Debug)]
pub struct KeyRouter<K: Key, T> {
    outlets: Vec<Outlet<Keyed<K, T>>>,
    /// Hashed, and not yet with their targets.
    hashed: Vec<Keyed<K, T>>,
    at_once: usize,
    /// Of each target, what comes next in its batch: so many at most.
    sorted_at_once: usize,
    sorted: Vec<Vec<Keyed<K, T>>>,
    partial: Vec<Vec<Keyed<K, T>>>,
    full: Vec<(usize, Vec<Keyed<K, T>>)>,
    max_parallelism: MaxParallelism,
    /// The owner of each key group: a look-up instead of a division for each record.
    owners: Vec<u16>,
    /// Of two targets, where the key groups of the second begin.
    second_of_two: GroupStart,
    batch_records: usize,
}

impl<K: Key, T> KeyRouter<K, T> {
    /// Routes over `outlets`, one for each subtask of the receiver.
    #[must_use]
    pub fn new(
        outlets: Vec<Outlet<Keyed<K, T>>>,
        max_parallelism: MaxParallelism,
        batch_records: usize,
    ) -> Self {
        let buffers = |records| outlets.iter().map(|_| Vec::with_capacity(records)).collect();
        let sorted_at_once = sorted_at_once(size_of::<Keyed<K, T>>(), outlets.len(), batch_records);
        let (partial, sorted) = (buffers(batch_records), buffers(sorted_at_once));
        let parallelism = outlets.len() as u32;
        let owner = |group| max_parallelism.subtask_of(KeyGroup(group as u16), parallelism) as u16;
        let owners = (0..max_parallelism.get()).map(owner).collect();
        let second_of_two = max_parallelism.start_of(max_parallelism.range_of(1, 2).first);
        // One target's batch is what was hashed.
        let at_once = match outlets.len() {
            1 => batch_records,
            _ => sorted_at_once.div_ceil(2),
        };
        Self {
            outlets,
            hashed: Vec::with_capacity(at_once),
            at_once,
            sorted_at_once,
            sorted,
            partial,
            full: Vec::new(),
            max_parallelism,
            owners,
            second_of_two,
            batch_records,
        }
    }

    /// Takes records with their keys.
    #[inline]
    pub fn push(&mut self, records: impl Iterator<Item = (K, T)>) {
        let mut keyed = records.map(|(key, value)| Keyed::new(key, value));
        loop {
            let room = self.at_once - self.hashed.len();
            fill(&mut self.hashed, &mut keyed, room);
            if self.hashed.len() < self.at_once {
                return;
            }
            self.distribute();
        }
    }

    /// Sorts what was hashed by target. A loop of its own, because where a record goes to
    /// depends on its hash: in one loop each record waits for the hash of the one before, and a record
    /// takes 20 ns instead of 8.
    #[inline(never)]
    fn distribute(&mut self) {
        if let [only] = &mut self.partial[..] {
            // It holds nothing between two calls: what was hashed is the whole of its batch. It has room for one, as
            // what is hashed next needs.
            std::mem::swap(only, &mut self.hashed);
            if !only.is_empty() {
                self.seal(0);
            }
            return;
        }
        // Whichever target they all go to, there is room.
        for target in 0..self.sorted.len() {
            if self.sorted[target].len() + self.hashed.len() > self.sorted_at_once {
                self.hand_on(target);
            }
        }
        if let [first, second] = &mut self.sorted[..] {
            let seconds = self.second_of_two;
            part(&mut self.hashed, first, second, |record| seconds.is_reached_by(record.hash));
            return;
        }
        let (owners, max_parallelism) = (&self.owners[..], self.max_parallelism);
        for record in self.hashed.drain(..) {
            let group = max_parallelism.group_of(record.hash);
            let sorted = &mut self.sorted[usize::from(owners[usize::from(group.0)])];
            // So the loop has no call for growth.
            assert!(sorted.len() < sorted.capacity(), "no room for a record");
            sorted.push(record);
        }
    }

    /// Moves all that is sorted for a target to its batch: filling one to the brim with a part of it took as long as
    /// the sorting saves.
    fn hand_on(&mut self, target: usize) {
        if self.partial[target].len() + self.sorted[target].len() > self.batch_records {
            self.seal(target);
        }
        self.partial[target].append(&mut self.sorted[target]);
    }

    #[cold]
    fn seal(&mut self, target: usize) {
        let mut empty = self.outlets[target].spare().unwrap_or_default();
        empty.reserve_exact(self.batch_records);
        self.full.push((target, std::mem::replace(&mut self.partial[target], empty)));
    }

    /// Sends full batches.
    pub fn send_full(&mut self) {
        if self.outlets.len() > 1 {
            self.distribute();
        }
        for (target, batch) in self.full.drain(..) {
            self.outlets[target].send(Element::Batch(batch));
        }
    }

    /// Sends what there is, full or not.
    pub fn flush(&mut self) {
        self.distribute();
        for target in 0..self.partial.len() {
            self.hand_on(target);
            if !self.partial[target].is_empty() {
                self.seal(target);
            }
        }
        self.send_full();
    }

    /// Sends what there is, then `barrier` to every target.
    pub fn barrier(&mut self, barrier: Barrier) {
        if !bites(Tooth::BarrierOvertakesBatch) {
            self.flush();
        }
        self.outlets.iter_mut().for_each(|o| o.send(Element::Barrier(barrier)));
    }

    /// Sends what there is, then the end of input to every target.
    pub fn end(&mut self) {
        self.flush();
        self.outlets.iter_mut().for_each(|o| o.send(Element::End));
    }

    /// Whether everything sent was handed on.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.outlets.iter().all(Outlet::is_ready)
    }

    /// Waits until everything sent is handed on; for ever, where a receiver is gone.
    pub async fn ready(&mut self) {
        for outlet in &mut self.outlets {
            outlet.ready().await;
        }
    }
}

/// Appends what `records` has to `all`, at most `room`. A loop without a call and without a length in memory, whatever the
/// chain before lets through.
#[inline]
fn fill<R>(all: &mut Vec<R>, records: &mut impl Iterator<Item = R>, room: usize) {
    let mut filled = all.len();
    for (place, record) in all.spare_capacity_mut()[..room].iter_mut().zip(records) {
        place.write(record);
        filled += 1;
    }
    // SAFETY: those up to the old length were there before, and as many places behind them were written just now.
    #[expect(unsafe_code, reason = "the module's page has the measurement")]
    unsafe {
        all.set_len(filled);
    }
}

/// Moves each of `records` behind those in `second` where `is_second` says so, else behind those in `first`; without a
/// branch, as nobody can foresee which it is, and without a length in memory, which the next record would have to wait for.
#[inline]
#[expect(unsafe_code, reason = "the module's page has the measurement")]
fn part<R>(
    records: &mut Vec<R>,
    first: &mut Vec<R>,
    second: &mut Vec<R>,
    is_second: impl Fn(&R) -> bool,
) {
    let all = records.len();
    let fit = |target: &Vec<R>| target.capacity() - target.len() >= all;
    assert!(fit(first) && fit(second), "no room for {all} records");
    let mut firsts = 0;
    // SAFETY: there is room for all in both. Each record is moved once, to the place behind those that were moved to the
    // same vector before, of which `firsts` counts the first one's. They are all in the new lengths and not in the old
    // one; where `is_second` panics they are in none, and are not dropped.
    unsafe {
        let to_first = first.as_mut_ptr().add(first.len());
        let to_second = second.as_mut_ptr().add(second.len());
        records.set_len(0);
        for index in 0..all {
            let record = records.as_ptr().add(index);
            let seconds = is_second(&*record);
            let (to_first, to_second) = (to_first.add(firsts), to_second.add(index - firsts));
            let place = select_unpredictable(seconds, to_second, to_first);
            place.copy_from_nonoverlapping(record, 1);
            firsts += usize::from(!seconds);
        }
        first.set_len(first.len() + firsts);
        second.set_len(second.len() + all - firsts);
    }
}

/// How many records of `record_bytes` are sorted for each of `targets` before they are copied to its batch; none for one
/// target, whose batch is what was hashed.
fn sorted_at_once(record_bytes: usize, targets: usize, batch_records: usize) -> usize {
    let most = SORTED_BYTES / record_bytes.max(1) / targets.max(1);
    match targets {
        1 => 0,
        _ => most.clamp(LEAST_SORTED, MOST_SORTED).min(batch_records / 2).max(1),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;

    use super::super::channel::{Inlet, channel};
    use super::*;
    use crate::ids::CheckpointId;

    fn drain<K: Key, T>(inlet: &mut Inlet<Keyed<K, T>>) -> Vec<Element<Keyed<K, T>>> {
        std::iter::from_fn(|| poll_fn(|cx| inlet.poll_next(cx)).now_or_never().flatten()).collect()
    }

    #[test]
    fn no_batch_is_larger_than_it_should_be() {
        let max = MaxParallelism::new(128).unwrap();
        for (parallelism, batch_records) in [(1, 1), (1, 3), (1, 1000), (2, 1), (2, 300), (3, 1024)]
        {
            let (outlets, mut inlets): (Vec<_>, Vec<_>) =
                (0..parallelism).map(|_| channel(4096)).unzip();
            let mut router = KeyRouter::new(outlets, max, batch_records);
            let mut seen = 0;
            // One by one, a few at a time, and more than a batch at once.
            for keys in [0..500u64, 500..501, 501..600, 600..2000] {
                match keys.start {
                    0 => keys.for_each(|key| router.push(std::iter::once((key, ())))),
                    _ => router.push(keys.map(|key| (key, ()))),
                }
                router.send_full();
            }
            router.flush();
            for inlet in &mut inlets {
                let elements = drain(inlet);
                let count = elements.len();
                for (index, element) in elements.into_iter().enumerate() {
                    let Element::Batch(batch) = element else { panic!("only batches") };
                    assert!((1..=batch_records).contains(&batch.len()), "{}", batch.len());
                    // Full but for what did not fit whole, and for the last.
                    let lacks =
                        sorted_at_once(size_of::<Keyed<u64, ()>>(), parallelism, batch_records)
                            .max(1);
                    assert!(batch.len() + lacks > batch_records || index + 1 == count);
                    seen += batch.len();
                }
            }
            assert_eq!(seen, 2000);
        }
    }

    #[test]
    fn a_batch_is_filled_again_that_was_emptied_before() {
        let max = MaxParallelism::new(128).unwrap();
        let (outlets, mut inlets): (Vec<_>, Vec<_>) = (0..2).map(|_| channel(4096)).unzip();
        let mut router = KeyRouter::new(outlets, max, 512);
        let mut places = std::collections::HashSet::new();
        for round in 0..40u64 {
            router.push((round * 512..(round + 1) * 512).map(|key| (key, ())));
            router.send_full();
            for inlet in &mut inlets {
                for element in drain(inlet) {
                    let Element::Batch(batch) = element else { panic!("only batches") };
                    places.insert(batch.as_ptr() as usize);
                    inlet.give_back(batch);
                }
            }
        }
        // One is being filled for each target, one more is under way.
        assert!(places.len() <= 4, "{} places of some 40 batches", places.len());
    }

    /// Values own memory, so that one that was moved twice or never would be seen by whoever checks that.
    fn each_goes_to_its_owner_in_order<K: Key + Ord>(key_of: impl Fn(u64) -> K) {
        let cases = [(1, 4, 128), (2, 4, 128), (2, 1, 127), (2, 64, 3), (2, 64, 32_768), (3, 4, 7)];
        for (parallelism, batch_records, max) in cases {
            let max = MaxParallelism::new(max).unwrap();
            let (outlets, mut inlets): (Vec<_>, Vec<_>) =
                (0..parallelism).map(|_| channel(512)).unzip();
            let mut router = KeyRouter::new(outlets, max, batch_records);
            let record = |n| (key_of(n), format!("{:?}", key_of(n)));
            for n in 0..50u64 {
                router.push(std::iter::once(record(n)));
            }
            router.push((50..300).map(record));
            router.barrier(Barrier { checkpoint: CheckpointId(1), last: false });
            let mut seen = 0;
            for (index, inlet) in inlets.iter_mut().enumerate() {
                let mut elements = drain(inlet);
                assert!(matches!(elements.pop(), Some(Element::Barrier(_))), "the barrier is last");
                let mut last = None;
                for element in elements {
                    let Element::Batch(batch) = element else { panic!("only batches before it") };
                    for record in batch {
                        let owner = max.subtask_of(max.group_of(record.hash), parallelism);
                        assert_eq!(owner as usize, index);
                        let key = record.with_key(K::clone);
                        assert_eq!(record.value, format!("{key:?}"));
                        assert!(last < Some(key.clone()), "out of order");
                        last = Some(key);
                        seen += 1;
                    }
                }
            }
            assert_eq!(seen, 300, "of {parallelism}");
        }
    }

    #[test]
    fn each_key_goes_to_its_owner_in_order_and_a_barrier_overtakes_nothing() {
        each_goes_to_its_owner_in_order(|n| n);
        each_goes_to_its_owner_in_order(|n| format!("{n:03}"));
    }

    #[test]
    fn what_was_not_sent_is_dropped_once() {
        let max = MaxParallelism::new(128).unwrap();
        let value = std::sync::Arc::new(());
        for parallelism in 1..4 {
            let (outlets, inlets): (Vec<_>, Vec<_>) = (0..parallelism).map(|_| channel(1)).unzip();
            let mut router = KeyRouter::new(outlets, max, 16);
            router.push((0..100u64).map(|key| (key, std::sync::Arc::clone(&value))));
            router.send_full();
            drop((router, inlets));
            assert_eq!(std::sync::Arc::strong_count(&value), 1, "of {parallelism}");
        }
    }
}
