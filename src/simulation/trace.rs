//! What happened in a simulated run, one line for each thing: kept, and boiled down to one number.
//!
//! Two runs of one seed have the same lines, byte for byte; nothing may get into them that differs
//! between processes, such as an address, a header or the order of a hash map.

use std::collections::VecDeque;
use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// Lines that a run keeps which nobody wants to read whole: a failure shows them.
const TAIL: usize = 60;

/// The lines of a run.
pub(super) struct Trace {
    hash: Xxh3,
    lines: VecDeque<String>,
    whole: bool,
    count: u64,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace of {} lines", self.count)
    }
}

impl Trace {
    /// An empty one; `whole`: every line is kept, not only the last ones.
    pub(super) fn new(whole: bool) -> Self {
        Self { hash: Xxh3::new(), lines: VecDeque::new(), whole, count: 0 }
    }

    /// Adds what happened at `at_ms` of the run.
    pub(super) fn line(&mut self, at_ms: u64, what: impl fmt::Display) {
        let line = format!("{at_ms:>7} {what}");
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        self.count += 1;
        if !self.whole && self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// A number that all lines go into, those that were not kept too.
    pub(super) fn digest(&self) -> u64 {
        self.hash.digest()
    }

    /// Those that were kept.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_knows_lines_that_are_not_kept() {
        let digest = |first: u32| {
            let mut trace = Trace::new(false);
            (first..first + 200).for_each(|n| trace.line(0, if n == first { n } else { 7 }));
            assert_eq!((trace.lines().len(), trace.count), (TAIL, 200));
            (trace.lines(), trace.digest())
        };
        assert_eq!(digest(1).0, digest(2).0);
        assert_ne!(digest(1).1, digest(2).1);
    }
}
