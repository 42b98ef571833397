//! Cuts the first record off a run of bytes, and bounds what a line that has no end can take.
//!
//! Owns what becomes of a record that is too long or never closed. Where the bytes come from, and what
//! the position becomes, is the readers' (`split_reader`, standard input).

use memchr::memchr;

use super::format::{Format, Frame};

/// How much of an overlong line a dead letter shows at most, in bytes.
const RAW_BYTES: usize = 4096;

/// The first record of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Record {
        end: usize,
        next: usize,
        newlines: u64,
    },
    /// It can be no record; what is rejected is its first line alone, so that one quote too many
    /// does not take the rest of the file with it.
    Broken {
        /// How much of it a dead letter shows, in bytes.
        shown: usize,
        next: usize,
        newlines: u64,
        reason: String,
    },
    /// Its end is not in the bytes.
    Starved,
    /// Its first line is too long already, and does not end in the bytes.
    Overlong {
        /// How much of it a dead letter shows, in bytes.
        shown: usize,
    },
}

/// Cuts the first record off `rest`. What comes out depends on the file's bytes from the record's
/// start on, never on how much of them is there: a restart cuts the same.
#[inline]
pub(crate) fn cut<F: Format>(format: &F, rest: &[u8], last: bool, max_line: usize) -> Cut {
    // One more than a line may have: it may be a carriage return that does not count.
    let may_go_on = rest.len() <= max_line.saturating_add(1);
    let reason = match format.frame(rest, last) {
        Frame::Record { end, next, newlines } if end <= max_line => {
            return Cut::Record { end, next, newlines };
        }
        Frame::More if may_go_on => return Cut::Starved,
        Frame::Unclosed if may_go_on => "a quote is not closed".to_owned(),
        // So it was before its end was here, if it is unclosed.
        Frame::Record { .. } | Frame::More | Frame::Unclosed => long_reason(max_line),
    };
    // No more than is there whenever a line is known to be too long.
    let overlong = RAW_BYTES.min(max_line);
    let shown = |end: usize| if end > max_line { overlong } else { end };
    match memchr(b'\n', rest) {
        Some(at) => {
            let end = at - usize::from(at > 0 && rest[at - 1] == b'\r');
            Cut::Broken { shown: shown(end), next: at + 1, newlines: 1, reason }
        }
        None if last => {
            Cut::Broken { shown: shown(rest.len()), next: rest.len(), newlines: 0, reason }
        }
        None => Cut::Overlong { shown: overlong },
    }
}

pub(crate) fn long_reason(max_line: usize) -> String {
    format!("longer than max_line_length ({max_line} bytes)")
}

#[cfg(test)]
mod tests {
    use super::super::format::Lines;
    use super::*;

    #[test]
    fn the_longest_line_may_be_any_length() {
        for max_line in [usize::MAX, usize::MAX - 1] {
            assert_eq!(cut(&Lines, b"half a line", false, max_line), Cut::Starved);
            let whole = cut(&Lines, b"a line\n", false, max_line);
            assert_eq!(whole, Cut::Record { end: 6, next: 7, newlines: 1 });
        }
    }
}
