//! What a start makes of a server that is not there, of a table that another process makes at the same
//! time, and of what it cannot see.

use std::time::Duration;

use millpond::ErrorKind;
use millpond::clock::Clock;
use millpond::config::StoreSettings;

use crate::dynamodb_support::aws::{
    FIVE, ON_DEMAND, always, done, in_use, not_found, open, reached, remote, server, table, tagged,
    tags, ttl,
};
use crate::dynamodb_support::script::{Act, Script};

/// It used to be waited for without end.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_given_up_after_30_seconds_and_named() {
    let look = "look at the network, and at aws.region and state.backend.dynamodb.endpoint";
    let cases = [
        (
            remote(Some("eu-wset-1"), None),
            (|| Act::NoSuchHost) as fn() -> Act,
            "table millpond-state in eu-wset-1 has not answered for 30s: dispatch failure: io error: \
             failed to look up the address: no such host",
        ),
        (
            remote(None, Some("http://127.0.0.1:9")),
            || Act::Refuse,
            "table millpond-state at http://127.0.0.1:9 has not answered for 30s: dispatch failure: \
             io error: connection refused",
        ),
    ];
    for (settings, act, expected) in cases {
        let script = Script::default();
        script.next("DescribeTable", always(act));
        let clock = Clock::system();
        let began = clock.now();
        let (opened, _) = open(&settings, &script).await;
        let error = opened.unwrap_err();
        let passed = clock.now() - began;
        assert!(
            passed >= Duration::from_secs(30) && passed < Duration::from_secs(40),
            "{passed:?}"
        );
        // Which is exit code 1.
        assert_eq!(error.kind(), ErrorKind::Store);
        assert_eq!(error.to_string(), format!("{expected}; {look}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_answered_is_waited_for_as_long_as_it_takes() {
    let script = Script::default();
    // Throttling is an answer, and so is that the table is being made.
    script.next("DescribeTable", (0..20).map(|_| Act::error(400, "ThrottlingException")));
    script.next("DescribeTable", [table("CREATING", ON_DEMAND)]);
    script.next("DescribeTable", (0..20).map(|_| Act::Refuse));
    script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
    script.next("GetItem", [done()]);
    script.next("DescribeTimeToLive", [ttl("ENABLED")]);
    let clock = Clock::system();
    let began = clock.now();
    let (opened, _) = open(&server(), &script).await;
    opened.unwrap();
    assert!(clock.now() - began > Duration::from_secs(90));
}

/// It used to be taken for one of one's own, and the configured capacity for its.
#[tokio::test(start_paused = true)]
async fn a_table_that_another_process_makes_meanwhile_is_used_as_it_is_found() {
    let script = Script::default();
    script.next("DescribeTable", [not_found(), table("CREATING", FIVE), table("ACTIVE", FIVE)]);
    script.next("CreateTable", [in_use()]);
    script.next("GetItem", [done()]);
    script.next("DescribeTimeToLive", [ttl("DISABLED")]);
    script.next("UpdateTimeToLive", [done()]);
    let settings = StoreSettings { provisioned: Some((20, 40)), ..server() };
    let (opened, warned) = open(&settings, &script).await;
    assert_eq!(opened.unwrap().provisioned(), Some((5, 5)));
    let billing = "billing: provisioned, 5 read and 5 write units; configured: provisioned, 20 read \
                   and 40 write units; left as it is, since \
                   state.backend.dynamodb.table.manage is false table=\"millpond-state\"";
    assert_eq!(warned, [billing]);
    assert_eq!(script.sent().last().unwrap(), "UpdateTimeToLive", "that is any owner's to do");
}

/// It used to be waited for without end.
#[tokio::test(start_paused = true)]
async fn a_table_that_vanishes_before_it_can_be_used_is_made_again() {
    let script = Script::default();
    let looks = [not_found(), table("DELETING", FIVE), not_found(), not_found()];
    script.next("DescribeTable", looks);
    // Somebody deletes the new one, too.
    let looks = [table("CREATING", ON_DEMAND), not_found(), table("ACTIVE", ON_DEMAND)];
    script.next("DescribeTable", looks);
    script.next("CreateTable", [in_use(), done(), done()]);
    script.next("GetItem", [done()]);
    script.next("DescribeTimeToLive", [ttl("ENABLED")]);
    let (opened, warned) = open(&server(), &script).await;
    assert_eq!(opened.unwrap().provisioned(), None);
    assert_eq!(warned, Vec::<String>::new());
    let made = script.sent().iter().filter(|sent| *sent == "CreateTable").count();
    assert_eq!(made, 3);
}

/// AWS takes tags at once and lists them later; `apply` used to end with 1 for that.
#[tokio::test(start_paused = true)]
async fn tags_that_were_given_are_waited_for_until_they_are_listed() {
    for shown in [true, false] {
        let script = Script::default();
        script.next("DescribeTable", always(|| table("ACTIVE", ON_DEMAND)));
        script.next("DescribeTimeToLive", always(|| ttl("ENABLED")));
        script.next("ListTagsOfResource", (0..9).map(|_| tags("")));
        if shown {
            script.next("ListTagsOfResource", [tags(r#"{"Key":"stage","Value":"live"}"#)]);
        } else {
            script.next("ListTagsOfResource", always(|| tags("")));
        }
        script.next("TagResource", [done()]);
        let settings = StoreSettings { manage: true, ..tagged(server()) };
        let connection = reached(&settings, &script).await;
        let clock = Clock::system();
        let began = clock.now();
        let plan = connection.table().apply().await.unwrap();
        assert_eq!(plan.has_changes(), !shown);
        let passed = clock.now() - began;
        assert!(shown || passed >= Duration::from_secs(30), "{passed:?}");
        assert!(passed < Duration::from_secs(if shown { 6 } else { 32 }), "{passed:?}");
    }
}

/// They used to be passed over in silence.
#[tokio::test(start_paused = true)]
async fn what_is_configured_and_cannot_be_seen_is_told() {
    let denied = || Act::error(400, "AccessDeniedException");
    for manage in [false, true] {
        let script = Script::default();
        script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
        script.next("DescribeTimeToLive", [ttl("ENABLED")]);
        script.next("ListTagsOfResource", [denied()]);
        script.next("DescribeContinuousBackups", [denied()]);
        let recovery = Some(true);
        let settings =
            StoreSettings { manage, point_in_time_recovery: recovery, ..tagged(server()) };
        let (opened, warned) = open(&settings, &script).await;
        opened.unwrap();
        let told = |property: &str, operation: &str| {
            format!(
                "{property}: configured, and not to be seen, so left as it is: {operation} on table \
                 millpond-state in eu-west-1 failed: AccessDeniedException: scripted; \
                 `millpond table policy` prints what the credentials must be allowed to do \
                 table=\"millpond-state\""
            )
        };
        let expected = [
            told("tags", "ListTagsOfResource"),
            told("point-in-time recovery", "DescribeContinuousBackups"),
        ];
        assert_eq!(warned, expected);
    }
}
