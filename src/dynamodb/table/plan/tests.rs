//! Each property that may differ, alone.

use aws_sdk_dynamodb::types::TableStatus;

use super::*;
use crate::config::{Bound, Config};

fn settings() -> StoreSettings {
    Config::default().store
}

fn found() -> Found {
    Found {
        status: TableStatus::Active,
        arn: Some("arn".to_owned()),
        keys: our_keys(),
        billing: Billing::OnDemand(None, None),
        deletion_protection: false,
        ttl: Told::Is(Some(TTL.to_owned())),
        point_in_time_recovery: Told::Is(false),
        tags: Told::Is(BTreeMap::new()),
        items: 3,
        bytes: 30,
    }
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The one difference, as (property, found, wanted, remedy).
fn only(settings: &StoreSettings, found: &Found) -> (&'static str, String, String, Remedy) {
    let plan = plan("t", settings, Some(found));
    let [difference] = <[Difference; 1]>::try_from(plan.differences).unwrap();
    (difference.property, difference.found, difference.wanted, difference.remedy)
}

fn expect(
    settings: &StoreSettings,
    found: &Found,
    (property, is, wanted, remedy): (&'static str, &str, &str, Remedy),
) {
    let expected = (property, is.to_owned(), wanted.to_owned(), remedy);
    assert_eq!(only(settings, found), expected);
}

#[test]
fn a_table_as_configured_has_no_difference() {
    let same = plan("t", &settings(), Some(&found()));
    assert!(same.differences.is_empty() && same.is_usable() && !same.has_changes(), "{same:?}");
    assert_eq!((same.items, same.bytes, same.managed), (3, 30, false));
}

#[test]
fn what_is_not_configured_is_left_as_it_is() {
    let found = Found {
        billing: Billing::OnDemand(Some(5), Some(6)),
        deletion_protection: true,
        point_in_time_recovery: Told::Is(true),
        tags: Told::Is(tags(&[("of", "others")])),
        ..found()
    };
    assert!(plan("t", &settings(), Some(&found)).differences.is_empty());
    // A bound that is configured takes the other one with it as it is.
    let settings = StoreSettings { max_write_units: Some(Bound::Units(9)), ..settings() };
    assert_eq!(billing(&settings, Some(found.billing)), Billing::OnDemand(Some(5), Some(9)));
}

#[test]
fn a_missing_table_shows_all_that_it_would_get() {
    let settings = StoreSettings {
        provisioned: Some((5, 7)),
        deletion_protection: Some(true),
        point_in_time_recovery: Some(false),
        tags: tags(&[("a", "b")]),
        ..settings()
    };
    let plan = plan("t", &settings, None);
    let wanted: Vec<_> = plan.differences.iter().map(|d| (d.property, d.wanted.as_str())).collect();
    let expected = [
        ("keys", "pk (S, partition) and sk (B, sort)"),
        ("billing", "provisioned, 5 read and 7 write units"),
        ("TTL attribute", "ttl"),
        ("deletion protection", "on"),
        ("point-in-time recovery", "off"),
        ("tags", "a=b"),
    ];
    assert_eq!(wanted, expected);
    assert!(!plan.is_usable() && plan.has_changes() && plan.managed);
}

#[test]
fn other_keys_or_types_make_it_the_table_of_something_else() {
    let ours = "pk (S, partition) and sk (B, sort)";
    let key = |name: &str, kind, of| (name.to_owned(), kind, Some(of));
    let pk = || key(PK, KeyType::Hash, ScalarAttributeType::S);
    for (keys, shown) in [
        (vec![key("id", KeyType::Hash, ScalarAttributeType::S)], "id (S, partition)"),
        (vec![pk()], "pk (S, partition)"),
        (
            vec![pk(), key(SK, KeyType::Range, ScalarAttributeType::S)],
            "pk (S, partition) and sk (S, sort)",
        ),
    ] {
        let found = Found { keys, ..found() };
        let settings = StoreSettings { manage: true, ..settings() };
        expect(&settings, &found, ("keys", shown, ours, Remedy::AnotherTable));
        let plan = plan("t", &settings, Some(&found));
        assert!(!plan.is_usable() && !plan.has_changes());
        assert_eq!(plan.obstacles(), format!("keys are {shown}, not {ours}"));
    }
}

#[test]
fn billing_and_capacity_can_be_changed() {
    let provisioned = Found { billing: Billing::Provisioned(20, 20), ..found() };
    let shown = "provisioned, 20 read and 20 write units";
    expect(&settings(), &provisioned, ("billing", shown, "on demand", Remedy::Change));
    let more = StoreSettings { provisioned: Some((20, 40)), ..settings() };
    let wanted = "provisioned, 20 read and 40 write units";
    expect(&more, &provisioned, ("billing", shown, wanted, Remedy::Change));
    expect(&more, &found(), ("billing", "on demand", wanted, Remedy::Change));
    let bounded = StoreSettings { max_read_units: Some(Bound::Units(9)), ..settings() };
    let wanted = "on demand, at most 9 read and unbounded write units a second";
    expect(&bounded, &found(), ("billing", "on demand", wanted, Remedy::Change));
}

#[test]
fn a_bound_can_be_taken_away() {
    let found = Found { billing: Billing::OnDemand(Some(5), Some(6)), ..found() };
    let shown = "on demand, at most 5 read and 6 write units a second";
    let one = StoreSettings { max_read_units: Some(Bound::None), ..settings() };
    let wanted = "on demand, at most unbounded read and 6 write units a second";
    expect(&one, &found, ("billing", shown, wanted, Remedy::Change));
    let both = StoreSettings { max_write_units: Some(Bound::None), ..one };
    expect(&both, &found, ("billing", shown, "on demand", Remedy::Change));
    let free = Found { billing: Billing::OnDemand(None, None), ..found };
    assert!(plan("t", &both, Some(&free)).differences.is_empty());
    assert_eq!(billing(&both, None), Billing::OnDemand(None, None));
}

#[test]
fn a_ttl_of_another_attribute_is_only_changed_by_hand() {
    let off = Found { ttl: Told::Is(None), ..found() };
    expect(&settings(), &off, ("TTL attribute", "none", "ttl", Remedy::Change));
    let other = Found { ttl: Told::Is(Some("expires".to_owned())), ..found() };
    expect(&settings(), &other, ("TTL attribute", "expires", "ttl", Remedy::ByHand));
    assert!(!plan("t", &settings(), Some(&other)).has_changes());
}

#[test]
fn protections_and_tags_are_compared_where_they_are_configured() {
    let protected = StoreSettings { deletion_protection: Some(true), ..settings() };
    expect(&protected, &found(), ("deletion protection", "off", "on", Remedy::Change));
    let kept = StoreSettings { point_in_time_recovery: Some(true), ..settings() };
    expect(&kept, &found(), ("point-in-time recovery", "off", "on", Remedy::Change));
    let tagged =
        StoreSettings { tags: tags(&[("a", "new"), ("b", "same"), ("c", "d")]), ..settings() };
    let found =
        Found { tags: Told::Is(tags(&[("a", "old"), ("b", "same"), ("of", "others")])), ..found() };
    expect(&tagged, &found, ("tags", "a=old", "a=new, c=d", Remedy::Change));
}

#[test]
fn what_cannot_be_seen_is_noted_and_is_no_difference() {
    let hidden = || Told::Hidden("not allowed".to_owned());
    let found =
        Found { ttl: hidden(), point_in_time_recovery: Told::Hidden("x".to_owned()), ..found() };
    let plan = plan("t", &settings(), Some(&found));
    assert!(plan.differences.is_empty(), "{plan:?}");
    assert_eq!(plan.unknown, ["TTL attribute: not allowed", "point-in-time recovery: x"]);
}
