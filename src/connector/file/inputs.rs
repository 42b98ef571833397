//! Where a file source's bytes are: patterns on disk, or files compiled into the binary.
//!
//! Owns what a pattern stands for and reading at an offset. What a glob matches is `pattern`'s. Does not know
//! records.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::pattern::matching;
use crate::connector::seen_from::seen_from;
use crate::disk::Identity;
use crate::error::{Error, ErrorKind, Result};

/// How much of a file's start its hash covers, in bytes.
pub(super) const HEAD_BYTES: u64 = 4096;

/// The files of a source: paths or globs, and files compiled in. A text is one pattern:
/// `"docs/*.md".into()`.
#[derive(Clone, Default)]
pub struct Inputs {
    patterns: Vec<String>,
    embedded: Vec<Embedded>,
}

#[derive(Clone, Copy)]
struct Embedded {
    name: &'static str,
    bytes: &'static [u8],
}

impl Inputs {
    /// A file compiled into the binary, by a name for messages and positions.
    #[must_use]
    pub fn embedded(name: &'static str, bytes: &'static [u8]) -> Self {
        Self { patterns: Vec::new(), embedded: vec![Embedded { name, bytes }] }
    }

    /// These and the files of `more`. A file that several patterns match is read once, whatever its path.
    #[must_use]
    pub fn and(mut self, more: impl Into<Self>) -> Self {
        let more = more.into();
        self.patterns.extend(more.patterns);
        self.embedded.extend(more.embedded);
        self
    }

    pub(super) fn are(&self, patterns: &[&str]) -> bool {
        self.patterns == patterns && self.embedded.is_empty()
    }

    pub(super) fn describe(&self) -> String {
        let compiled = self.embedded.iter().map(|e| format!("{} (compiled in)", e.name));
        self.patterns.iter().cloned().chain(compiled).collect::<Vec<_>>().join(", ")
    }

    /// All files, in a stable order, each once.
    pub(super) fn expand(&self) -> Result<Vec<Place>> {
        if self.patterns.is_empty() && self.embedded.is_empty() {
            return Err(Error::usage("a file source without any file"));
        }
        let mut paths = Vec::new();
        for pattern in &self.patterns {
            paths.extend(expand_pattern(pattern)?);
        }
        paths.sort();
        let (mut places, mut seen) = (Vec::new(), HashSet::new());
        for path in paths {
            let Some(text) = path.to_str().map(str::to_owned) else {
                let message = format!(
                    "the path {path:?} is not UTF-8, so no checkpoint could say how far it was read: \
                     rename it, or name the others by a pattern that it does not match"
                );
                return Err(Error::usage(message));
            };
            // One file may have several paths: it keeps the first.
            let real = path.canonicalize().map_err(|e| Error::io("look for", &path, e))?;
            if seen.insert(real) {
                places.push(Place::Path(text));
            }
        }
        places.extend(self.embedded.iter().map(|e| Place::Embedded(e.name.to_owned())));
        Ok(places)
    }

    /// Opens `place` for reading.
    pub(super) fn open(&self, place: &Place) -> Result<Handle> {
        match place {
            Place::Path(path) => match File::open(path) {
                Ok(file) => Ok(Handle::File(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(gone(place).with_source(e)),
                Err(e) => Err(Error::io("open", Path::new(path), e)),
            },
            Place::Embedded(name) => match self.embedded.iter().find(|e| e.name == name) {
                Some(embedded) => Ok(Handle::Bytes(embedded.bytes)),
                None => Err(gone(place)),
            },
        }
    }
}

/// Positions keep paths as they were given, so that a folder may be moved with the inputs in it: a
/// relative one is looked for from wherever the job is run.
pub(super) fn gone(place: &Place) -> Error {
    let from = match place {
        Place::Path(path) => seen_from(Path::new(path)),
        Place::Embedded(_) => String::new(),
    };
    Error::new(ErrorKind::Input, format!("the input {place} is gone{from}"))
}

fn expand_pattern(pattern: &str) -> Result<Vec<PathBuf>> {
    // A path that exists as it is written wins: `[` and `*` may stand in names.
    if Path::new(pattern).is_file() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    if pattern == "-" {
        return Err(Error::usage("this source reads files, not standard input (-)"));
    }
    let mut paths = Vec::new();
    for path in matching(pattern)? {
        if path.is_file() {
            paths.push(path);
        } else if !path.is_dir() {
            let message = format!(
                "{} is no regular file: it could not be read again after a crash",
                path.display()
            );
            return Err(Error::usage(message));
        }
    }
    if paths.is_empty() {
        let from = seen_from(Path::new(pattern));
        if Path::new(pattern).is_dir() {
            return Err(Error::usage(format!(
                "{pattern:?}{from} is a folder: name its files by a glob, such as \"{}\"",
                Path::new(pattern).join("*").display()
            )));
        }
        return Err(Error::usage(format!("no file matches {pattern:?}{from}")));
    }
    Ok(paths)
}

impl From<&str> for Inputs {
    fn from(pattern: &str) -> Self {
        Self { patterns: vec![pattern.to_owned()], embedded: Vec::new() }
    }
}

impl From<String> for Inputs {
    fn from(pattern: String) -> Self {
        Self { patterns: vec![pattern], embedded: Vec::new() }
    }
}

impl From<&String> for Inputs {
    fn from(pattern: &String) -> Self {
        pattern.as_str().into()
    }
}

/// A path taken as it is written, unless no such file exists and it matches as a glob.
impl From<&Path> for Inputs {
    fn from(path: &Path) -> Self {
        path.to_string_lossy().into_owned().into()
    }
}

impl From<PathBuf> for Inputs {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inputs({})", self.describe())
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) enum Place {
    Path(String),
    Embedded(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) | Self::Embedded(name) => f.write_str(name),
        }
    }
}

/// What has become of the name of an open file, which can be read on whatever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It leads to this file.
    Here,
    /// It leads to another one.
    Replaced,
    /// There is no file of this name.
    Gone,
}

/// An open file. All calls may block.
#[derive(Debug)]
pub(super) enum Handle {
    File(File),
    Bytes(&'static [u8]),
}

impl Handle {
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Appends up to `most` bytes from `offset` on; fewer only at the end of the file.
    pub(super) fn read_at(&mut self, offset: u64, most: u64, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(offset))?;
                file.take(most).read_to_end(out).map(|_| ())
            }
            Self::Bytes(bytes) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let rest = &bytes[at..];
                let n = usize::try_from(most).unwrap_or(usize::MAX).min(rest.len());
                out.extend_from_slice(&rest[..n]);
                Ok(())
            }
        }
    }

    /// What `place`, under which this was opened, leads to now.
    pub(super) fn standing(&self, place: &Place) -> io::Result<Standing> {
        let (Self::File(file), Place::Path(path)) = (self, place) else {
            return Ok(Standing::Here);
        };
        match std::fs::metadata(path) {
            Ok(found) if Identity::of(&found) == Identity::of(&file.metadata()?) => {
                Ok(Standing::Here)
            }
            Ok(_) => Ok(Standing::Replaced),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Standing::Gone),
            Err(e) => Err(e),
        }
    }

    /// The hash of the first `n` bytes.
    pub(super) fn head_hash(&mut self, n: u64) -> io::Result<u64> {
        let mut head = Vec::new();
        self.read_at(0, n, &mut head)?;
        Ok(xxh3_64(&head))
    }

    /// How many newlines stand before `offset`.
    pub(super) fn newlines_before(&mut self, offset: u64) -> io::Result<u64> {
        let (mut at, mut lines, mut chunk) = (0, 0, Vec::new());
        while at < offset {
            chunk.clear();
            self.read_at(at, (offset - at).min(1 << 20), &mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            lines += memchr::memchr_iter(b'\n', &chunk).count() as u64;
            at += chunk.len() as u64;
        }
        Ok(lines)
    }
}
