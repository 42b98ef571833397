//! Records of a random job: what they find in memory, wait for, and see.

use super::*;
use crate::state::keyed::tests::acts::Act;

impl World {
    pub(super) fn batch(&mut self, records: &[Record]) {
        let parallelism = self.subtasks.len() as u32;
        let mut mine: Vec<Vec<Record>> = vec![Vec::new(); self.subtasks.len()];
        for record in records {
            let group = max_parallelism().group_of(record.0.key_hash());
            let (key, acts, late) = record.clone();
            let to = max_parallelism().subtask_of(group, parallelism) as usize;
            mine[to].push((key, acts, self.clock - late));
        }
        for (i, records) in mine.into_iter().enumerate() {
            let mut rows = Vec::new();
            let state = &mut self.subtasks[i].state;
            state.set_processing_time(self.clock);
            state.find_rows(records.iter().map(|(key, ..)| (key.key_hash(), key)), &mut rows);
            for (record, row) in records.into_iter().zip(rows) {
                if self.subtasks[i].state.is_loading(row) {
                    self.subtasks[i].parked.entry(row).or_default().push_back(record);
                } else if self.process(i, row, &record) {
                    self.subtasks[i].parked.entry(row).or_default().push_front(record);
                }
            }
            self.read(i);
            self.subtasks[i].state.end_batch();
        }
        self.make_room();
    }

    /// As a task does between two steps: what may leave and is too much leaves, to the last entry.
    pub(super) fn make_room(&mut self) {
        let entries = |state: &KeyedState<u16>| 2 * state.rows.len() as u64;
        let all = |subtasks: &[Subtask]| subtasks.iter().map(|s| entries(&s.state)).sum::<u64>();
        let share = CACHE / self.subtasks.len() as u64;
        for i in 0..self.subtasks.len() {
            while all(&self.subtasks) > CACHE
                && entries(&self.subtasks[i].state) > share
                && !self.subtasks[i].state.is_exhausted()
            {
                self.subtasks[i].state.evict_bytes(1, 4);
            }
            self.subtasks[i].state.cool();
        }
        if all(&self.subtasks) > CACHE {
            let rows = |s: &Subtask| {
                (0..s.state.rows.end()).filter(|r| s.state.rows.is_taken(*r)).collect()
            };
            for subtask in self.subtasks.iter().filter(|s| entries(&s.state) > share) {
                let rows: Vec<u32> = rows(subtask);
                let state = &subtask.state;
                let is_free = |row: &u32| state.is_clean(*row) && !state.is_loading(Row(*row));
                let free = rows.into_iter().find(is_free);
                assert_eq!(free, None, "it could have left");
            }
        }
    }

    /// Processes a record; whether it was suspended.
    pub(super) fn process(&mut self, i: usize, row: Row, (key, acts, time): &Record) -> bool {
        let by_records = kind(self.ttl) == Some(true);
        let now = if by_records { *time } else { self.clock };
        let state = &mut self.subtasks[i].state;
        // As the task does: what has all of its row in memory is not even remembered.
        let may_suspend = state.may_suspend_at(row);
        let mut model = self.live.clone();
        let mut mistaken = None;
        if may_suspend {
            state.begin_record();
        }
        state.record_at(Some(*time));
        let run = |act: &Act| -> Result<()> {
            let seen = act.run(state, &self.handles, row)?;
            let mut at = At { model: &mut model, ttl: self.ttl, now };
            let expected = act.predict(&mut at, *key);
            if seen != expected {
                mistaken.get_or_insert((act.clone(), seen, expected));
            }
            Ok(())
        };
        let result = acts.iter().try_for_each(run);
        let suspended = may_suspend && state.end_record().unwrap();
        assert!(suspended || result.is_ok(), "{result:?}");
        assert_eq!(suspended, state.is_loading(row));
        if !suspended {
            state.renew_read();
            self.live = model;
        }
        assert_eq!(mistaken, None, "key {key}");
        suspended
    }

    /// The store reads what is asked for.
    pub(super) fn read(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        for read in subtask.state.take_reads() {
            let item = self.table.get(&read.key).cloned();
            subtask.answers.push_back(Answer::Item(read, item));
        }
        for scan in subtask.state.take_scans() {
            let items = scan_table(&self.table, &scan.range);
            subtask.answers.push_back(Answer::Range(scan, items));
        }
    }

    pub(super) fn answer(&mut self, answers: usize) {
        for i in 0..self.subtasks.len() {
            for _ in 0..answers {
                let subtask = &mut self.subtasks[i];
                subtask.state.set_processing_time(self.clock);
                let Some(answer) = subtask.answers.pop_front() else { break };
                let (row, resident) = match answer {
                    Answer::Item(read, item) => {
                        (read.row, subtask.state.loaded(&read, item.as_ref()).unwrap())
                    }
                    Answer::Range(mut scan, items) => {
                        (scan.row, in_pages(&mut subtask.state, &mut scan, items))
                    }
                };
                if resident {
                    self.process_parked(i, row);
                }
                self.read(i);
                self.subtasks[i].state.end_batch();
            }
        }
    }

    pub(super) fn process_parked(&mut self, i: usize, row: Row) {
        let mut records = self.subtasks[i].parked.remove(&row).unwrap_or_default();
        while let Some(record) = records.pop_front() {
            if self.process(i, row, &record) {
                records.push_front(record);
                self.subtasks[i].parked.insert(row, records);
                return;
            }
        }
    }

    pub(super) fn answer_all(&mut self) {
        while self.subtasks.iter().any(|subtask| !subtask.answers.is_empty()) {
            self.answer(usize::MAX);
        }
        assert!(self.subtasks.iter().all(|subtask| subtask.parked.is_empty()));
    }
}

/// A page of so many items at a time, as the store had them when it was asked.
const PAGE_ITEMS: usize = 2;

/// Answers `scan` until no more is to be read; whether its row is resident then.
fn in_pages(state: &mut KeyedState<u16>, scan: &mut Scan, mut items: Vec<Scanned>) -> bool {
    loop {
        let more = items.split_off(items.len().min(PAGE_ITEMS));
        let rest = (!more.is_empty()).then(|| scan.range.clone());
        if let Some(resident) = state.page_scanned(scan, ScanPage { items, rest }).unwrap() {
            return resident;
        }
        items = more;
    }
}
