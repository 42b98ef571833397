//! Committed output, and whether two are equal.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::text::grouped;
use crate::error::{Error, Result};

/// All lines of the committed files of `folder`, sorted. Names that start with a dot are the sink's
/// own: staged files among them, which nobody may read.
pub(super) fn lines(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read", folder, e))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort_unstable();
    Ok(lines)
}

/// How the disturbed run's output compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Lines of the undisturbed run.
    pub(super) expected: usize,
    /// Lines that the disturbed run lacks.
    pub(super) lost: usize,
    /// Lines that it has too many.
    pub(super) surplus: usize,
    /// One of them.
    pub(super) example: Option<String>,
}

impl Comparison {
    /// Compares as multisets: a line that is there twice is not one that is there once.
    pub(super) fn of(expected: &[String], found: &[String]) -> Self {
        let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
        for line in expected {
            *balance.entry(line).or_default() += 1;
        }
        for line in found {
            *balance.entry(line).or_default() -= 1;
        }
        let sum = |sign: i64| balance.values().map(|n| (n * sign).max(0) as usize).sum();
        let example = balance.iter().find(|(_, n)| **n != 0).map(|(line, _)| (*line).to_owned());
        Self { expected: expected.len(), lost: sum(1), surplus: sum(-1), example }
    }

    /// Whether nothing is lost and nothing is there twice. No output at all proves nothing.
    pub(super) fn is_equal(&self) -> bool {
        self.expected > 0 && self.lost == 0 && self.surplus == 0
    }

    /// How they differ, in words.
    pub(super) fn difference(&self) -> String {
        format!(
            "the outputs are not equal: of {} lines {} are lost, {} are too many{}",
            grouped(self.expected as u64),
            self.lost,
            self.surplus,
            self.example.as_ref().map_or(String::new(), |line| format!(", such as {line:?}")),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expected: &[&str], found: &[&str]) -> Comparison {
        let own = |lines: &[&str]| lines.iter().map(|&l| l.to_owned()).collect::<Vec<_>>();
        Comparison::of(&own(expected), &own(found))
    }

    #[test]
    fn lost_and_doubled_lines_are_counted() {
        assert!(of(&["a", "b", "b"], &["b", "a", "b"]).is_equal());
        assert!(!of(&[], &[]).is_equal());
        let comparison = of(&["a", "b", "b"], &["a", "a", "b"]);
        assert_eq!((comparison.lost, comparison.surplus), (1, 1));
        assert_eq!(comparison.example.as_deref(), Some("a"));
        assert!(!comparison.is_equal());
    }

    #[test]
    fn staged_files_are_no_output() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".staging")).unwrap();
        for (name, text) in
            [("b.csv", "3\n1\n"), ("a.csv", "2\n"), (".run", "4\n"), (".staging/c.csv", "5\n")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(lines(folder.path()).unwrap(), ["1", "2", "3"]);
    }
}
