//! The reference of all keys as Markdown, generated from the table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::draft::Draft;
use super::keys::{KEYS, Key};

/// The page that `docs/configuration.md` holds; `millpond config-reference` prints it.
#[must_use]
pub fn reference() -> String {
    let mut page = include_str!("reference.md").to_owned();
    let mut sections: Vec<&str> = KEYS.iter().copied().map(section).collect();
    let mut seen = BTreeSet::new();
    sections.retain(|name| seen.insert(*name));
    for name in sections {
        let _ = write!(page, "\n## {name}\n");
        for key in KEYS.iter().filter(|key| section(key) == name) {
            write_key(&mut page, key);
        }
    }
    page
}

fn section(key: &Key) -> &'static str {
    key.name.split('.').next().unwrap_or_default()
}

fn write_key(page: &mut String, key: &Key) {
    let default = match (key.default_note, key.kind.default_text(&mut Draft::default())) {
        (Some(note), _) => note.to_owned(),
        (None, Some(text)) => format!("`{text}`"),
        (None, None) => "none".to_owned(),
    };
    let also = key.also.map(|name| format!(" Also: `{name}`.")).unwrap_or_default();
    let _ = write!(
        page,
        "\n### `{}`\n\nType: {}. Default: {default}. Example: `{}`. Variable: `{}`.{also}\n\n{}\n",
        key.name,
        key.kind.describe(),
        key.example,
        key.variable(),
        key.doc,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == reference(),
            "docs/configuration.md is out of date; \
             run `cargo run -- config-reference > docs/configuration.md`"
        );
    }
}
