//! The line of a key in a YAML text.
//!
//! The parser keeps no lines, so this reads block mappings by their indentation. A key that stands
//! in a flow mapping (`{a: 1}`) is not found, and the error then names the file alone.

/// The 1-based line at which dotted `key` gets its value.
pub(super) fn of_key(text: &str, key: &str) -> Option<usize> {
    let mut open: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((indent, name)) = entry(line) else { continue };
        while open.last().is_some_and(|(depth, _)| *depth >= indent) {
            open.pop();
        }
        let path = match open.last() {
            Some((_, parent)) => format!("{parent}.{name}"),
            None => name.to_owned(),
        };
        if path == key {
            return Some(index + 1);
        }
        open.push((indent, path));
    }
    None
}

fn entry(line: &str) -> Option<(usize, &str)> {
    let trimmed = line.trim_start();
    if trimmed.starts_with(['#', '-']) {
        return None;
    }
    let (name, rest) = trimmed.split_once(':')?;
    let value_follows = rest.is_empty() || rest.starts_with([' ', '\t', '\r']);
    value_follows
        .then(|| (line.len() - trimmed.len(), name.trim().trim_matches(['"', '\''])))
        .filter(|(_, name)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_flat_keys_are_found() {
        let text = "# head\nrest:\n  port: 1\nstate.backend:\n  dynamodb:\n    table: t\n  \
                    other: 2\n\"rest.x\": 3\n";
        assert_eq!(of_key(text, "rest.port"), Some(3));
        assert_eq!(of_key(text, "state.backend.dynamodb.table"), Some(6));
        assert_eq!(of_key(text, "state.backend.other"), Some(7));
        assert_eq!(of_key(text, "rest.x"), Some(8));
        assert_eq!(of_key(text, "rest.y"), None);
    }
}
