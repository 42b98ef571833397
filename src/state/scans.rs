//! The ranges that records of one subtask wait for, and what rows know because of them.
//!
//! Owns which ranges are to be asked for, which are asked for ahead and not answered yet, and which rows know or list
//! more than is kept of them beyond the records that need it. Asking and answering is `suspend`'s, what is listed
//! `clearing`'s.

use hashbrown::HashMap;

use super::clearing::Listed;
use super::descriptor::ColumnId;
use super::known::SubRange;
use super::suspend::Scan;

/// What is being read of ranges.
#[derive(Debug, Default)]
pub(super) struct Scans {
    /// Necessary since they were taken last.
    new: Vec<Scan>,
    /// Those of whole ranges that are not answered yet, by row.
    asked: HashMap<u32, Vec<(ColumnId, SubRange)>>,
    /// Rows that know more ranges of a state than are kept, because records of theirs still need them.
    learnt_much: Vec<(ColumnId, u32)>,
    listed: Listed,
}

impl Scans {
    /// One has become necessary.
    pub(super) fn push(&mut self, scan: Scan) {
        self.new.push(scan);
    }

    /// Those that became necessary since the last call.
    pub(super) fn take(&mut self) -> Vec<Scan> {
        std::mem::take(&mut self.new)
    }

    /// All of a range is asked for.
    pub(super) fn ask(&mut self, row: u32, column: ColumnId, range: SubRange) {
        self.asked.entry(row).or_default().push((column, range));
    }

    /// Whether all of a range is asked for and not answered yet.
    pub(super) fn is_asked(&self, row: u32, column: ColumnId, range: &SubRange) -> bool {
        let is_it = |(other, asked): &(ColumnId, SubRange)| *other == column && asked == range;
        self.asked.get(&row).is_some_and(|asked| asked.iter().any(is_it))
    }

    /// All of a range is answered.
    pub(super) fn end(&mut self, row: u32, column: ColumnId, range: &SubRange) {
        if let Some(asked) = self.asked.get_mut(&row) {
            asked.retain(|(other, asked)| *other != column || asked != range);
            if asked.is_empty() {
                self.asked.remove(&row);
            }
        }
    }

    /// The row knows more ranges than are kept.
    pub(super) fn learnt_much(&mut self, row: u32, column: ColumnId) {
        self.learnt_much.push((column, row));
    }

    /// The keys that are to be cleared.
    pub(super) fn listed(&self) -> &Listed {
        &self.listed
    }

    /// The same, to be changed.
    pub(super) fn listed_mut(&mut self) -> &mut Listed {
        &mut self.listed
    }

    /// Whether there are rows of which more is known or listed than is kept.
    #[inline]
    pub(super) fn has_extra(&self) -> bool {
        !(self.learnt_much.is_empty() && self.listed.is_empty())
    }

    /// No record needs what is known or listed of rows that do not wait; `forget` is called for each that knows too
    /// much.
    pub(super) fn forget(
        &mut self,
        is_loading: impl Fn(u32) -> bool,
        mut forget: impl FnMut(ColumnId, u32),
    ) {
        self.listed.forget(&is_loading);
        self.learnt_much.retain(|&(column, row)| {
            let is_needed = is_loading(row);
            if !is_needed {
                forget(column, row);
            }
            is_needed
        });
    }
}
