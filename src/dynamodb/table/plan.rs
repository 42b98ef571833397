//! The table that is configured beside the one that is there: what differs, and what may be done.
//!
//! Pure. Owns every rule about what a table must be and what may be changed of it.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{KeyType, ScalarAttributeType};
use serde::Serialize;

use super::super::item::{PK, SK, TTL};
use super::found::{Ask, Billing, Found, KeyAttribute, Told};
use crate::config::{Bound, StoreSettings};

/// What is to be done about a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Which table, and where.
    pub table: String,
    /// Whether it is there.
    pub exists: bool,
    /// Whether configuration lets Millpond change it: it is missing, or `table.manage` is true.
    pub managed: bool,
    /// Items, as DynamoDB last counted them, up to six hours ago.
    pub items: u64,
    /// Their size, likewise.
    pub bytes: u64,
    /// What differs; all of a table that is missing.
    pub differences: Vec<Difference>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
}

/// One property that is not as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The property.
    pub property: &'static str,
    /// As it is.
    pub found: String,
    /// As it should be.
    pub wanted: String,
    /// What can be done about it.
    pub remedy: Remedy,
}

/// What can be done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Millpond changes it, where it manages the table.
    Change,
    /// Only by hand; the table can be used meanwhile.
    ByHand,
    /// None: the table is of something else.
    AnotherTable,
}

impl Plan {
    /// Whether a job can run on the table as it is.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.exists && self.differences.iter().all(|d| d.remedy != Remedy::AnotherTable)
    }

    /// Whether [`super::Table::apply`] would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.exists || self.differences.iter().any(|d| d.remedy == Remedy::Change)
    }

    /// What makes the table of no use, in words; empty where nothing does.
    #[must_use]
    pub fn obstacles(&self) -> String {
        let fatal = self.differences.iter().filter(|d| d.remedy == Remedy::AnotherTable);
        let lines = fatal.map(|d| format!("{} are {}, not {}", d.property, d.found, d.wanted));
        lines.collect::<Vec<_>>().join("; ")
    }
}

/// What must be looked at to compare with `settings`.
pub(super) fn ask(settings: &StoreSettings) -> Ask {
    Ask { recovery: settings.point_in_time_recovery.is_some(), tags: !settings.tags.is_empty() }
}

/// How `settings` have a table paid; bounds that are not configured stay what they are.
pub(super) fn billing(settings: &StoreSettings, found: Option<Billing>) -> Billing {
    match (settings.provisioned, found) {
        (Some((read, write)), _) => Billing::Provisioned(read, write),
        (None, found) => {
            let (read, write) = match found {
                Some(Billing::OnDemand(read, write)) => (read, write),
                Some(Billing::Provisioned(..)) | None => (None, None),
            };
            Billing::OnDemand(
                settings.max_read_units.map_or(read, Bound::units),
                settings.max_write_units.map_or(write, Bound::units),
            )
        }
    }
}

/// Tags that are missing or have another value.
pub(super) fn missing_tags(
    settings: &StoreSettings,
    found: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let wanted = settings.tags.iter().filter(|(name, value)| found.get(*name) != Some(value));
    wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Compares.
pub(super) fn plan(place: &str, settings: &StoreSettings, found: Option<&Found>) -> Plan {
    let mut comparison = Comparison::default();
    match found {
        Some(found) => comparison.with(settings, found),
        None => comparison.missing(settings),
    }
    Plan {
        table: place.to_owned(),
        exists: found.is_some(),
        managed: found.is_none() || settings.manage,
        items: found.map_or(0, |found| found.items),
        bytes: found.map_or(0, |found| found.bytes),
        differences: comparison.differences,
        unknown: comparison.unknown,
    }
}

#[derive(Debug, Default)]
struct Comparison {
    differences: Vec<Difference>,
    unknown: Vec<String>,
}

const NONE: &str = "none";
pub(super) const TAGS: &str = "tags";
/// The property that says after which attribute items expire.
pub(super) const TTL_ATTRIBUTE: &str = "TTL attribute";

/// Whether anything of a table is configured that could differ from how a table comes.
pub(super) fn is_configured(settings: &StoreSettings) -> bool {
    settings.provisioned.is_some()
        || settings.manage
        || !settings.tags.is_empty()
        || settings.deletion_protection.is_some()
        || settings.point_in_time_recovery.is_some()
        || settings.max_read_units.is_some()
        || settings.max_write_units.is_some()
}

impl Comparison {
    fn differ(&mut self, property: &'static str, found: &str, wanted: &str, remedy: Remedy) {
        let (found, wanted) = (found.to_owned(), wanted.to_owned());
        self.differences.push(Difference { property, found, wanted, remedy });
    }

    fn compare(&mut self, property: &'static str, found: &str, wanted: &str) {
        if found != wanted {
            self.differ(property, found, wanted, Remedy::Change);
        }
    }

    /// What is known of a property; `None` where it is not, which is noted.
    fn known<'a, T>(&mut self, property: &str, told: &'a Told<T>) -> Option<&'a T> {
        match told {
            Told::Is(value) => Some(value),
            Told::Hidden(why) => {
                self.unknown.push(format!("{property}: {why}"));
                None
            }
            Told::NotAsked => None,
        }
    }

    fn missing(&mut self, settings: &StoreSettings) {
        self.compare("keys", NONE, &show_keys(&our_keys()));
        self.compare("billing", NONE, &show_billing(billing(settings, None)));
        self.compare(TTL_ATTRIBUTE, NONE, TTL);
        if let Some(on) = settings.deletion_protection {
            self.compare("deletion protection", NONE, show_switch(on));
        }
        if let Some(on) = settings.point_in_time_recovery {
            self.compare("point-in-time recovery", NONE, show_switch(on));
        }
        if !settings.tags.is_empty() {
            self.compare(TAGS, NONE, &show_tags(&settings.tags));
        }
    }

    fn with(&mut self, settings: &StoreSettings, found: &Found) {
        if found.keys != our_keys() {
            let (found, wanted) = (show_keys(&found.keys), show_keys(&our_keys()));
            self.differ("keys", &found, &wanted, Remedy::AnotherTable);
        }
        let wanted = billing(settings, Some(found.billing));
        self.compare("billing", &show_billing(found.billing), &show_billing(wanted));
        match self.known(TTL_ATTRIBUTE, &found.ttl) {
            Some(None) => self.compare(TTL_ATTRIBUTE, NONE, TTL),
            Some(Some(other)) if other != TTL => {
                self.differ(TTL_ATTRIBUTE, other, TTL, Remedy::ByHand);
            }
            _ => {}
        }
        if let Some(wanted) = settings.deletion_protection {
            let found = show_switch(found.deletion_protection);
            self.compare("deletion protection", found, show_switch(wanted));
        }
        let recovery = self.known("point-in-time recovery", &found.point_in_time_recovery);
        if let Some((wanted, found)) = settings.point_in_time_recovery.zip(recovery) {
            self.compare("point-in-time recovery", show_switch(*found), show_switch(wanted));
        }
        if let Some(found) = self.known(TAGS, &found.tags) {
            let missing = missing_tags(settings, found);
            let of = |name: &String| found.get(name).map(|value| (name.clone(), value.clone()));
            let instead: BTreeMap<_, _> = missing.keys().filter_map(of).collect();
            self.compare(TAGS, &show_tags(&instead), &show_tags(&missing));
        }
    }
}

/// The keys of a table of Millpond.
pub(super) fn our_keys() -> Vec<KeyAttribute> {
    vec![
        (PK.to_owned(), KeyType::Hash, Some(ScalarAttributeType::S)),
        (SK.to_owned(), KeyType::Range, Some(ScalarAttributeType::B)),
    ]
}

fn show_keys(keys: &[KeyAttribute]) -> String {
    let show = |(name, kind, of): &KeyAttribute| {
        let kind = if *kind == KeyType::Hash { "partition" } else { "sort" };
        let of = of.as_ref().map_or("?", ScalarAttributeType::as_str);
        format!("{name} ({of}, {kind})")
    };
    keys.iter().map(show).collect::<Vec<_>>().join(" and ")
}

fn show_billing(billing: Billing) -> String {
    let bound = |units: Option<u64>| units.map_or("unbounded".to_owned(), |n| n.to_string());
    match billing {
        Billing::OnDemand(None, None) => "on demand".to_owned(),
        Billing::OnDemand(read, write) => {
            format!(
                "on demand, at most {} read and {} write units a second",
                bound(read),
                bound(write)
            )
        }
        Billing::Provisioned(read, write) => {
            format!("provisioned, {read} read and {write} write units")
        }
    }
}

fn show_switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn show_tags(tags: &BTreeMap<String, String>) -> String {
    if tags.is_empty() {
        return NONE.to_owned();
    }
    tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
