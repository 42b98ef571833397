//! Clearing a map or a list that may be larger than memory: its stored keys are read, page by page, and not its values.
//!
//! Owns those keys, from the page that brought them until no record needs them, and what becomes of them. Asking for
//! pages is `suspend`'s.
//!
//! ```text
//!   clear ─► suspended ─► page: its keys are listed, its values dropped ─► … ─► clear again: a tombstone for each key
//! ```
//! Only then is anything deleted, all of it by one record: what that record reads before it clears must still be there,
//! and a barrier has all of it or nothing. So what a clear takes is bounded by its keys: each is listed until the record
//! is through, and its tombstone is in memory until that is in the table.

use std::cmp::Ordering;

use super::column::{AnyColumn, Holds};
use super::descriptor::ColumnId;
use super::entry::Meta;
use super::keyed::{KeyedState, Row, column, column_mut};
use super::known::SubRange;
use super::sub_column::{SubColumn, SubKey};
use crate::codec::{DecodeError, Key, Value};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a key's length before it.
const LENGTH: usize = size_of::<u32>();

/// Encoded sub keys, those of one page.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<u8>);

impl Keys {
    pub(super) fn push(&mut self, sub: &[u8]) {
        self.0.extend((sub.len() as u32).to_le_bytes());
        self.0.extend(sub);
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<LENGTH>()?;
            let (sub, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(sub)
        })
    }
}

/// The keys within a range of a row's entries that have a value in the table and were not in memory.
#[derive(Debug)]
struct List {
    row: u32,
    column: ColumnId,
    range: SubRange,
    pages: Vec<Keys>,
    /// There are no more pages.
    is_whole: bool,
}

impl List {
    fn is_of(&self, row: Row, column: ColumnId, range: &SubRange) -> bool {
        (self.row, self.column) == (row.0, column) && self.range == *range
    }

    fn bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| page.0.capacity()).sum();
        pages + self.pages.capacity() * size_of::<Keys>()
    }
}

/// What is listed for records that wait, or run at present.
#[derive(Debug, Default)]
pub(super) struct Listed(Vec<List>);

impl Listed {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Memory of the keys.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(List::bytes).sum()
    }

    /// A range is going to be read; `false` where it is already.
    fn begin(&mut self, row: Row, column: ColumnId, range: &SubRange) -> bool {
        if self.0.iter().any(|list| list.is_of(row, column, range)) {
            return false;
        }
        let (row, range) = (row.0, range.clone());
        self.0.push(List { row, column, range, pages: Vec::new(), is_whole: false });
        true
    }

    /// A page of a range, and whether that was the last one.
    pub(super) fn add(
        &mut self,
        (row, column, range): (Row, ColumnId, &SubRange),
        mut page: Keys,
        is_last: bool,
    ) {
        let list = self.0.iter_mut().find(|list| list.is_of(row, column, range));
        let Some(list) = list else { return };
        list.is_whole = is_last;
        if !page.0.is_empty() {
            page.0.shrink_to_fit();
            list.pages.push(page);
        }
    }

    /// Takes out the pages of a range that was read to its end.
    fn take(&mut self, row: Row, column: ColumnId, range: &SubRange) -> Option<Vec<Keys>> {
        let whole = |list: &&mut List| list.is_whole && list.is_of(row, column, range);
        let list = self.0.iter_mut().find(whole)?;
        Some(std::mem::take(&mut list.pages))
    }

    /// Gives them back: the record may yet have to run again.
    fn give_back(&mut self, row: Row, column: ColumnId, range: &SubRange, pages: Vec<Keys>) {
        if let Some(list) = self.0.iter_mut().find(|list| list.is_of(row, column, range)) {
            list.pages = pages;
        }
    }

    /// Nobody needs what is listed of rows that do not wait.
    pub(super) fn forget(&mut self, is_loading: impl Fn(u32) -> bool) {
        self.0.retain(|list| is_loading(list.row));
    }
}

impl<K: Key> KeyedState<K> {
    /// Takes away all that the row has in `namespace`, in memory and stored. From then on it is known that there is
    /// nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Suspended`] where the keys of what is stored must be read first.
    pub(super) fn clear_namespace<N: SubKey, P: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        namespace: &N,
    ) -> Result<()> {
        let all = || SubRange::of_namespace(namespace);
        let stored = match self.lacking::<(N, P), V>(id, row, all) {
            None => None,
            Some(range) => match self.scans.listed_mut().take(row, id, &range) {
                None => return Err(self.ask_for_keys(id, row, range)),
                Some(pages) => Some((range, pages)),
            },
        };
        for entry in present::<N, P, V>(column(&self.columns, id), row, namespace) {
            self.put_entry::<SubColumn<(N, P), V>, V>(id, entry, None);
        }
        let Some((range, pages)) = stored else { return Ok(()) };
        let buried = self.bury_all::<(N, P), V>(id, row, &pages);
        self.scans.listed_mut().give_back(row, id, &range, pages);
        buried?;
        let entries: &mut SubColumn<(N, P), V> = column_mut(&mut self.columns, id);
        self.effects.learns(id, row, entries.known(row.0));
        if entries.learn(row.0, range, false) {
            self.scans.learnt_much(row.0, id);
        }
        Ok(())
    }

    #[cold]
    fn ask_for_keys(&mut self, id: ColumnId, row: Row, range: SubRange) -> Error {
        if self.scans.listed_mut().begin(row, id, &range) {
            self.scan_keys(id, row, range);
        }
        self.suspend()
    }

    fn bury_all<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        pages: &[Keys],
    ) -> Result<()> {
        for mut sub in pages.iter().flat_map(Keys::iter) {
            let sub = S::decode(&mut sub).map_err(|error: DecodeError| {
                let name = self.columns[id.index()].name();
                Error::new(ErrorKind::Corrupt, format!("item of state {name}: {error}"))
            })?;
            self.bury::<S, V>(id, row, sub);
        }
        Ok(())
    }

    /// Takes away the value of an entry that is stored and was not in memory: if it is there now, that is newer.
    fn bury<S: SubKey, V: Value>(&mut self, id: ColumnId, row: Row, sub: S) {
        let entries: &mut SubColumn<S, V> = column_mut(&mut self.columns, id);
        let (entry, is_new) = entries.find_or_insert(row.0, sub);
        if !is_new {
            return;
        }
        self.set_meta_of(id.index(), entry, Meta::loaded().noted());
        self.created::<S>(id, entry);
        self.touch(id.index(), entry);
        // It is none of those that have a value.
        column_mut::<SubColumn<S, V>>(&mut self.columns, id).turned(entry);
    }
}

/// The row's entries of `namespace` in memory that have a value.
fn present<N: SubKey, P: SubKey, V: Value>(
    entries: &SubColumn<(N, P), V>,
    row: Row,
    namespace: &N,
) -> Vec<u32> {
    let first = |sub: &(N, P)| sub.0.cmp(namespace).then(Ordering::Greater);
    let within = |entry: &u32| entries.sub(*entry).0 == *namespace;
    let has_value = |entry: &u32| entries.values.get(*entry).is_some();
    entries.from(row.0, first).take_while(within).filter(has_value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_were_listed() {
        let mut keys = Keys::default();
        let listed: [&[u8]; 4] = [b"a", b"", &[0, 0, 0, 0, 7], &[b'x'; 300]];
        listed.iter().for_each(|sub| keys.push(sub));
        assert!(keys.iter().eq(listed));
        assert_eq!(Keys::default().iter().count(), 0);
    }

    #[test]
    fn a_list_is_given_out_once_it_is_whole_and_stays_while_its_row_waits() {
        let (row, column) = (Row(3), ColumnId(0));
        let range = SubRange::of_prefix(vec![1]);
        let mut listed = Listed::default();
        assert!(listed.begin(row, column, &range));
        assert!(!listed.begin(row, column, &range), "it is asked for once");
        let page = |sub: &[u8]| {
            let mut keys = Keys::default();
            keys.push(sub);
            keys
        };
        listed.add((row, column, &range), page(&[1, 2]), false);
        assert!(listed.take(row, column, &range).is_none());
        listed.add((row, column, &range), page(&[1, 3]), true);
        assert!(listed.take(row, column, &SubRange::of_prefix(vec![2])).is_none());
        let pages = listed.take(row, column, &range).unwrap();
        let keys: Vec<&[u8]> = pages.iter().flat_map(Keys::iter).collect();
        assert_eq!(keys, [&[1, 2][..], &[1, 3]]);
        listed.give_back(row, column, &range, pages);
        assert!(listed.bytes() >= 2 * (LENGTH + 2));
        listed.forget(|row| row == 3);
        assert_eq!(listed.take(row, column, &range).unwrap().len(), 2);
        listed.forget(|_| false);
        assert!(listed.is_empty());
    }
}
