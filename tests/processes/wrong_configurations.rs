//! Each wrong configuration gives one clear message and an exit code, and starts nothing: as
//! `tests/golden/wrong_configurations.txt` has them, which `UPDATE_GOLDEN=1` writes anew.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use crate::process::millpond;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wrong_configurations.txt");

/// One call: its title, settings, and what else makes it wrong. A setting is below
/// `state.backend.dynamodb.` where it begins with a dot.
struct Wrong {
    title: &'static str,
    command: &'static [&'static str],
    settings: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
    file: Option<&'static str>,
    /// The answer of a server to everything, where it gets so far.
    server: Option<(u16, &'static str)>,
}

const RUN: &[&str] = &["run", "route_stats", "--no-rest"];

const fn wrong(title: &'static str, settings: &'static [&'static str]) -> Wrong {
    Wrong { title, command: RUN, settings, variable: None, file: None, server: None }
}

impl Wrong {
    const fn variable(self, name: &'static str, text: &'static str) -> Self {
        Self { variable: Some((name, text)), ..self }
    }

    const fn file(self, text: &'static str) -> Self {
        Self { file: Some(text), ..self }
    }

    const fn server(self, status: u16, body: &'static str) -> Self {
        Self { server: Some((status, body)), ..self }
    }

    const fn by(self, command: &'static [&'static str]) -> Self {
        Self { command, ..self }
    }
}

const ID: &str = "aws.credentials.provider.basic.accesskeyid=AKIA";
const SECRET: &str = "aws.credentials.provider.basic.secretkey=wJalrXUtnFEMI";
const KEYS: &[&str] = &[ID, SECRET];
const ROLE: &str = "aws.credentials.provider.role.arn=arn:aws:iam::123456789012:role/millpond";

const ALL: &[Wrong] = &[
    // What the configuration alone shows.
    wrong("credentials without a region or endpoint", KEYS),
    wrong("a table's name with bad characters", &[".table=my table!"]),
    wrong("on demand and capacity", &[".write-capacity-units=5"]),
    wrong(
        "capacity and bounds of request units",
        &[".use-on-demand=false", ".table.max-read-request-units=5"],
    ),
    wrong("capacity of nothing", &[".use-on-demand=false", ".read-capacity-units=0"]),
    wrong("a local path and an endpoint", &[".local-db-path=a.db", ".endpoint=http://h:8000"]),
    wrong("memory and a region", &[".local-in-memory=true", "aws.region=eu-west-1"]),
    wrong("memory and a path", &[".local-in-memory=true", ".local-db-path=a.db"]),
    wrong("a key with a typo", &[".cache-sise=1 GiB"]),
    wrong("a key of nothing", &["colour=blue"]),
    wrong("a variable with a typo", &[]).variable("MILLPOND_REST_PROT", "1"),
    wrong("a bad duration", &["execution.checkpointing.interval=ten seconds"]),
    wrong("a duration that is too short", &["high-availability.lease=1 ms"]),
    wrong("a bad size", &[".cache-size=a lot"]),
    wrong("a log over half of the cache", &[".cache-size=64 MiB", ".log-max-size=48 MiB"]),
    wrong("a bad switch", &[".use-on-demand=yes please"]),
    wrong("a bad word", &["restart-strategy.type=fixed-deley"]),
    wrong("another backend", &["state.backend=rocksdb"]),
    wrong(
        "one key under both of its names",
        &["state.backend=dynamodb", "state.backend.type=dynamodb"],
    ),
    wrong("more workers than key groups", &["parallelism.default=256"]),
    wrong(
        "delays the wrong way around",
        &["restart-strategy.exponential-delay.initial-backoff=2 min"],
    ),
    wrong("an endpoint without a scheme", &[".endpoint=localhost:8000"]),
    wrong("an endpoint with a password", &[".endpoint=http://me:wJalrXUtnFEMI@h:8000"]),
    wrong(
        "an endpoint of AWS without a region",
        &[".endpoint=https://dynamodb.eu-west-1.amazonaws.com"],
    )
    .by(&["table", "check"]),
    wrong("tags that are none", &[".table.tags=flights"]),
    wrong("a definition without a value", &["rest.port"]),
    wrong("a file that is missing", &[]).by(&["run", "route_stats", "--config", "missing.yaml"]),
    wrong("a file that is no mapping", &[]).file("rest: [1"),
    wrong("a key twice in a file", &[]).file("rest.port: 1\nrest:\n  port: 2\n"),
    wrong("a key without a value", &[]).file("rest:\n  port:\n"),
    wrong("a number where a text is meant", &[]).file("aws.region: 007\n"),
    wrong("a list where a value is meant", &[]).file("aws.region: [eu-west-1, eu-west-2]\n"),
    // Credentials.
    wrong("an access key without its secret", &["aws.region=eu-west-1", ID]),
    wrong("BASIC without keys", &["aws.region=eu-west-1", "aws.credentials.provider=BASIC"]),
    wrong("SYS_PROP without keys", &["aws.region=eu-west-1", "aws.credentials.provider=SYS_PROP"]),
    wrong("no role to assume", &["aws.region=eu-west-1", "aws.credentials.provider=ASSUME_ROLE"]),
    wrong("a role that nobody assumes", &["aws.region=eu-west-1", ROLE]),
    wrong(
        "a token's role without its file",
        &["aws.region=eu-west-1", "aws.credentials.provider=WEB_IDENTITY_TOKEN", ROLE],
    ),
    wrong("a provider with a typo", &["aws.credentials.provider=ASUME_ROLE"]),
    wrong(
        "several at once",
        &[".table=x", ".cache-size=a lot", "rest.port=http", "aws.reigon=eu-west-1"],
    ),
    // What the machine or the server shows.
    wrong("no credentials anywhere", &[".endpoint=http://127.0.0.1:9"]),
    wrong(
        "a profile that is missing",
        &[
            ".endpoint=http://127.0.0.1:9",
            "aws.credentials.provider=PROFILE",
            "aws.credentials.provider.profile.name=flights",
            "aws.credentials.provider.profile.path=missing",
        ],
    ),
    wrong("a folder for a file", &[".local-db-path=."]),
    wrong("a table of other keys", KEYS).server(
        200,
        r#"{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"id","KeyType":"HASH"}],
            "AttributeDefinitions":[{"AttributeName":"id","AttributeType":"N"}]}}"#,
    ),
    wrong("access denied", KEYS).server(
        400,
        r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: arn:aws:iam::123456789012:user/me is not authorized to perform: dynamodb:DescribeTable"}"#,
    ),
    wrong("expired credentials", KEYS).server(
        400,
        r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"The security token included in the request is expired"}"#,
    ),
    wrong("credentials that nobody knows", KEYS).server(
        400,
        r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"The security token included in the request is invalid."}"#,
    ),
    wrong("a wrong secret", KEYS).server(
        400,
        r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"The request signature we calculated does not match the signature you provided."}"#,
    ),
    wrong("a server of something else", KEYS).server(404, "<html>not found</html>"),
    wrong("no network", &[".endpoint=http://127.0.0.1:9", ID, SECRET]).by(&["table", "check"]),
    // Calls about the table.
    wrong("nobody's table", &[]).by(&["table", "check"]),
    wrong("a job that is not there", &[".local-in-memory=true"]).by(&["table", "purge", "flights"]),
    wrong("a job's name with bad characters", &[]).by(&["table", "purge", "a/b"]),
];

fn call(wrong: &Wrong, folder: &Path) -> (String, Output) {
    let mut shown = format!("millpond {}", wrong.command.join(" "));
    let mut arguments: Vec<String> = wrong.command.iter().map(|&word| word.to_owned()).collect();
    for setting in wrong.settings {
        let prefix = if setting.starts_with('.') { "state.backend.dynamodb" } else { "" };
        arguments.push(format!("-D{prefix}{setting}"));
        let _ = write!(shown, " -D '{prefix}{setting}'");
    }
    if let Some(text) = wrong.file {
        fs::write(folder.join("millpond.yaml"), text).unwrap();
        arguments.push("--config=millpond.yaml".to_owned());
        let _ = write!(shown, " --config millpond.yaml\n{}", text.trim_end());
    }
    let address = wrong.server.map(|(status, body)| serve(status, body));
    if let Some(address) = &address {
        arguments.push(format!("-Dstate.backend.dynamodb.endpoint={address}"));
        shown.push_str(" -D 'state.backend.dynamodb.endpoint=http://SERVER'");
    }
    let mut command = millpond(folder, &arguments);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION"] {
        command.env_remove(name);
    }
    command.env("HOME", folder).env("AWS_EC2_METADATA_DISABLED", "true");
    if let Some((name, text)) = wrong.variable {
        command.env(name, text);
        shown = format!("{name}={text} {shown}");
    }
    let mut output = command.output().unwrap();
    if let Some(address) = address {
        let said = String::from_utf8(output.stderr).unwrap();
        output.stderr = said.replace(&address, "http://SERVER").into_bytes();
    }
    (shown, output)
}

/// A server that answers everything with this, for as long as the test runs.
#[expect(clippy::disallowed_methods, reason = "a test may have a thread")]
fn serve(status: u16, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}") {
                match socket.read(&mut part).unwrap() {
                    0 => break,
                    read => request.extend_from_slice(&part[..read]),
                }
            }
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}", body.len());
            write!(socket, "{head}\r\nconnection: close\r\n\r\n{body}").unwrap();
        }
    });
    address
}

/// Without log lines: they have the time in front.
fn error(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let lines = said.lines().filter(|line| !line.contains(" WARN "));
    // A connection that is refused has another number on each system.
    lines.collect::<Vec<_>>().join("\n").replace("refused (os error 61)", "refused (os error 111)")
}

/// They used to be lines of the error itself.
#[test]
fn why_each_provider_has_no_credentials_is_in_the_log_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let none = wrong("no credentials", &[".endpoint=http://127.0.0.1:9"]);
    let (_, output) = call(&none.variable("MILLPOND_LOG", "millpond=debug"), folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Environment: the credential provider was not enabled"), "{said}");
    assert!(said.contains("EcsContainer: the credential provider was not enabled"), "{said}");
}

#[test]
fn each_has_one_message_and_an_exit_code() {
    let mut page = String::new();
    for wrong in ALL {
        let folder = tempfile::tempdir().unwrap();
        let (shown, output) = call(wrong, folder.path());
        let (code, error) = (output.status.code(), error(&output));
        assert!(matches!(code, Some(1 | 2)), "{}: {code:?}: {error}", wrong.title);
        assert!(error.starts_with("error: "), "{}: {error}", wrong.title);
        let errors = error.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{}: {error}", wrong.title);
        assert!(output.stdout.is_empty(), "{}", wrong.title);
        assert!(!error.contains("wJalrXUtnFEMI"), "{}: a secret is shown", wrong.title);
        let shown = shown.replace("wJalrXUtnFEMI", "******");
        let _ = write!(page, "# {}\n$ {shown}\n{error}\n-> {}\n\n", wrong.title, code.unwrap());
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(Path::new(GOLDEN).parent().unwrap()).unwrap();
        fs::write(GOLDEN, &page).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    let differs = page.lines().zip(golden.lines()).find(|(now, golden)| now != golden);
    assert!(page == golden, "{differs:#?}\nsee {GOLDEN}");
}
