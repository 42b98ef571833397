//! Records that wait for their rows' state, in order within each key.
//!
//! Owns their order, and of which of them the entries were asked for that they name ahead. Asking and
//! processing is `keyed`'s.
//!
//! A row is resident once all is there that was asked for. So what a record names ahead is asked for only if it
//! waits from the batch on in which its row's first one came, or once it is near the front: were it asked for
//! while others wait, a key whose records come fast enough would never be resident, and its first one never
//! processed.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::state::Row;

/// So many records of a row have what they name ahead read together, once they are in front: one
/// `BatchGetItem`, where each names one entry.
const NAMED: usize = 100;

/// Records that wait.
#[derive(Debug)]
pub(super) struct Parked<R> {
    rows: HashMap<Row, Waiting<R>>,
    records: usize,
    batch: u64,
}

/// The records of one row, in order.
#[derive(Debug)]
pub(super) struct Waiting<R> {
    records: VecDeque<R>,
    /// Of so many of the first ones what they name is asked for.
    named: usize,
    /// The batch that the first of them came with; none once some were processed.
    batch: Option<u64>,
}

impl<R> Parked<R> {
    pub(super) fn new() -> Self {
        Self { rows: HashMap::new(), records: 0, batch: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// What is parked from now on came with another batch.
    pub(super) fn next_batch(&mut self) {
        self.batch += 1;
    }

    /// Whether what a record of this batch names may be asked for at once: none of its row waits from before.
    pub(super) fn may_name(&self, row: Row) -> bool {
        self.rows.get(&row).is_none_or(|waiting| waiting.batch == Some(self.batch))
    }

    /// Parks a record as the last one of its row. What it names was asked for if [`Parked::may_name`] said so.
    pub(super) fn push(&mut self, row: Row, record: R) {
        let batch = Some(self.batch);
        let new = || Waiting { records: VecDeque::new(), named: 0, batch };
        let waiting = self.rows.entry(row).or_insert_with(new);
        waiting.named += usize::from(waiting.batch == batch);
        waiting.records.push_back(record);
        self.records += 1;
    }

    /// Takes out the records of a row that is resident; [`Parked::put_back`] those that have to wait again.
    pub(super) fn take(&mut self, row: Row) -> Option<Waiting<R>> {
        let waiting = self.rows.remove(&row)?;
        self.records -= waiting.records.len();
        Some(waiting)
    }

    /// Those that are left wait on.
    pub(super) fn put_back(&mut self, row: Row, waiting: Waiting<R>) {
        self.records += waiting.records.len();
        self.rows.insert(row, Waiting { batch: None, ..waiting });
    }
}

impl<R> Waiting<R> {
    /// The records whose names are to be asked for now, before the next one is processed: none where that one's
    /// were.
    pub(super) fn due_names(&mut self) -> impl Iterator<Item = &R> {
        let first = if self.named == 0 { NAMED } else { 0 };
        self.named += first.min(self.records.len());
        self.records.iter().take(first)
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<R> {
        self.named = self.named.saturating_sub(1);
        self.records.pop_front()
    }

    /// It must be processed again, before all others.
    pub(super) fn push_front(&mut self, record: R) {
        self.named += 1;
        self.records.push_front(record);
    }

    /// For the tooth by which others overtake it.
    pub(super) fn push_back(&mut self, record: R) {
        self.records.push_back(record);
    }

    /// For the tooth by which their order is lost.
    pub(super) fn reverse(&mut self) {
        self.records.make_contiguous().reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(waiting: &mut Waiting<u32>) -> Vec<u32> {
        waiting.due_names().copied().collect()
    }

    /// Each record that came used to be asked for: then a key of which one came before each answer was never
    /// resident.
    #[test]
    fn what_comes_later_is_not_asked_for_before_the_front_has_run() {
        let row = Row::of_test(3);
        let mut parked = Parked::new();
        for (batch, records) in [[1, 2], [3, 4], [5, 6]].into_iter().enumerate() {
            parked.next_batch();
            for record in records {
                assert_eq!(parked.may_name(row), batch == 0, "{record}");
                parked.push(row, record);
            }
        }
        assert!(parked.may_name(Row::of_test(4)), "of another row nobody waits");
        assert_eq!(parked.len(), 6);

        let mut waiting = parked.take(row).unwrap();
        assert!(named(&mut waiting).is_empty(), "they were, when they came");
        assert_eq!(waiting.pop(), Some(1));
        assert_eq!(waiting.pop(), Some(2));
        waiting.push_front(2);
        parked.put_back(row, waiting);
        assert_eq!(parked.len(), 5);
        assert!(!parked.may_name(row));
        parked.push(row, 7);

        let mut waiting = parked.take(row).unwrap();
        assert!(named(&mut waiting).is_empty(), "what is in front was asked for");
        assert_eq!(waiting.pop(), Some(2));
        assert_eq!(named(&mut waiting), [3, 4, 5, 6, 7], "together, now that the front has none");
        assert!(named(&mut waiting).is_empty(), "and once");
        let rest: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(rest, [3, 4, 5, 6, 7]);
        assert_eq!(parked.len(), 0);
    }

    #[test]
    fn a_long_queue_is_asked_for_in_parts() {
        let row = Row::of_test(0);
        let mut parked = Parked::new();
        parked.push(row, 0);
        parked.next_batch();
        (1..=2 * NAMED as u32).for_each(|record| parked.push(row, record));
        let mut waiting = parked.take(row).unwrap();
        assert_eq!(waiting.pop(), Some(0));
        assert_eq!(named(&mut waiting), (1..=NAMED as u32).collect::<Vec<_>>());
        for _ in 0..NAMED {
            assert!(named(&mut waiting).is_empty());
            waiting.pop();
        }
        assert_eq!(named(&mut waiting).len(), NAMED);
    }
}
