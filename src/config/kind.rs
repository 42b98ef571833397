//! The kinds of values that keys have: each parses a text, checks it and puts it into its field.
//!
//! Owns the rules for single values. A kind holds the way to its field in the [`Draft`], so the
//! default that the reference shows is the one in force.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::draft::Draft;
use super::units::{parse_duration, parse_size, show_duration, show_size};
use super::{Bound, Secret, nearest};

/// The way to a field.
type At<T> = fn(&mut Draft) -> &mut T;

/// A word of a choice, and what it sets.
type Word = (&'static str, fn(&mut Draft));

/// What a key's value is, and which field it goes to.
pub(super) enum Kind {
    Duration {
        least: Duration,
        at: At<Duration>,
    },
    Size {
        least: u64,
        most: u64,
        at: At<u64>,
    },
    Count {
        least: u32,
        most: u32,
        at: At<u32>,
    },
    OptionalCount {
        least: u32,
        at: At<Option<u32>>,
    },
    Units {
        at: At<u64>,
    },
    Bound {
        at: At<Option<Bound>>,
    },
    Factor {
        least: f64,
        most: f64,
        at: At<f64>,
    },
    OptionalFactor {
        least: f64,
        most: f64,
        at: At<Option<f64>>,
    },
    Switch {
        at: At<bool>,
    },
    OptionalSwitch {
        at: At<Option<bool>>,
    },
    Tags {
        at: At<BTreeMap<String, String>>,
    },
    /// The first word is the default.
    Choice {
        words: &'static [Word],
    },
    Text {
        at: At<Option<String>>,
    },
    Table {
        at: At<String>,
    },
    Url {
        at: At<Option<String>>,
    },
    Path {
        at: At<Option<PathBuf>>,
    },
    Secret {
        at: At<Option<Secret>>,
    },
    Address {
        at: At<IpAddr>,
    },
    Port {
        at: At<Option<u16>>,
    },
}

impl Kind {
    /// Parses `text` into the field; the error says what is wrong, without the text where it is secret.
    pub(super) fn set(&self, draft: &mut Draft, text: &str) -> Result<(), String> {
        match *self {
            Self::Duration { least, at } => {
                let value = parse_duration(text)?;
                *at(draft) = at_least(value, least, show_duration)?;
            }
            Self::Size { least, most, at } => {
                let value = at_least(parse_size(text)?, least, show_size)?;
                *at(draft) = at_most(value, most, show_size)?;
            }
            Self::Count { least, most, at } => *at(draft) = count(text, least, most)?,
            Self::OptionalCount { least, at } => {
                *at(draft) = Some(count(text, least, u32::MAX)?);
            }
            Self::Units { at } => *at(draft) = count::<u64>(text, 1, 1_000_000)?,
            Self::Bound { at } => *at(draft) = Some(bound(text)?),
            Self::Factor { least, most, at } => *at(draft) = factor(text, least, most)?,
            Self::OptionalFactor { least, most, at } => {
                *at(draft) = Some(factor(text, least, most)?);
            }
            Self::Switch { at } => *at(draft) = switch(text)?,
            Self::OptionalSwitch { at } => *at(draft) = Some(switch(text)?),
            Self::Tags { at } => *at(draft) = tags(text)?,
            Self::Choice { words } => choice(text, words)?(draft),
            Self::Text { at } => *at(draft) = Some(not_empty(text)?.to_owned()),
            Self::Table { at } => *at(draft) = table(text)?.to_owned(),
            Self::Url { at } => *at(draft) = Some(url(text)?.to_owned()),
            Self::Path { at } => *at(draft) = Some(not_empty(text)?.into()),
            Self::Secret { at } => *at(draft) = Some(Secret::new(not_empty(text)?.to_owned())),
            Self::Address { at } => {
                *at(draft) = text.parse().map_err(|_| "this is not an IP address".to_owned())?;
            }
            Self::Port { at } => *at(draft) = Some(count::<u16>(text, 0, u16::MAX)?),
        }
        Ok(())
    }

    /// The default as text; `None` where there is none, or it depends on other keys.
    pub(super) fn default_text(&self, draft: &mut Draft) -> Option<String> {
        Some(match *self {
            Self::Duration { at, .. } => show_duration(*at(draft)),
            Self::Size { at, .. } => show_size(*at(draft)),
            Self::Count { at, .. } => at(draft).to_string(),
            Self::OptionalCount { at, .. } => return at(draft).map(|n| n.to_string()),
            Self::Units { at } => at(draft).to_string(),
            Self::Bound { .. } => return None,
            Self::OptionalSwitch { at } => return at(draft).map(|on| on.to_string()),
            Self::Tags { .. } => return None,
            Self::Factor { at, .. } => at(draft).to_string(),
            Self::OptionalFactor { at, .. } => return at(draft).map(|n| n.to_string()),
            Self::Switch { at } => at(draft).to_string(),
            Self::Choice { words } => words.first().map(|(word, _)| (*word).to_owned())?,
            Self::Text { at } | Self::Url { at } => return at(draft).clone(),
            Self::Table { at } => at(draft).clone(),
            Self::Path { at } => return at(draft).as_ref().map(|p| p.display().to_string()),
            Self::Secret { .. } => return None,
            Self::Address { at } => at(draft).to_string(),
            Self::Port { at } => return at(draft).map(|n| n.to_string()),
        })
    }

    /// The kind in words, for the reference.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Duration { .. } => "duration".to_owned(),
            Self::Size { .. } => "size".to_owned(),
            Self::Count { .. } | Self::OptionalCount { .. } | Self::Units { .. } => {
                "integer".to_owned()
            }
            Self::Bound { .. } => "integer, or `none`".to_owned(),
            Self::Factor { .. } | Self::OptionalFactor { .. } => "number".to_owned(),
            Self::Switch { .. } | Self::OptionalSwitch { .. } => "boolean".to_owned(),
            Self::Tags { .. } => "`name=value` pairs with commas between them".to_owned(),
            Self::Choice { words } => {
                words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Self::Text { .. } | Self::Table { .. } => "text".to_owned(),
            Self::Url { .. } => "URL".to_owned(),
            Self::Path { .. } => "path".to_owned(),
            Self::Secret { .. } => "secret".to_owned(),
            Self::Address { .. } => "IP address".to_owned(),
            Self::Port { .. } => "port".to_owned(),
        }
    }

    /// Whether `text`, right or wrong, may be shown. A URL may have a password in it.
    pub(super) fn may_show(&self, text: &str) -> bool {
        match self {
            Self::Secret { .. } => false,
            Self::Url { .. } => !text.contains('@'),
            _ => true,
        }
    }

    /// Whether a YAML number or boolean would lose what was written: `007`, `1e5`, `yes`.
    pub(super) fn wants_text(&self) -> bool {
        matches!(
            self,
            Self::Text { .. }
                | Self::Table { .. }
                | Self::Path { .. }
                | Self::Secret { .. }
                | Self::Tags { .. }
        )
    }
}

fn at_least<T: PartialOrd + Copy>(value: T, least: T, show: fn(T) -> String) -> Result<T, String> {
    if value < least { Err(format!("it must be at least {}", show(least))) } else { Ok(value) }
}

fn at_most<T: PartialOrd + Copy>(value: T, most: T, show: fn(T) -> String) -> Result<T, String> {
    if value > most { Err(format!("it must be at most {}", show(most))) } else { Ok(value) }
}

fn count<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    text.parse::<T>()
        .ok()
        .filter(|n| *n >= least && *n <= most)
        .ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
}

fn bound(text: &str) -> Result<Bound, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Bound::None);
    }
    let units = count::<u64>(text, 1, 1_000_000);
    units.map(Bound::Units).map_err(|wrong| format!("{wrong}, or none"))
}

fn factor(text: &str, least: f64, most: f64) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("it must be a number from {least} to {most}"))
}

fn switch(text: &str) -> Result<bool, String> {
    text.to_ascii_lowercase().parse().map_err(|_| "it must be true or false".to_owned())
}

fn choice(text: &str, words: &'static [Word]) -> Result<fn(&mut Draft), String> {
    let all = || words.iter().map(|(word, _)| *word);
    words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, set)| *set).ok_or_else(
        || {
            let meant = nearest::find(text, all())
                .map_or(String::new(), |word| format!("; did you mean {word}?"));
            format!("it must be one of {}{meant}", all().collect::<Vec<_>>().join(", "))
        },
    )
}

/// AWS's limits of names and values, in characters.
const TAG_NAME: usize = 128;
const TAG_VALUE: usize = 256;

fn tags(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut tags = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .ok_or_else(|| format!("{pair:?} is not name=value"))?;
        if name.is_empty() || name.chars().count() > TAG_NAME || name.starts_with("aws:") {
            return Err(format!(
                "a tag's name has 1 to {TAG_NAME} characters and no \"aws:\" in front"
            ));
        }
        if value.chars().count() > TAG_VALUE {
            return Err(format!("a tag's value has at most {TAG_VALUE} characters"));
        }
        if tags.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("the tag {name:?} is given twice"));
        }
    }
    Ok(tags)
}

fn not_empty(text: &str) -> Result<&str, String> {
    if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(text) }
}

fn table(text: &str) -> Result<&str, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (3..=255).contains(&text.len()) && text.chars().all(valid) {
        Ok(text)
    } else {
        Err("a table's name has 3 to 255 of A-Z a-z 0-9 _ . -".to_owned())
    }
}

/// An endpoint is shown in logs, so it must not hold credentials.
fn url(text: &str) -> Result<&str, String> {
    let uri: http::Uri = text.parse().map_err(|_| "this is not a URL".to_owned())?;
    let authority = uri.authority().map_or("", |a| a.as_str());
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.is_empty() {
        return Err("it must start with http:// or https:// and a host".to_owned());
    }
    if authority.contains('@') {
        return Err("it must not contain a user or password".to_owned());
    }
    Ok(text)
}
