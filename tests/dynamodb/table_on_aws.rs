//! What AWS's control plane does to a table's start and management: refusals that pass, answers that are lost,
//! states that last.

use std::time::Duration;

use millpond::ErrorKind;
use millpond::clock::Clock;
use millpond::config::StoreSettings;
use millpond::ids::Name;

use crate::dynamodb_support::aws::{
    FIVE, ON_DEMAND, always, backups, count, done, in_use, not_found, open, reached, server, table,
    tagged, tags, ttl,
};
use crate::dynamodb_support::script::{Act, Script};

const TWENTY: &str = r#""ProvisionedThroughput":{"ReadCapacityUnits":20,"WriteCapacityUnits":40}"#;

const LATER: &str = "Fri, 01 Jan 2100 12:00:00 GMT";

fn wrong_signature() -> Act {
    let body = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
    Act::AnswerAt(400, body.to_owned(), LATER)
}

/// It used to end the start, though the SDK knew better by then.
#[tokio::test(start_paused = true)]
async fn a_wrong_clock_costs_a_request() {
    let script = Script::default();
    script.next("DescribeTable", [wrong_signature(), table("ACTIVE", ON_DEMAND)]);
    script.next("DescribeTimeToLive", [ttl("ENABLED")]);
    let (opened, warned) = open(&server(), &script).await;
    opened.unwrap();
    assert_eq!(warned, Vec::<String>::new());
    let signed = script.signed();
    assert!(!signed[0].starts_with("2100"), "{signed:?}");
    assert!(signed[1].starts_with("21000101T1"), "the SDK signs by the server's clock: {signed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_goes_on_being_refused_ends_the_start_and_names_clock_and_keys() {
    for code in ["InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired"] {
        let script = Script::default();
        script.next("DescribeTable", (0..99).map(|_| Act::error(400, code)));
        let clock = Clock::system();
        let began = clock.now();
        let (opened, _) = open(&server(), &script).await;
        let error = opened.unwrap_err();
        assert!(clock.now() - began < Duration::from_secs(5));
        assert_eq!(error.kind(), ErrorKind::Store);
        let expected = format!(
            "DescribeTable on table millpond-state in eu-west-1 failed: {code}: scripted; look at the \
             machine's clock, and at aws.credentials.provider and its keys"
        );
        assert_eq!(error.to_string(), expected);
    }
}

/// Others that succeed used to begin the count anew each time.
#[tokio::test(start_paused = true)]
async fn a_look_or_change_whose_own_signature_is_always_refused_fails_though_others_succeed() {
    for operation in ["DescribeTable", "UpdateTable"] {
        let script = Script::default();
        script.next(operation, (0..40).map(|_| Act::error(400, "InvalidSignatureException")));
        script.next("DescribeTable", always(|| table("ACTIVE", FIVE)));
        script.next("DescribeTimeToLive", always(|| ttl("ENABLED")));
        script.next("UpdateTable", always(done));
        script.next("GetItem", always(done));
        let connection = reached(&managed(), &script).await;
        let (heads, job) = (connection.heads(), Name::new("job").unwrap());
        let others = async {
            loop {
                heads.read(&job).await.unwrap();
                Clock::system().sleep(Duration::from_millis(500)).await;
            }
        };
        let table = connection.table();
        let error = tokio::select! {
            applied = table.apply() => applied.unwrap_err(),
            never = others => never,
        };
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains(&format!("{operation} on table")), "{error}");
        assert_eq!(count(&script.sent(), operation), 10);
    }
}

/// Requests of items know a new table later than the control plane does. That used to end the first run.
#[tokio::test(start_paused = true)]
async fn a_new_table_is_handed_out_once_its_items_answer() {
    for created in [done(), in_use()] {
        let script = Script::default();
        script.next("DescribeTable", [not_found(), table("CREATING", ON_DEMAND)]);
        script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
        script.next("CreateTable", [created]);
        script.next("GetItem", [not_found(), not_found(), not_found(), done()]);
        script.next("DescribeTimeToLive", [ttl("ENABLED")]);
        let (opened, warned) = open(&server(), &script).await;
        opened.unwrap();
        assert_eq!(warned, Vec::<String>::new());
        assert_eq!(count(&script.sent(), "GetItem"), 4);
    }
    // One that was there is not asked.
    let script = Script::default();
    script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
    script.next("DescribeTimeToLive", [ttl("ENABLED")]);
    open(&server(), &script).await.0.unwrap();
    assert_eq!(script.sent(), ["DescribeTable", "DescribeTimeToLive"]);
}

#[tokio::test(start_paused = true)]
async fn items_that_do_not_answer_for_a_minute_end_the_start() {
    let script = Script::default();
    script.next("DescribeTable", [not_found(), table("ACTIVE", ON_DEMAND)]);
    script.next("CreateTable", [done()]);
    script.next("GetItem", always(not_found));
    let clock = Clock::system();
    let began = clock.now();
    let error = open(&server(), &script).await.0.unwrap_err();
    let passed = (clock.now() - began).as_secs();
    assert!((60..70).contains(&passed), "{passed}");
    assert!(error.to_string().contains("GetItem on table millpond-state"), "{error}");
    // Whoever only makes tables need not be allowed to read them.
    let script = Script::default();
    script.next("DescribeTable", [not_found(), not_found(), table("ACTIVE", ON_DEMAND)]);
    script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
    script.next("CreateTable", [done()]);
    script.next("GetItem", [Act::error(400, "AccessDeniedException")]);
    script.next("DescribeTimeToLive", [ttl("ENABLED"), ttl("ENABLED")]);
    let connection = reached(&server(), &script).await;
    assert!(!connection.table().apply().await.unwrap().has_changes());
}

/// A start that is to switch backups on. It makes the table, sees it in `status`, then misses it and is refused to make
/// it again. The warnings, and what was sent.
async fn missed_after(status: &str) -> (Vec<String>, Vec<String>) {
    let script = Script::default();
    script.next("DescribeTable", [not_found(), table(status, ON_DEMAND), not_found()]);
    script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
    script.next("CreateTable", [done(), in_use()]);
    script.next("GetItem", [done()]);
    script.next("DescribeTimeToLive", [ttl("ENABLED")]);
    script.next("DescribeContinuousBackups", [backups("DISABLED")]);
    script.next("UpdateContinuousBackups", [backups("ENABLED")]);
    let settings = StoreSettings { point_in_time_recovery: Some(true), ..server() };
    let (opened, warned) = open(&settings, &script).await;
    opened.unwrap();
    (warned, script.sent())
}

/// The second look that finds nothing used to make it another's, whose backups are not switched on.
#[tokio::test(start_paused = true)]
async fn a_table_made_here_stays_ours_though_a_look_misses_it() {
    let (warned, sent) = missed_after("CREATING").await;
    assert_eq!(warned, Vec::<String>::new());
    assert_eq!(sent.last().unwrap(), "UpdateContinuousBackups");
}

/// What another process makes after ours was deleted is not ours.
#[tokio::test(start_paused = true)]
async fn a_table_that_was_seen_being_deleted_is_not_ours_any_more() {
    let (warned, sent) = missed_after("DELETING").await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].starts_with("point-in-time recovery: off; configured: on"), "{warned:?}");
    assert_eq!(count(&sent, "UpdateContinuousBackups"), 0);
}

/// They used to be waited for without end and without a word.
#[tokio::test(start_paused = true)]
async fn states_without_an_end_are_told_with_what_to_do() {
    for (status, advice) in [
        ("INACCESSIBLE_ENCRYPTION_CREDENTIALS", "enable that key and its grant within seven days"),
        ("ARCHIVING", "restore the backup that DynamoDB has made of it as another table"),
        ("ARCHIVED", "set state.backend.dynamodb.table to that"),
    ] {
        let script = Script::default();
        script.next("DescribeTable", (0..1_000).map(|_| table(status, ON_DEMAND)));
        let error = open(&server(), &script).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("table millpond-state in eu-west-1 is {status}: ")),
            "{text}"
        );
        assert!(text.contains(advice), "{text}");
        assert_eq!(script.sent().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_lasts_is_told_after_3_seconds_and_then_every_30() {
    for (status, seconds) in [("CREATING", "[3, 33, 63]"), ("DELETING", "[3, 33, 63]")] {
        let script = Script::default();
        script.next("DescribeTable", (0..140).map(|_| table(status, ON_DEMAND)));
        script.next("DescribeTable", [table("ACTIVE", ON_DEMAND)]);
        script.next("GetItem", [done()]);
        script.next("DescribeTimeToLive", [ttl("ENABLED")]);
        let (opened, warned) = open(&server(), &script).await;
        opened.unwrap();
        let seconds: Vec<u64> = serde_json::from_str(seconds).unwrap();
        let line = |s| {
            let place = "table millpond-state in eu-west-1";
            format!("{place}: it is {status}; waited for {s} s, waiting on")
        };
        assert_eq!(warned, seconds.into_iter().map(line).collect::<Vec<_>>());
    }
}

fn managed() -> StoreSettings {
    StoreSettings { manage: true, provisioned: Some((20, 40)), ..server() }
}

fn not_valid() -> Act {
    Act::error(400, "ValidationException")
}

/// `UpdateTable` is no put: DynamoDB refuses a request for what is so already.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_there_already_is_done() {
    let wanted = || table("ACTIVE", TWENTY);
    let cases: [(&str, Vec<Act>, Vec<Act>); 4] = [
        // Another process has changed it between two looks.
        ("before", vec![wanted()], vec![]),
        ("meanwhile", vec![table("ACTIVE", FIVE), wanted()], vec![not_valid()]),
        (
            "under way",
            vec![table("ACTIVE", FIVE), table("UPDATING", FIVE), wanted()],
            vec![in_use()],
        ),
        // A lost answer is asked for again.
        (
            "lost",
            vec![table("ACTIVE", FIVE), wanted()],
            vec![Act::Answer(200, "cut sho".to_owned()), not_valid()],
        ),
    ];
    for (case, looks, answers) in cases {
        let script = Script::default();
        let changes = answers.len();
        script.next("DescribeTable", [table("ACTIVE", FIVE)]);
        script.next("DescribeTable", looks);
        script.next("DescribeTimeToLive", [ttl("ENABLED")]);
        script.next("UpdateTable", answers);
        let (opened, warned) = open(&managed(), &script).await;
        assert_eq!(opened.unwrap().provisioned(), Some((20, 40)), "{case}");
        assert_eq!(warned, Vec::<String>::new(), "{case}");
        let sent = script.sent();
        assert_eq!(count(&sent, "UpdateTable"), changes, "{case}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_valid_and_not_there_is_an_error() {
    let script = Script::default();
    script.next("DescribeTable", (0..9).map(|_| table("ACTIVE", FIVE)));
    script.next("DescribeTimeToLive", [ttl("ENABLED"), ttl("ENABLED")]);
    script.next("UpdateTable", [not_valid()]);
    let error = reached(&managed(), &script).await.table().apply().await.unwrap_err();
    assert!(error.to_string().contains("UpdateTable on "), "{error}");
    assert_eq!(count(&script.sent(), "UpdateTable"), 1);
}

/// It used to end the start: a capacity may be decreased so many times a day, and a job must run meanwhile.
#[tokio::test(start_paused = true)]
async fn a_run_whose_change_is_refused_starts_on_the_table_as_it_is() {
    let script = Script::default();
    script.next("DescribeTable", (0..3).map(|_| table("ACTIVE", FIVE)));
    script.next("DescribeTimeToLive", [ttl("DISABLED")]);
    script.next("UpdateTable", [Act::error(400, "LimitExceededException")]);
    script.next("UpdateTimeToLive", [done()]);
    let (opened, warned) = open(&managed(), &script).await;
    assert_eq!(opened.unwrap().provisioned(), Some((5, 5)));
    let expected = "left as it is, since a change was refused: UpdateTable on table millpond-state in \
                    eu-west-1 failed: LimitExceededException: scripted; `millpond table plan` says what \
                    differs table=\"millpond-state\"";
    assert_eq!(warned, [expected]);
    assert_eq!(count(&script.sent(), "UpdateTimeToLive"), 1, "the TTL is switched on all the same");
}

/// The first one that was refused used to end them.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_refused_keeps_none_of_the_others_from_being_made() {
    for code in ["LimitExceededException", "AccessDeniedException"] {
        let script = Script::default();
        script.next("DescribeTable", always(|| table("ACTIVE", FIVE)));
        script.next("DescribeTimeToLive", [ttl("ENABLED")]);
        script.next("ListTagsOfResource", [tags("")]);
        script.next("DescribeContinuousBackups", [backups("DISABLED")]);
        // The capacity, and then the protection.
        script.next("UpdateTable", [Act::error(400, "LimitExceededException"), done()]);
        script.next("TagResource", [Act::error(400, code)]);
        script.next("UpdateContinuousBackups", [backups("ENABLED")]);
        let settings = StoreSettings {
            deletion_protection: Some(true),
            point_in_time_recovery: Some(true),
            ..tagged(managed())
        };
        let (opened, warned) = open(&settings, &script).await;
        let sent = script.sent();
        assert_eq!(count(&sent, "UpdateTable"), 2, "{sent:?}");
        assert_eq!(count(&sent, "TagResource"), 1, "{sent:?}");
        assert_eq!(count(&sent, "UpdateContinuousBackups"), 1, "{sent:?}");
        if code == "LimitExceededException" {
            opened.unwrap();
            assert!(warned[0].contains("UpdateTable on table"), "the first one: {warned:?}");
        } else {
            let error = opened.unwrap_err();
            assert!(error.to_string().contains("TagResource on table"), "{error}");
        }
    }
}

/// Whatever was refused used to be passed over with a warning.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_refused_for_good_ends_the_start() {
    for code in ["AccessDeniedException", "ValidationException"] {
        let script = Script::default();
        script.next("DescribeTable", (0..9).map(|_| table("ACTIVE", FIVE)));
        script.next("DescribeTimeToLive", [ttl("ENABLED")]);
        script.next("UpdateTable", [Act::error(400, code)]);
        let error = open(&managed(), &script).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains(code), "{error}");
    }
}

/// A job that is managed used to stand still for a minute.
#[tokio::test(start_paused = true)]
async fn the_ttl_of_a_table_that_was_there_is_waited_for_by_apply_alone() {
    let managed = StoreSettings { manage: true, ..server() };
    let script = || {
        let script = Script::default();
        script.next("DescribeTable", always(|| table("ACTIVE", ON_DEMAND)));
        script.next("DescribeTimeToLive", [ttl("DISABLED"), ttl("DISABLED"), ttl("ENABLED")]);
        script.next("UpdateTimeToLive", [in_use(), done()]);
        script
    };
    let of_run = script();
    let (opened, warned) = open(&managed, &of_run).await;
    opened.unwrap();
    assert!(warned[0].starts_with("TTL could not be switched on"), "{warned:?}");
    assert_eq!(count(&of_run.sent(), "UpdateTimeToLive"), 1);
    let of_apply = script();
    let connection = reached(&managed, &of_apply).await;
    assert!(!connection.table().apply().await.unwrap().has_changes());
    assert_eq!(count(&of_apply.sent(), "UpdateTimeToLive"), 2);
}

/// A table that is missing, is made, and answers at once; its TTL is off.
fn made() -> Script {
    let script = Script::default();
    script.next("DescribeTable", [not_found(), table("ACTIVE", ON_DEMAND)]);
    script.next("CreateTable", [done()]);
    script.next("GetItem", [done()]);
    script.next("DescribeTimeToLive", [ttl("DISABLED")]);
    script
}

/// The first run's TTL used to stay off, with a warning, where the table was not at rest yet.
#[tokio::test(start_paused = true)]
async fn a_ttl_that_cannot_be_switched_on_yet_is_tried_again() {
    let script = made();
    script.next("UpdateTimeToLive", [in_use(), not_found(), in_use(), done()]);
    let (opened, warned) = open(&server(), &script).await;
    opened.unwrap();
    assert_eq!(warned, Vec::<String>::new());
    assert_eq!(count(&script.sent(), "UpdateTimeToLive"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_that_another_has_switched_on_meanwhile_is_on() {
    for (found, told) in [("ENABLING", 0), ("ENABLED", 0), ("DISABLED", 1)] {
        let script = made();
        script.next("DescribeTimeToLive", [ttl(found)]);
        script.next("UpdateTimeToLive", [not_valid()]);
        let (opened, warned) = open(&server(), &script).await;
        opened.unwrap();
        assert_eq!(warned.len(), told, "{found}: {warned:?}");
    }
    // A table that stays in use is used without, after a minute.
    let script = made();
    script.next("UpdateTimeToLive", always(in_use));
    let clock = Clock::system();
    let began = clock.now();
    let (opened, warned) = open(&server(), &script).await;
    opened.unwrap();
    assert!(warned.last().unwrap().starts_with("TTL could not be switched on"), "{warned:?}");
    let passed = (clock.now() - began).as_secs();
    assert!((60..65).contains(&passed), "{passed}");
}

/// Those of a table that `apply` has made used to be waited for only where it is managed.
#[tokio::test(start_paused = true)]
async fn tags_of_a_table_that_apply_makes_are_waited_for() {
    let script = Script::default();
    script.next("DescribeTable", [not_found(), not_found()]);
    script.next("DescribeTable", always(|| table("ACTIVE", ON_DEMAND)));
    script.next("CreateTable", [done()]);
    script.next("GetItem", [done()]);
    script.next("DescribeTimeToLive", always(|| ttl("ENABLED")));
    script.next("ListTagsOfResource", (0..9).map(|_| tags("")));
    script.next("ListTagsOfResource", [tags(r#"{"Key":"stage","Value":"live"}"#)]);
    let connection = reached(&tagged(server()), &script).await;
    let plan = connection.table().apply().await.unwrap();
    assert!(!plan.has_changes(), "{plan:?}");
    assert_eq!(count(&script.sent(), "TagResource"), 0, "they were given with it");
}
