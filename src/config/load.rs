//! From what was given to the settings of a run; every error is found before any is reported.
//!
//! Owns precedence and the form of errors.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use super::assemble::assemble;
use super::draft::Draft;
use super::keys::{self, KEYS, Key};
use super::nearest;
use super::sources::{Given, Sources, collect};
use super::store_choice::give_way;
use crate::error::{Error, ErrorKind, Result};

/// Reads, checks and merges all settings.
///
/// # Errors
/// [`ErrorKind::Config`] that lists every problem: its key, value and place, what is wrong and an
/// example of a right value. Secret values are never part of it.
pub fn load(sources: &Sources) -> Result<Config> {
    let mut problems = Vec::new();
    let mut settings = Settings::new();
    let given = collect(sources, &mut problems);
    for of_one_place in given.chunk_by(|one, next| one.place.rank() == next.place.rank()) {
        give_way(&mut settings, of_one_place);
        for given in of_one_place {
            match keys::find(&given.key) {
                Some(key) => {
                    let before = settings.insert(key.name, given.clone());
                    problems.extend(before.and_then(|before| under_two_names(&before, given)));
                }
                None => problems.push(unknown(given)),
            }
        }
    }
    let mut draft = Draft::default();
    let mut wrong = BTreeSet::new();
    for (name, given) in &settings {
        if let Some(key) = keys::find(name)
            && let Some(problem) = set(key, given, &mut draft)
        {
            problems.push(problem);
            wrong.insert(*name);
        }
    }
    match assemble(draft, &settings, &wrong) {
        Ok(config) if problems.is_empty() => return Ok(config),
        Ok(_) => {}
        Err(contradictions) => problems.extend(contradictions),
    }
    Err(Error::new(ErrorKind::Config, list(&problems)))
}

/// What was given for each key, after precedence.
pub(super) type Settings = BTreeMap<&'static str, Given>;

fn set(key: &Key, given: &Given, draft: &mut Draft) -> Option<String> {
    let reason = if given.retyped && key.kind.wants_text() {
        "YAML reads this as a number or boolean: put it in quotes".to_owned()
    } else {
        key.kind.set(draft, &given.text).err()?
    };
    Some(format!("{}: {reason}; for example: {}", shown(key, given), key.example))
}

/// `key = "value" (place)`, without the value where it is secret.
pub(super) fn shown(key: &Key, given: &Given) -> String {
    if key.kind.may_show(&given.text) {
        format!("{} = {:?} ({})", given.key, given.text, given.place)
    } else {
        format!("{} = ****** ({})", given.key, given.place)
    }
}

/// Where one key was given twice: what is wrong if that was by both of its names, in places of which none wins.
fn under_two_names(one: &Given, other: &Given) -> Option<String> {
    let is_wrong = one.key != other.key && one.place.rank() == other.place.rank();
    is_wrong.then(|| {
        format!(
            "{} ({}) and {} ({}) are two names of one key: leave one out",
            one.key, one.place, other.key, other.place
        )
    })
}

/// The value is left out: a secret under a mistyped key is one still.
fn unknown(given: &Given) -> String {
    let advice = match nearest::find(&given.key, KEYS.iter().flat_map(|key| key.names())) {
        Some(name) => format!("did you mean {name}?"),
        None => "`millpond config-reference` lists all keys".to_owned(),
    };
    format!("{} ({}) is not a key; {advice}", given.key, given.place)
}

fn list(problems: &[String]) -> String {
    match problems {
        [one] => format!("the configuration is wrong: {one}"),
        many => {
            let lines: String = many.iter().map(|problem| format!("\n  - {problem}")).collect();
            format!("the configuration has {} errors:{lines}", many.len())
        }
    }
}
