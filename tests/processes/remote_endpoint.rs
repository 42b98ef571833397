//! The binary on a DynamoDB that its configuration names by endpoint, through a socket and with signatures.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution, Served, Witness};
use millpond::ids::Name;
use millpond::io::{Io, Spawn};
use millpond::points;

use crate::dynamodb_support::{Tokio, connect};

/// `millpond run route_stats` on `endpoint`, with nothing of the user's environment but what is given.
fn millpond(folder: &Path, endpoint: &str, settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    let endpoint = format!("state.backend.dynamodb.endpoint={endpoint}");
    command.args(["run", "route_stats", "--no-rest", "-D", &endpoint]);
    for setting in settings {
        command.args(["-D", setting]);
    }
    command
        .env_clear()
        .env("HOME", folder)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

const BASIC: [&str; 2] = [
    "aws.credentials.provider.basic.accesskeyid=local",
    "aws.credentials.provider.basic.secretkey=local-secret",
];

async fn output(mut command: Command) -> Output {
    Io::new(Tokio).blocking(move || Ok(command.output().unwrap())).await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An embedded DynamoDB and where it is served; `witness` is told of each request.
async fn served(witness: Witness) -> (Connection, String) {
    let connection = connect(Location::EmbeddedMemory, Execution::Thread(Io::new(Tokio))).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let served = connection.serve_before(listener, witness, std::future::pending());
    Tokio.spawn(Box::pin(async move { drop(served.await) }));
    (connection, endpoint)
}

#[tokio::test]
async fn a_job_runs_on_a_served_dynamodb_with_keys_from_settings_or_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (connection, endpoint) = served(Arc::new(|_| {})).await;

    let first = output(millpond(folder.path(), &endpoint, &BASIC)).await;
    assert!(first.status.success(), "{}", said(&first));
    let first_line = said(&first).lines().next().unwrap().to_owned();
    assert!(first_line.contains(&format!("table millpond-state at {endpoint}")), "{first_line}");
    assert!(!said(&first).contains("local-secret"));

    let mut by_environment = millpond(folder.path(), &endpoint, &[]);
    by_environment.env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
    let second = output(by_environment).await;
    assert!(second.status.success(), "{}", said(&second));
    let head = connection.heads().read(&Name::new("route_stats").unwrap()).await.unwrap().unwrap();
    assert_eq!(head.incarnation.0, 2, "a finished job starts afresh");
}

/// The actions that IAM knows for an operation.
fn actions(operation: &str) -> Vec<String> {
    let names = match operation {
        "BatchExecuteStatement" => vec!["PartiQLInsert", "PartiQLUpdate"],
        one => vec![one],
    };
    names.into_iter().map(|name| format!("dynamodb:{name}")).collect()
}

#[tokio::test]
async fn the_policy_that_is_printed_allows_what_jobs_send_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let sent = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&sent);
    let witness = Arc::new(move |served: Served<'_>| {
        seen.lock().unwrap().extend(actions(served.operation));
    });
    let (_connection, endpoint) = served(witness).await;

    let eager = [
        "state.backend.dynamodb.materialize=eager",
        "execution.checkpointing.interval=50 ms",
        "high-availability.lease=100 ms",
    ];
    let settings = [&BASIC[..], &eager].concat();
    let mut killed = millpond(folder.path(), &endpoint, &settings);
    killed.arg("--rate=2000").env(points::KILL_VARIABLE, format!("{}:6", points::AFTER_HEAD_MOVED));
    let killed = output(killed).await;
    assert_eq!(killed.status.signal(), Some(9), "{}", said(&killed));
    // What was written and is not in the log any more is read.
    let run = output(millpond(folder.path(), &endpoint, &settings)).await;
    assert!(run.status.success(), "{}", said(&run));
    let table = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        command.arg("table").args(arguments);
        command.args(["-D", &format!("state.backend.dynamodb.endpoint={endpoint}")]);
        command.args(BASIC.iter().flat_map(|setting| ["-D", setting]));
        command.env_clear().env("HOME", folder.path()).current_dir(folder.path());
        command
    };
    let purged = output(table(&["purge", "route_stats", "--yes"])).await;
    assert!(purged.status.success(), "{}", said(&purged));

    let printed = output(table(&["policy"])).await;
    let policy: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let run = policy["Statement"].as_array().unwrap().iter().find(|s| s["Sid"] == "MillpondRun");
    let allowed = run.unwrap()["Action"].as_array().unwrap();
    let allowed: BTreeSet<_> = allowed.iter().map(|a| a.as_str().unwrap().to_owned()).collect();
    assert_eq!(*sent.lock().unwrap(), allowed);
}

#[tokio::test]
async fn missing_credentials_are_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let failed = output(millpond(folder.path(), "http://127.0.0.1:9", &[])).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(said(&failed).contains("credential"), "{}", said(&failed));
    assert!(said(&failed).contains("http://127.0.0.1:9"), "{}", said(&failed));
}

#[test]
fn an_endpoint_that_cannot_be_reached_is_told_and_waited_for_until_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut child = millpond(folder.path(), &endpoint, &BASIC)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = lines.next().unwrap().unwrap();
    for part in [&endpoint[..], "has been retried for", "onnection refused"] {
        assert!(told.contains(part), "{told}");
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Answers the next request on `listener` as if the table were being made.
fn say_that_the_table_is_being_made(listener: &TcpListener) {
    let (mut socket, _) = listener.accept().unwrap();
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"}") {
        let read = socket.read(&mut part).unwrap();
        request.extend_from_slice(&part[..read]);
    }
    let body = r#"{"Table":{"TableName":"millpond-state","TableStatus":"CREATING"}}"#;
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close";
    write!(socket, "{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
}

#[test]
fn a_first_signal_ends_the_wait_for_a_silent_server_or_a_table_that_is_being_made() {
    for signal in ["-INT", "-TERM"] {
        for being_made in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let child = millpond(folder.path(), &endpoint, &BASIC)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            if being_made {
                say_that_the_table_is_being_made(&listener);
            }
            // It listens for signals before it asks for anything; this question stays unanswered.
            let asked = listener.accept().unwrap();
            let pid = child.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
            let ended = child.wait_with_output().unwrap();
            assert_eq!(ended.status.code(), Some(130), "{signal}: {}", said(&ended));
            assert_eq!(said(&ended), "stopping: the job has not begun\n");
            drop(asked);
        }
    }
}
