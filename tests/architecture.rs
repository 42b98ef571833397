//! The architecture as a test: which module may import which, and the form of every file.
//!
//! What is read is text: `crate::name` paths and `super::` chains that leave their module, outside
//! comments. Test code is read too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module imports only from floors below its own; siblings are blind to each other.
///
/// `docs/guide.md` says what they are. Words are made of words, `stream` builds what `task` runs, and `cli` starts
/// `server`.
const FLOORS: &[&[&str]] = &[
    &["error", "fuzzing", "splitmix", "sync", "teeth"],
    &["clock", "codec", "cost_control", "disk", "ids", "io", "metrics", "points"],
    &["config", "handover", "key_group", "record"],
    &["hostile", "state"],
    &["checkpoint", "connector", "exchange", "operator"],
    &["dynamodb"],
    &["task"],
    &["stream"],
    &["runtime"],
    &["server", "simulation", "testing"],
    &["cli"],
];

/// Lines of a file before its tests.
const LONGEST: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, with their paths from the root.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The modules from the crate's root down to a file: `src/a/b.rs` is `[a, b]`.
fn modules(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = path
        .with_extension("")
        .components()
        .skip(1)
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// The text without comments; strings stay, since none of them looks like a path.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The text up to its unit tests.
fn before_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |start| &text[..start])
}

/// The names that follow `prefix` in `code`: one, or all of a group in braces.
fn names_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let starts = |at| !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c));
    code.match_indices(prefix)
        .filter(|(at, _)| starts(*at))
        .flat_map(|(at, _)| names(&code[at + prefix.len()..]))
        .collect()
}

fn names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![first_name(rest)] };
    let mut depth = 0;
    let mut found = vec![first_name(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(first_name(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    found
}

fn first_name(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

/// The top-level modules that a file imports. Capitals are what `lib.rs` re-exports.
fn imports<'a>(modules: &[String], code: &'a str) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = names_after(code, "crate::").into_iter().collect();
    let outside = "super::".repeat(modules.len());
    found.extend(names_after(before_tests(code), &outside));
    found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()) && *name != "super");
    found
}

fn floors() -> BTreeMap<&'static str, usize> {
    let each = |(floor, names): (usize, &&'static [&'static str])| {
        names.iter().map(move |name| (*name, floor))
    };
    FLOORS.iter().enumerate().flat_map(each).collect()
}

#[test]
fn modules_import_only_from_floors_below_their_own() {
    let floors = floors();
    let mut wrong = Vec::new();
    for (path, text) in files("src") {
        let modules = modules(&path);
        let Some(own) = modules.first() else { continue };
        let Some(floor) = floors.get(own.as_str()) else {
            wrong.push(format!("{}: {own} stands on no floor", path.display()));
            continue;
        };
        for name in imports(&modules, &code(&text)) {
            match floors.get(name) {
                Some(other) if name == own || other < floor => {}
                Some(_) => wrong.push(format!("{}: {own} imports {name}", path.display())),
                None => wrong.push(format!("{}: {name} stands on no floor", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_library_re_exports_words_only() {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let words: BTreeSet<_> = FLOORS[..3].concat().into_iter().collect();
    for line in code(&text).lines().filter_map(|line| line.strip_prefix("pub use ")) {
        let name = first_name(line);
        assert!(words.contains(name), "lib.rs re-exports from {name}: name its module instead");
    }
}

#[test]
fn every_file_says_what_it_is() {
    for folder in ["src", "tests", "jobs", "benches"] {
        for (path, text) in files(folder) {
            assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in files("src") {
        let of_tests = modules(&path).iter().any(|name| name == "tests");
        let lines = before_tests(&text).lines().count();
        assert!(of_tests || lines <= LONGEST, "{}: {lines} lines", path.display());
    }
}

#[test]
fn the_readme_and_the_checks_run_the_same_commands() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (readme, checks) = (read("README.md"), read(".ci/run"));
    for command in ["cargo run --release -- run route_stats", "cargo test"] {
        let whole = |line: &str| line.trim() == command;
        // What the first one prints is looked at, so its line goes on.
        let begins = |line: &str| whole(line) || line.trim().starts_with(&format!("{command} >"));
        assert!(readme.lines().any(whole), "README.md does not give `{command}`");
        assert!(checks.lines().any(begins), ".ci/run does not run `{command}`");
    }
    assert!(!checks.contains("|| true"), ".ci/run forgives a failure");
}

/// What a heading's link ends with, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let headings = page.lines().filter_map(|line| {
        in_code ^= line.starts_with("```");
        line.strip_prefix('#').filter(|_| !in_code).map(|rest| rest.trim_start_matches('#').trim())
    });
    headings.map(anchor).collect()
}

#[test]
fn the_documents_link_to_what_is_there() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/design"] {
        let entries =
            std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    let mut links = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link} is not there", page.display());
            let is_there = || anchors(&std::fs::read_to_string(&target).unwrap()).contains(place);
            assert!(place.is_empty() || is_there(), "{}: no heading {link}", page.display());
        }
    }
    assert!(links > 50, "only {links} links were found");
}

#[test]
fn imports_are_found_in_groups_chains_and_plain_paths() {
    let text = "use crate::state::{Row, Column};\nuse crate::{clock::Clock, exchange::{A, B}, io};\n\
                // use crate::server;\nfn f() -> crate::Result<crate::ids::Name> {}\n\
                fn g() { super::super::time::now() }\nuse super::rows;\nuse $crate::macros;";
    let code = code(text);
    let found = imports(&["task".to_owned(), "source".to_owned()], &code);
    let expected = ["clock", "exchange", "ids", "io", "state", "time"];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}
