//! The table as `millpond table` and a run's start see it: looked at, made, changed, emptied, deleted,
//! and never touched where it is not to be managed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use millpond::ErrorKind;
use millpond::clock::Clock;
use millpond::config::{Credentials, Location, Secret, StoreSettings};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::ids::Name;
use millpond::io::{Io, Spawn};
use serde_json::{Value, json};

use crate::dynamodb_support::aws::{backups, count};
use crate::dynamodb_support::script::{Act, Script};
use crate::dynamodb_support::{Tokio, settings, try_connect};
use crate::process::{self, millpond};

const ON: &str = "-Dstate.backend.dynamodb.local-db-path=state.db";

/// Settings below `state.backend.dynamodb.`.
fn table(folder: &Path, command: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["table".to_owned(), command.to_owned(), ON.to_owned()];
    arguments.extend(more.iter().map(|more| match more.split_once('=') {
        Some(_) => format!("-Dstate.backend.dynamodb.{more}"),
        None => (*more).to_owned(),
    }));
    millpond(folder, &arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Its exit code and all that it said, results first.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[track_caller]
fn expect(output: &Output, code: i32, expected: &str) {
    assert_eq!(said(output), (Some(code), format!("{expected}\n")));
}

const MANAGE: &str = "table.manage=true";

#[test]
fn a_table_is_planned_made_changed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let go = |command, more: &[&str]| table(folder.path(), command, more);
    let at = "embedded DynamoDB on state.db";
    let keys = "pk (S, partition) and sk (B, sort)";
    let new = format!(
        "{at} would be made:\n  + keys: {keys}\n  + billing: on demand\n  + TTL attribute: ttl\n  \
         + tags: stage=test"
    );
    expect(&go("plan", &["table.tags=stage=test"]), 0, &new);
    expect(
        &go("check", &[]),
        1,
        &format!("{at} is not there; `millpond table apply` or a run makes it"),
    );
    let made = go("apply", &["table.tags=stage=test"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    expect(&go("check", &["table.tags=stage=test"]), 0, &format!("{at} is as configured"));

    let capacity = ["use-on-demand=false", "write-capacity-units=7", "table.tags=stage=live"];
    let differences = "  billing: on demand; configured: provisioned, 20 read and 7 write units\n  \
                       tags: stage=test; configured: stage=live";
    let refused = "differs, and is left as it is: state.backend.dynamodb.table.manage is false";
    expect(&go("plan", &capacity), 0, &format!("{at} {refused}\n{differences}"));
    let expected = format!("{at} differs from the configuration:\n{differences}");
    expect(&go("check", &capacity), 1, &expected);
    let left = go("apply", &capacity);
    assert_eq!(left.status.code(), Some(2));
    assert!(text(&left.stderr).contains("is not changed, since"), "{left:?}");

    let managed = [&capacity[..], &[MANAGE]].concat();
    let expected = format!("{at} would be changed:\n{differences}");
    expect(&go("plan", &managed), 0, &expected);
    let expected = format!(
        "{at} is changed:\n  billing: on demand -> provisioned, 20 read and 7 write units\n  \
         tags: stage=test -> stage=live"
    );
    expect(&go("apply", &managed), 0, &expected);
    expect(&go("apply", &managed), 0, &format!("{at} is as configured"));
    // Back, with a bound and a protection.
    let bounded = [MANAGE, "table.max-write-request-units=9", "table.deletion-protection=true"];
    let expected = format!(
        "{at} is changed:\n  billing: provisioned, 20 read and 7 write units -> on demand, at most \
         unbounded read and 9 write units a second\n  deletion protection: off -> on"
    );
    expect(&go("apply", &bounded), 0, &expected);

    let free = [MANAGE, "table.max-write-request-units=none", "table.deletion-protection=true"];
    let expected = format!(
        "{at} is changed:\n  billing: on demand, at most unbounded read and 9 write units a second -> on \
         demand"
    );
    expect(&go("apply", &free), 0, &expected);

    let protected = go("destroy", &[MANAGE, "--yes"]);
    assert_eq!(protected.status.code(), Some(1));
    assert!(text(&protected.stderr).contains("is protected from deletion"), "{protected:?}");
    assert_eq!(go("apply", &[MANAGE, "table.deletion-protection=false"]).status.code(), Some(0));
    let unmanaged = go("destroy", &["--yes"]);
    assert_eq!(unmanaged.status.code(), Some(2));
    let unasked = go("destroy", &[MANAGE]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("Nobody can be asked here: give --yes"), "{unasked:?}");
    assert_eq!(go("check", &[]).status.code(), Some(0), "it is there still");
    expect(&go("destroy", &[MANAGE, "--yes"]), 0, &format!("{at} is deleted"));
    expect(&go("destroy", &[MANAGE, "--yes"]), 0, &format!("{at} is not there"));
    let missing = go("destroy", &[MANAGE, "--json"]);
    let expected = json!({ "table": at, "deleted": false });
    assert_eq!(serde_json::from_slice::<Value>(&missing.stdout).unwrap(), expected);
    assert_eq!(missing.status.code(), Some(0));
}

/// What it prints where a person at a terminal answers `no`. `script` makes the terminal, which shows the answer and
/// the question too.
#[test]
#[cfg(target_os = "linux")]
fn who_is_asked_and_says_no_gets_json_too() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(table(folder.path(), "apply", &[]).status.code(), Some(0));
    let asked = |what: &str| {
        let command = format!("{} table {what} {ON} --json", env!("CARGO_BIN_EXE_millpond"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        process::apart(&mut script, folder.path());
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"no\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        let said = text(&output.stdout);
        let json = said.split_once('{').unwrap_or_else(|| panic!("no JSON: {said}")).1;
        serde_json::from_str::<Value>(&format!("{{{json}")).unwrap()
    };
    let at = "embedded DynamoDB on state.db";
    let manage = format!("-Dstate.backend.dynamodb.{MANAGE}");
    let kept = json!({ "table": at, "deleted": false });
    assert_eq!(asked(&format!("destroy {manage}")), kept);
    let nothing =
        json!({ "job": "route_stats", "incarnations": 0, "items": 0, "write-units": 0.0 });
    assert_eq!(asked("purge route_stats"), nothing);
    assert_eq!(table(folder.path(), "check", &[]).status.code(), Some(0), "it is there still");
}

#[test]
fn plans_and_policies_are_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let output = table(folder.path(), "plan", &["--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["exists"], false);
    assert_eq!(plan["differences"][1]["property"], "billing");
    assert_eq!(plan["differences"][1]["remedy"], "change");

    let actions = |more: &[&str]| -> Vec<String> {
        let all = [&["table", "policy", "-Daws.region=eu-west-1"][..], more].concat();
        let output = millpond(folder.path(), &all).output().unwrap();
        let policy: Value = serde_json::from_slice(&output.stdout).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        for statement in statements {
            let table = "arn:aws:dynamodb:eu-west-1:*:table/millpond-state";
            assert_eq!(statement["Resource"], table);
        }
        let actions = statements.iter().flat_map(|s| s["Action"].as_array().unwrap());
        actions.map(|action| action.as_str().unwrap().to_owned()).collect()
    };
    let least = actions(&[]);
    assert!(least.contains(&"dynamodb:PartiQLUpdate".to_owned()));
    for managing in ["dynamodb:UpdateTable", "dynamodb:DeleteTable", "dynamodb:TagResource"] {
        assert!(!least.contains(&managing.to_owned()), "{least:?}");
        let manage = "-Dstate.backend.dynamodb.table.manage=true";
        let more = actions(&[manage, "-Dstate.backend.dynamodb.table.tags=a=b"]);
        assert!(more.contains(&managing.to_owned()), "{more:?}");
    }
}

#[test]
fn a_job_is_purged_and_starts_afresh_and_others_keep_their_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = |job: &str, more: &[&str]| {
        let arguments = [&["run", job, "--no-rest", ON][..], more].concat();
        millpond(folder.path(), &arguments).output().unwrap()
    };
    for job in ["route_stats", "word_count"] {
        let output = run(job, &["-Dstate.backend.dynamodb.materialize=eager"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let (code, missing) = said(&table(folder.path(), "purge", &["rout_stats", "--yes"]));
    assert_eq!(code, Some(2));
    assert!(missing.contains("has no job rout_stats"), "{missing}");
    assert_eq!(table(folder.path(), "purge", &["route_stats"]).status.code(), Some(2));

    let items = |job: &str, more: &[&str]| -> Value {
        let all = [&[job, "--yes", "--json"][..], more].concat();
        let output = table(folder.path(), "purge", &all);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(items("route_stats", &["--former"])["items"], 0, "there is no former one");
    let purged = items("route_stats", &[]);
    assert_eq!(purged["incarnations"], 1);
    // Whatever its last checkpoint has changed was written before it ended: an item for each route.
    assert!(purged["items"].as_u64().unwrap() > 1_000, "{purged}");
    assert_eq!(items("route_stats", &[])["items"], 0, "nothing is left");
    // The other job's incarnation is whole: it is deleted now.
    let purged = items("word_count", &[]);
    assert!(purged["items"].as_u64().unwrap() > 1_000, "{purged}");
    let again = run("route_stats", &[]);
    assert!(text(&again.stderr).starts_with("route_stats starts afresh"), "{again:?}");
    assert_eq!(text(&again.stdout).lines().count(), 20_000);
}

async fn reach(settings: &StoreSettings, script: &Script) -> Connection {
    let (job, clock) = (Name::new("job").unwrap(), Clock::system());
    let wrap = |client| script.wrap(client);
    let execution = Execution::Inline;
    let wrap = Some(&wrap as _);
    Connection::reach(Options { settings, job: &job, clock, seed: 7, execution, wrap })
        .await
        .unwrap()
}

fn embedded() -> StoreSettings {
    settings(Location::EmbeddedMemory)
}

#[tokio::test]
async fn point_in_time_recovery_is_switched_on_once_the_server_can() {
    let script = Script::default();
    let settings = StoreSettings { point_in_time_recovery: Some(true), ..embedded() };
    script.next(
        "DescribeContinuousBackups",
        [backups("DISABLED"), backups("ENABLED"), backups("ENABLED"), backups("ENABLED")],
    );
    let busy = Act::error(400, "ContinuousBackupsUnavailableException");
    script.next("UpdateContinuousBackups", [busy, backups("ENABLED")]);
    let connection = reach(&settings, &script).await;
    let after = connection.table().apply().await.unwrap();
    assert!(after.differences.is_empty(), "{after:?}");
    assert_eq!(count(&script.sent(), "UpdateContinuousBackups"), 2);
    connection.table().apply().await.unwrap();
    assert_eq!(count(&script.sent(), "UpdateContinuousBackups"), 0);
}

#[tokio::test]
async fn a_server_without_continuous_backups_is_noted_and_used() {
    let settings = StoreSettings { point_in_time_recovery: Some(true), ..embedded() };
    let connection = try_connect(&settings, Execution::Inline, None).await.unwrap();
    let plan = connection.table().plan().await.unwrap();
    assert!(plan.is_usable() && plan.differences.is_empty(), "{plan:?}");
    assert!(plan.unknown[0].starts_with("point-in-time recovery: "), "{plan:?}");
}

#[tokio::test]
async fn a_change_that_the_control_plane_refuses_for_today_is_final_and_told() {
    let script = Script::default();
    let managed = StoreSettings { manage: true, ..embedded() };
    let connection = reach(&managed, &script).await;
    connection.table().apply().await.unwrap();
    // The same table, as a run with other settings finds it.
    script.next("DescribeTable", (0..6).map(|_| Act::Change(as_provisioned)));
    script.next("UpdateTable", [Act::error(400, "LimitExceededException")]);
    let error = connection.table().apply().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("UpdateTable on "), "{error}");
    assert!(error.to_string().contains("LimitExceededException"), "{error}");
}

fn as_provisioned(answer: &mut Value) {
    answer["Table"]["BillingModeSummary"]["BillingMode"] = "PROVISIONED".into();
}

#[tokio::test]
async fn a_change_waits_until_the_table_is_active() {
    fn busy(answer: &mut Value) {
        as_provisioned(answer);
        answer["Table"]["TableStatus"] = "UPDATING".into();
    }
    let script = Script::default();
    let connection = reach(&StoreSettings { manage: true, ..embedded() }, &script).await;
    connection.table().apply().await.unwrap();
    let look = || Act::Change(as_provisioned);
    let busy = || Act::Change(busy);
    let looks = [look(), look(), busy(), look(), busy(), look(), look()];
    script.next("DescribeTable", looks);
    script.next(
        "UpdateTable",
        [Act::error(400, "ResourceInUseException"), Act::Reply(|_| json!({}))],
    );
    script.sent();
    connection.table().apply().await.unwrap();
    let sent = script.sent();
    assert_eq!(count(&sent, "UpdateTable"), 2, "{sent:?}");
    let expected = "DescribeTable DescribeTable UpdateTable DescribeTable DescribeTable UpdateTable \
                    DescribeTable";
    let sent = sent.join(" ");
    assert!(sent.contains(expected), "{sent}");
}

#[tokio::test]
async fn a_start_changes_a_table_that_was_there_only_where_it_manages_it() {
    let owner = try_connect(&embedded(), Execution::Thread(Io::new(Tokio)), None).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let served = owner.serve(listener, std::future::pending());
    Tokio.spawn(Box::pin(async move { drop(served.await) }));
    let credentials = Credentials::basic("id", Secret::new("secret".to_owned()));
    let remote = settings(Location::Remote { region: None, endpoint, credentials });
    let script = Script::default();
    let wrap = |client| script.wrap(client);
    let mut differing = StoreSettings { provisioned: Some((5, 6)), ..remote.clone() };
    for (manage, changes) in [(false, 0), (true, 1), (true, 0)] {
        differing.manage = manage;
        try_connect(&differing, Execution::Inline, Some(&wrap)).await.unwrap();
        assert_eq!(count(&script.sent(), "UpdateTable"), changes, "{manage}");
    }
    // One of other keys is not touched, whoever manages it.
    let foreign = StoreSettings { table: "foreign".to_owned(), ..differing };
    script.next("DescribeTable", [of_others()]);
    let refused = try_connect(&foreign, Execution::Inline, Some(&wrap)).await.unwrap_err();
    assert!(refused.to_string().contains("its keys are id (S, partition)"), "{refused}");
    let sent = script.sent();
    assert!(
        sent.iter().all(|sent| sent.starts_with("Describe") || sent == "CreateTable"),
        "{sent:?}"
    );
}

fn of_others() -> Act {
    let keys = r#""KeySchema":[{"AttributeName":"id","KeyType":"HASH"}]"#;
    let types = r#""AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}]"#;
    Act::Answer(200, format!(r#"{{"Table":{{"TableStatus":"ACTIVE",{keys},{types}}}}}"#))
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    for (code, advice) in [
        ("AccessDeniedException", "`millpond table policy` prints"),
        ("ExpiredTokenException", "the credentials have expired"),
        ("UnrecognizedClientException", "look at aws.credentials.provider"),
    ] {
        let script = Script::default();
        script.next("DescribeTable", [Act::error(400, code)]);
        script.next("DescribeTimeToLive", [Act::error(400, code)]);
        let wrap = |client| script.wrap(client);
        let error = try_connect(&embedded(), Execution::Inline, Some(&wrap)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains(advice) && error.to_string().contains(code), "{error}");
    }
}

/// It used to be neither changed nor told.
#[test]
fn a_run_says_where_an_embedded_table_differs_and_changes_it_where_it_is_managed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let more = more.iter().map(|more| format!("-Dstate.backend.dynamodb.{more}"));
        let arguments = ["run", "route_stats", "--no-rest", ON].map(str::to_owned);
        let arguments: Vec<String> = arguments.into_iter().chain(more).collect();
        let output = millpond(folder.path(), &arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let told =
        "billing: on demand; configured: provisioned, 20 read and 20 write units; left as it is";
    let provisioned = "use-on-demand=false";
    assert!(!run(&[]).contains("billing"));
    assert!(run(&[provisioned]).contains(told));
    assert!(!run(&[provisioned, MANAGE]).contains("billing"));
    assert!(!run(&[provisioned]).contains("billing"), "it is as configured now");
}

#[tokio::test]
async fn an_embedded_table_is_described_only_where_something_of_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(Location::EmbeddedFile(Some(folder.path().join("state.db"))));
    let script = Script::default();
    let wrap = |client| script.wrap(client);
    let differing = StoreSettings { provisioned: Some((5, 6)), ..file.clone() };
    let managed = StoreSettings { manage: true, ..differing.clone() };
    let cases = [
        (&file, 1, 0, None),
        (&file, 0, 0, None),
        (&differing, 1, 0, None),
        (&managed, 1, 1, Some((5, 6))),
        (&differing, 1, 0, Some((5, 6))),
    ];
    for (n, (settings, least_looks, changes, provisioned)) in cases.into_iter().enumerate() {
        let execution = Execution::Thread(Io::new(Tokio));
        let connection = try_connect(settings, execution, Some(&wrap)).await.unwrap();
        assert_eq!(connection.provisioned(), provisioned, "{n}");
        let sent = script.sent();
        let looks = count(&sent, "DescribeTable");
        assert!(looks >= least_looks && (least_looks > 0 || looks == 0), "{n}: {sent:?}");
        assert_eq!(count(&sent, "UpdateTable"), changes, "{n}: {sent:?}");
        connection.close().await.unwrap();
    }
}
