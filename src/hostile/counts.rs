//! How many faults of each kind there were.

use std::fmt;

use super::plan::Fault;

/// Calls and faults since the beginning. Prints those that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the SDK.
    pub calls: u64,
    /// Requests that were applied after their caller had its answer or had given up: late ones and
    /// second copies.
    pub landed_late: u64,
    /// Calls that were throttled, whole or in part, because of [`super::Plan::limits`].
    pub over_limit: u64,
    faults: [u64; Fault::ALL.len()],
}

impl Counts {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// The faults of one kind that really took place.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// The faults of all kinds.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {} faults", self.calls, self.faults())?;
        let mut before = ": ";
        for fault in Fault::ALL.into_iter().filter(|fault| self.of(*fault) > 0) {
            write!(f, "{before}{} {}", self.of(fault), fault.name())?;
            before = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_is_printed() {
        let mut counts = Counts { calls: 9, ..Counts::default() };
        assert_eq!(counts.to_string(), "9 calls, 0 faults");
        counts.add(Fault::Late);
        counts.add(Fault::Twice);
        counts.add(Fault::Late);
        assert_eq!(counts.to_string(), "9 calls, 3 faults: 2 late, 1 twice");
    }
}
