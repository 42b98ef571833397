//! The files that a glob matches.
//!
//! Owns the walk; one component of a pattern is compared by the `glob` crate. That crate's own walk passes over
//! names that are not UTF-8 without a word, and takes names that begin with a dot: an editor's copies, and what
//! another job has staged and not committed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use crate::error::{Error, Result};

/// Where relative patterns begin.
const HERE: &str = ".";

/// All that matches `pattern`, in no order, whether it is a file or not, and whether its path is UTF-8 or not.
/// A name that begins with a dot is matched only by a component that does. `**` is any number of folders.
pub(super) fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let (mut root, mut parts) = (PathBuf::new(), Vec::new());
    for component in Path::new(pattern).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => root.push(component),
            Component::CurDir => {}
            Component::ParentDir => parts.push(Part::Name("..".to_owned())),
            Component::Normal(name) => {
                // Always whole: the pattern is text.
                let part = Part::of(&name.to_string_lossy()).map_err(|e| {
                    Error::usage(format!("the pattern {pattern:?} is not valid: {e}"))
                })?;
                // Two of `**` mean what one does, and would find all of it again and again.
                if !matches!((parts.last(), &part), (Some(Part::Folders), Part::Folders)) {
                    parts.push(part);
                }
            }
        }
    }
    let mut found = Vec::new();
    // One that ends so means folders.
    if !pattern.ends_with(std::path::is_separator) {
        walk(&root, &parts, &mut Vec::new(), &mut found)?;
    }
    Ok(found)
}

/// One component of a pattern.
enum Part {
    /// Without wildcards.
    Name(String),
    /// `**`
    Folders,
    Matching(Pattern),
}

impl Part {
    fn of(text: &str) -> std::result::Result<Self, glob::PatternError> {
        let pattern = Pattern::new(text)?;
        Ok(match text {
            "**" => Self::Folders,
            _ if text.contains(['*', '?', '[']) => Self::Matching(pattern),
            _ => Self::Name(text.to_owned()),
        })
    }
}

/// Adds what matches `parts` in `folder`; `above` are the folders on the way that `**` has entered, as the
/// system knows them: a link to one of them would lead in circles.
fn walk(
    folder: &Path,
    parts: &[Part],
    above: &mut Vec<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        // `.` and the empty pattern have no parts.
        found.push(here(folder).to_owned());
        return Ok(());
    };
    match part {
        Part::Name(name) => {
            let path = folder.join(name);
            if rest.is_empty() && fs::symlink_metadata(&path).is_err() {
                return Ok(());
            }
            walk(&path, rest, above, found)
        }
        Part::Matching(pattern) => {
            let takes_dots = pattern.as_str().starts_with('.');
            for (name, path) in entries(folder)? {
                // Approximate where it is not UTF-8, so that whoever asks hears of that.
                let name = name.to_string_lossy();
                let is_hidden = name.starts_with('.') && !takes_dots;
                if !is_hidden && pattern.matches(&name) && (rest.is_empty() || path.is_dir()) {
                    walk(&path, rest, above, found)?;
                }
            }
            Ok(())
        }
        Part::Folders => {
            let Ok(real) = fs::canonicalize(here(folder)) else { return Ok(()) };
            if above.contains(&real) {
                return Ok(());
            }
            above.push(real);
            // At any depth, this one included; `**` by itself means folders, and reads nothing.
            if !rest.is_empty() {
                walk(folder, rest, &mut Vec::new(), found)?;
                for (name, path) in entries(folder)? {
                    if !name.as_encoded_bytes().starts_with(b".") && path.is_dir() {
                        walk(&path, parts, above, found)?;
                    }
                }
            }
            above.pop();
            Ok(())
        }
    }
}

fn here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(HERE) } else { folder }
}

/// The names in `folder` and their paths; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<(std::ffi::OsString, PathBuf)>> {
    let missing =
        |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let listed = match fs::read_dir(here(folder)) {
        Err(e) if missing(&e) => return Ok(Vec::new()),
        listed => listed,
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
    let named = |name: &OsStr| (name.to_owned(), folder.join(name));
    listed
        .and_then(|listed| {
            listed.map(|entry| name(entry).map(|name| named(&name))).collect::<io::Result<_>>()
        })
        .map_err(|e| Error::io("read the folder", here(folder), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What matches `pattern` of the files `names`, as they stand in a folder of their own.
    fn matched(names: &[&str], pattern: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let all = matching(&format!("{}/{pattern}", folder.path().display())).unwrap();
        let mut relative: Vec<_> = all
            .iter()
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned())
            .collect();
        relative.sort();
        relative
    }

    const FILES: [&str; 9] = [
        "a.csv",
        "b.csv",
        ".a.csv.swp",
        ".hidden.csv",
        "out/c.csv",
        "out/deep/d.csv",
        "out/.staging/part.csv",
        "out/.millpond/1.csv",
        "[x]/y.csv",
    ];

    #[test]
    fn what_begins_with_a_dot_is_matched_where_the_pattern_says_so() {
        for (pattern, files) in [
            ("*", &["a.csv", "b.csv"][..]),
            ("*.csv*", &["a.csv", "b.csv"]),
            (".*", &[".a.csv.swp", ".hidden.csv"]),
            (".h*", &[".hidden.csv"]),
            ("out/**/*.csv", &["out/c.csv", "out/deep/d.csv"]),
            ("out/.staging/*", &["out/.staging/part.csv"]),
            ("out/.*/*", &["out/.millpond/1.csv", "out/.staging/part.csv"]),
            ("out/*/*.csv", &["out/deep/d.csv"]),
        ] {
            assert_eq!(matched(&FILES, pattern), files, "{pattern}");
        }
    }

    #[test]
    fn components_mean_what_they_meant() {
        for (pattern, files) in [
            ("**/*.csv", &["[x]/y.csv", "a.csv", "b.csv", "out/c.csv", "out/deep/d.csv"][..]),
            ("**/deep/?.csv", &["out/deep/d.csv"]),
            ("[ab].csv", &["a.csv", "b.csv"]),
            ("[!a].csv", &["b.csv"]),
            ("[[]x]/*", &["[x]/y.csv"]),
            ("out/../a*", &["out/../a.csv"]),
            ("./o*/./c.csv", &["out/c.csv"]),
            ("out/c.csv", &["out/c.csv"]),
            ("out/none.csv", &[]),
            ("a.csv/*", &[]),
            ("none/*", &[]),
            ("none/**/*", &[]),
            ("out/**", &[]),
            ("o*/", &[]),
        ] {
            assert_eq!(matched(&FILES, pattern), files, "{pattern}");
        }
        for pattern in ["", ".", "./."] {
            assert_eq!(matching(pattern).unwrap(), [Path::new(".")], "{pattern}");
        }
        let error = matching("a/**b/c").unwrap_err().to_string();
        assert!(error.starts_with("the pattern \"a/**b/c\" is not valid: "), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_is_followed_and_leads_in_no_circle() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("x"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), inner.join("up")).unwrap();
        std::os::unix::fs::symlink(&inner, folder.path().join("beside")).unwrap();
        let found = matching(&format!("{}/**/x", folder.path().display())).unwrap();
        let mut found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
        found.sort();
        assert_eq!(found, [Path::new("a/b/x"), Path::new("beside/x")]);
    }
}
