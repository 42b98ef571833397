//! Barriers of a random job, its log and its items: how they become a checkpoint, are cleaned and read back.

use super::*;
use crate::state::{ItemRange, ScanPage};

pub(super) fn scan_table(table: &BTreeMap<ItemKey, Item>, range: &ItemRange) -> Vec<Scanned> {
    let in_range = |key: &ItemKey| {
        key.operator == range.operator
            && key.state == range.state
            && key.key_group == range.key_group
            && range.contains(&key.sort_key)
    };
    let scanned = |(key, item): (&ItemKey, &Item)| Scanned {
        sort_key: key.sort_key.clone(),
        item: Ok(item.clone()),
    };
    table.iter().filter(|(key, _)| in_range(key)).map(scanned).collect()
}

impl World {
    pub(super) fn build_filter(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        if let Some(mut chunks) = subtask.chunks.take() {
            while !subtask.state.filter_read(&mut chunks, 1) {}
        } else if let Some(scan) = subtask.state.filter_scan() {
            let range = &scan.range;
            let of_range = |key: &&ItemKey| {
                (&key.state, key.key_group) == (&range.state, range.key_group)
                    && range.contains(&key.sort_key)
            };
            let scanned = self.table.iter().filter(|(key, _)| of_range(key)).map(|(key, item)| {
                Scanned { sort_key: key.sort_key.clone(), item: Ok(item.clone()) }
            });
            let page = ScanPage { items: scanned.collect(), rest: None };
            subtask.chunks = Some(FilterChunks::of(scan, page).unwrap());
        }
    }

    pub(super) fn build_filters(&mut self) {
        for i in 0..self.subtasks.len() {
            while self.setting.filter && self.subtasks[i].state.stats().filter_hashes.is_none() {
                self.build_filter(i);
            }
        }
    }

    pub(super) fn barrier(&mut self, skipped: u64) {
        if self.in_flight.is_some() {
            return;
        }
        self.answer_all();
        let n = self.next + skipped;
        self.next = n + 1;
        for i in 0..self.subtasks.len() {
            self.subtasks[i].barrier =
                Some(self.subtasks[i].state.freeze(CheckpointId(n)).unwrap());
            self.take_segments(i);
        }
        self.at.insert(n, (self.live.clone(), self.ttl));
        self.in_flight = Some(n);
    }

    pub(super) fn settle(&mut self) {
        self.barrier(0);
        self.complete();
        for i in 0..self.subtasks.len() {
            self.clean(i, usize::MAX);
            while self.subtasks[i].plan.is_some() {
                self.clean(i, usize::MAX);
                for write in std::mem::take(&mut self.subtasks[i].queue) {
                    self.late.push(write.clone());
                    self.put(write);
                }
            }
        }
    }

    /// All that is in memory could leave now, so no more than may stay has stayed.
    pub(super) fn is_within_its_cache(&mut self) {
        self.answer_all();
        // Each cleans a checkpoint, and lets go of one that is retained.
        let is_pinned = |s: &Subtask| s.state.log.pinned() > 0;
        for _ in 0..100 {
            self.settle();
            if !self.subtasks.iter().any(is_pinned) {
                break;
            }
        }
        self.make_room();
        let entries: u64 = self.subtasks.iter().map(|s| 2 * s.state.rows.len() as u64).sum();
        assert!(entries <= CACHE, "{entries} entries in memory");
    }

    pub(super) fn take_segments(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        for raw in subtask.state.take_segments() {
            assert!(raw.len() <= 40 && !raw.is_empty());
            let (attempt, checkpoint) = (Attempt(self.attempt), raw.checkpoint);
            let version = Version { attempt, checkpoint };
            let operator = Name::new(OPERATOR).unwrap();
            let bytes = segment::encode(&raw, version, &operator, subtask.range).unwrap();
            subtask.state.logged(checkpoint, bytes.len() as u64);
            self.named.push(self.segments.len());
            self.segments.push(segment::decode(&bytes).unwrap());
        }
    }

    pub(super) fn complete(&mut self) {
        let Some(n) = self.in_flight.take() else { return };
        for i in 0..self.subtasks.len() {
            assert!(self.subtasks[i].state.serialise(usize::MAX).unwrap());
            self.take_segments(i);
        }
        let subtasks: Vec<_> =
            self.subtasks.iter().map(|s| (s.range, s.barrier.clone().unwrap())).collect();
        let needed = |segment: &Segment| {
            let checkpoint = segment.version.checkpoint;
            let after = |(range, horizon): &(KeyGroupRange, CheckpointId)| {
                range.intersects(segment.range) && *horizon < checkpoint
            };
            checkpoint.0 <= n && subtasks.iter().flat_map(|(_, b)| &b.horizons).any(after)
        };
        self.named.retain(|&i| needed(&self.segments[i]));
        let segments = self.named.clone();
        let (lifetimes, changes) = (self.lifetimes.clone(), self.changes.clone());
        self.manifests.insert(n, Manifest { subtasks, segments, lifetimes, changes });
        self.retained.push(n);
        if self.retained.len() > self.setting.num_retained {
            self.retained.remove(0);
        }
        let floor = CheckpointId(self.floor());
        self.subtasks.iter_mut().for_each(|s| s.state.completed(floor));
    }

    pub(super) fn clean(&mut self, i: usize, entries: usize) {
        let subtask = &mut self.subtasks[i];
        let Some((checkpoint, rows, done)) = &mut subtask.plan else {
            let live = subtask.state.log.oldest().map(|list| list.live);
            if let Some(plan) = subtask.state.plan_cleaning(&EAGER) {
                let rows = plan.compute();
                assert_eq!(live, Some(rows.len() as u64), "counted without walking");
                subtask.plan = Some((plan.checkpoint(), rows, 0));
            }
            return;
        };
        if *done < rows.len() {
            // Some slices end before that for their bytes.
            let bytes = if entries.is_multiple_of(3) { 20 } else { usize::MAX };
            let collected = subtask.state.collect(rows, *done, entries, bytes).unwrap();
            *done += collected.entries;
            subtask.queue.extend(collected.writes.into_iter().map(PendingWrite::into_write));
            subtask.missing.extend(collected.missing);
        } else if !subtask.missing.is_empty() {
            let segments: Vec<Segment> = self
                .named
                .iter()
                .map(|&i| &self.segments[i])
                .filter(|s| {
                    s.version.checkpoint == *checkpoint && s.range.intersects(subtask.range)
                })
                .cloned()
                .collect();
            let found = find_values(&segments, std::mem::take(&mut subtask.missing)).unwrap();
            let writes = subtask.state.found(found).into_iter();
            subtask.queue.extend(writes.map(PendingWrite::into_write));
        } else if subtask.queue.is_empty() {
            subtask.state.cleaned(*checkpoint).unwrap();
            subtask.plan = None;
        }
    }

    /// Rule V.
    pub(super) fn put(&mut self, write: ItemWrite) {
        match self.table.get(&write.key) {
            Some(item) if item.version >= write.item.version => {}
            _ => drop(self.table.insert(write.key, write.item)),
        }
    }
}
