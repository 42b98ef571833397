//! What a marker of an output folder says: whose results are there, and which attempts have written them.
//!
//! Owns its form and its rules. Which markers there are, and what follows from them, is `folder`'s.

use serde::{Deserialize, Serialize};

use crate::connector::RunIdentity;

/// How many ranges of attempts a marker keeps. There is one more for each time that attempts went by without the
/// folder, and what is owed is of the last ones; output of
/// attempts that fall out may be reported as lost although it is not.
const RANGES: usize = 100;

/// Who writes to the folder: `.millpond/<attempt>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) job: String,
    pub(super) incarnation: u64,
    pub(super) attempt: u64,
    /// The claim's own text, so that no two attempts have equal markers, even where a lost head made
    /// their numbers begin again. None in markers of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    owner: String,
    /// The attempts of this incarnation that have claimed the folder, or what it is a copy of, as ranges from
    /// first to last: no other has staged anything in it. None in markers of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<(u64, u64)>,
}

impl Marker {
    pub(super) fn of(run: &RunIdentity) -> Self {
        Self {
            job: run.job.as_str().to_owned(),
            incarnation: run.incarnation.0,
            attempt: run.attempt.0,
            owner: run.owner.clone(),
            attempts: vec![(run.attempt.0, run.attempt.0)],
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}.json", self.attempt)
    }

    pub(super) fn same_run(&self, other: &Self) -> bool {
        self.job == other.job && self.incarnation == other.incarnation
    }

    /// Whether `other` is of an attempt that came after this one.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.job == other.job && self.attempt < other.attempt
    }

    /// Takes over which attempts have claimed the folder from the markers that were `found` in it.
    pub(super) fn follow(&mut self, found: &[Self]) {
        let same = found.iter().filter(|marker| self.same_run(marker));
        let mut all: Vec<_> = same.flat_map(Self::ranges).collect();
        all.append(&mut self.attempts);
        all.sort_unstable();
        for (first, last) in all {
            match self.attempts.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => self.attempts.push((first, last)),
            }
        }
        let too_many = self.attempts.len().saturating_sub(RANGES);
        self.attempts.drain(..too_many);
    }

    /// Whether `attempt` has claimed the folder.
    pub(super) fn covers(&self, attempt: u64) -> bool {
        self.ranges().iter().any(|(first, last)| (*first..=*last).contains(&attempt))
    }

    /// An earlier version has not told, and took all that came before for its folder's.
    fn ranges(&self) -> Vec<(u64, u64)> {
        if self.attempts.is_empty() { vec![(0, self.attempt)] } else { self.attempts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(attempt: u64, attempts: &[(u64, u64)]) -> Marker {
        let (job, owner) = ("job".to_owned(), String::new());
        Marker { job, incarnation: 1, attempt, owner, attempts: attempts.to_vec() }
    }

    #[test]
    fn attempts_are_kept_as_ranges_and_those_without_the_folder_are_not() {
        let mut mine = marker(9, &[(9, 9)]);
        mine.follow(&[marker(4, &[(1, 2), (4, 4)]), marker(5, &[(1, 2), (4, 5)])]);
        assert_eq!(mine.attempts, [(1, 2), (4, 5), (9, 9)]);
        let covered: Vec<u64> = (0..=10).filter(|attempt| mine.covers(*attempt)).collect();
        assert_eq!(covered, [1, 2, 4, 5, 9]);
        let mut next = marker(10, &[(10, 10)]);
        let another = Marker { incarnation: 2, ..marker(8, &[(7, 8)]) };
        next.follow(&[another, mine]);
        assert_eq!(next.attempts, [(1, 2), (4, 5), (9, 10)]);
    }

    #[test]
    fn a_marker_of_an_earlier_version_covers_all_before_it() {
        let old: Marker =
            serde_json::from_str(r#"{"job":"job","incarnation":1,"attempt":4}"#).unwrap();
        assert!(old.covers(1) && old.covers(4) && !old.covers(5));
        let mut mine = marker(6, &[(6, 6)]);
        mine.follow(&[old]);
        assert_eq!(mine.attempts, [(0, 4), (6, 6)]);
    }

    #[test]
    fn a_marker_stays_small() {
        let mut mine = marker(0, &[(0, 0)]);
        for attempt in 1..1_000 {
            let before =
                std::mem::replace(&mut mine, marker(attempt * 2, &[(attempt * 2, attempt * 2)]));
            mine.follow(&[before]);
        }
        assert_eq!(mine.attempts.len(), RANGES);
        assert!(mine.covers(1_998) && !mine.covers(2));
    }
}
