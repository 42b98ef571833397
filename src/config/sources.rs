//! Where settings are given: a YAML file, the environment, the command line.
//!
//! Owns turning each of them into pairs of key and text, with the place that each came from. Does
//! not know what the keys mean: that is `load`'s and the table's.

use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{Source, Value, ValueKind};

use super::keys::{ENV_PREFIX, KEYS, variable};
use super::{lines, nearest, service_links};

/// The places that settings are read from; later ones win.
#[derive(Clone, Default)]
pub struct Sources {
    /// A YAML file.
    pub file: Option<PathBuf>,
    /// Variables of the environment; those that do not start with `MILLPOND_` are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value`, as given to `-D`.
    pub definitions: Vec<String>,
    /// Options that stand for a key: the option, the key and the value.
    pub options: Vec<(&'static str, &'static str, String)>,
}

impl fmt::Debug for Sources {
    /// Without values: there may be secrets among them, under mistyped keys too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The variable that filters logs: it must work where settings are wrong.
pub const LOG_VARIABLE: &str = "MILLPOND_LOG";

/// Variables with our prefix that are no settings.
const NOT_SETTINGS: [&str; 3] =
    [LOG_VARIABLE, crate::points::KILL_VARIABLE, crate::points::STOP_VARIABLE];

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File { path: PathBuf, line: Option<usize> },
    Variable(String),
    Definition,
    Option(&'static str),
}

impl Place {
    /// The greater one wins; what is on the command line is one place.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Variable(_) => 1,
            Self::Definition | Self::Option(_) => 2,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Definition => f.write_str("-D"),
            Self::Option(name) => f.write_str(name),
        }
    }
}

/// A key and its text, as somebody gave them.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) place: Place,
    /// The text was a YAML number or boolean and may not be what was written.
    pub(super) retyped: bool,
}

/// Everything that was given, in the order in which later wins. Problems go to `problems`.
pub(super) fn collect(sources: &Sources, problems: &mut Vec<String>) -> Vec<Given> {
    let mut given = Vec::new();
    if let Some(path) = &sources.file {
        match std::fs::read_to_string(path) {
            Ok(text) => given.extend(from_yaml(path, &text, problems)),
            Err(e) => problems.push(format!("cannot read {}: {e}", path.display())),
        }
    }
    let (links, variables): (Vec<_>, Vec<_>) =
        sources.environment.iter().partition(|(name, text)| service_links::is_one(name, text));
    service_links::tell(&links);
    for (name, text) in variables {
        given.extend(from_variable(name, text, problems));
    }
    for definition in &sources.definitions {
        given.extend(from_definition(definition, problems));
    }
    for (option, key, text) in &sources.options {
        given.push(Given {
            key: (*key).to_owned(),
            text: text.trim().to_owned(),
            place: Place::Option(option),
            retyped: false,
        });
    }
    given
}

fn from_yaml(path: &Path, text: &str, problems: &mut Vec<String>) -> Vec<Given> {
    let parsed = ::config::File::from_str(text, ::config::FileFormat::Yaml).collect();
    let root = match parsed {
        Ok(root) => root,
        Err(e) => {
            problems.push(format!("{} is not a YAML mapping: {e}", path.display()));
            return Vec::new();
        }
    };
    let mut reader = Yaml { path, text, given: Vec::new(), problems };
    reader.table("", root);
    let Yaml { mut given, .. } = reader;
    given.sort_by(|a, b| a.key.cmp(&b.key));
    for pair in given.windows(2) {
        if pair[0].key == pair[1].key {
            problems.push(format!("{} is given twice in {}", pair[0].key, path.display()));
        }
    }
    given
}

/// Flattens nested mappings into dotted keys.
struct Yaml<'a> {
    path: &'a Path,
    text: &'a str,
    given: Vec<Given>,
    problems: &'a mut Vec<String>,
}

impl Yaml<'_> {
    fn table(&mut self, prefix: &str, table: impl IntoIterator<Item = (String, Value)>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            self.value(key, value);
        }
    }

    fn value(&mut self, key: String, value: Value) {
        let retyped = !matches!(value.kind, ValueKind::String(_));
        let line = lines::of_key(self.text, &key);
        let place = Place::File { path: self.path.to_owned(), line };
        match value.kind {
            ValueKind::Table(table) => self.table(&key, table),
            ValueKind::Nil => self.problems.push(format!("{key} has no value ({place})")),
            ValueKind::Array(_) => {
                self.problems.push(format!("{key} is a list ({place}); it must be one value"));
            }
            other => {
                let text = other.to_string().trim().to_owned();
                self.given.push(Given { key, text, place, retyped });
            }
        }
    }
}

fn from_variable(name: &str, text: &str, problems: &mut Vec<String>) -> Option<Given> {
    if !name.starts_with(ENV_PREFIX) || NOT_SETTINGS.contains(&name) {
        return None;
    }
    let keys: Vec<&str> = KEYS.iter().flat_map(|key| key.names()).collect();
    let known: Vec<String> = keys.iter().map(|key| variable(key)).collect();
    match known.iter().position(|variable| variable == name) {
        Some(index) => Some(Given {
            key: keys[index].to_owned(),
            text: text.trim().to_owned(),
            place: Place::Variable(name.to_owned()),
            retyped: false,
        }),
        None => {
            let meant = nearest::find(name, known.iter().map(String::as_str))
                .map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
            problems.push(format!("environment variable {name} is no setting{meant}"));
            None
        }
    }
}

fn from_definition(definition: &str, problems: &mut Vec<String>) -> Option<Given> {
    let Some((key, text)) = definition.split_once('=') else {
        // Only what can be a key is shown: the rest may be a secret behind a wrong separator.
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let shown: String = definition.chars().take_while(|c| part(*c)).collect();
        problems.push(format!("-D {shown} has no \"=\"; write -D key=value"));
        return None;
    };
    Some(Given {
        key: key.trim().to_owned(),
        text: text.trim().to_owned(),
        place: Place::Definition,
        retyped: false,
    })
}
