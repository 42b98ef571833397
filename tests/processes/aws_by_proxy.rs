//! How the binary reaches AWS, as a proxy sees it that the environment names: it is asked for a way to the host that
//! requests go to.

use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Longer than the command tries. Reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(30);
const REGION: &str = "aws.region=eu-west-1";

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `millpond table check` with these settings, and with nothing of the user's environment.
fn check_table(folder: &Path, settings: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command
        .args(["table", "check"])
        .args(settings.iter().flat_map(|setting| ["-D", *setting]))
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "secret")])
        .envs(variables.iter().copied())
        .env("HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Running(command.spawn().unwrap())
}

/// What the proxy is asked for first.
async fn asked_for(folder: &Path, settings: &[&str], variables: &[(&str, &str)]) -> String {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let variables = [&[("HTTPS_PROXY", address.as_str())], variables].concat();
    let _running = check_table(folder, &[&[REGION], settings].concat(), &variables);
    let (stream, _) = timeout(PATIENCE, proxy.accept()).await.unwrap().unwrap();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(stream).read_line(&mut line)).await.unwrap().unwrap();
    line.trim().to_owned()
}

/// It used to be passed over: from a network with no other way out a job never reached AWS.
#[tokio::test]
async fn aws_is_reached_by_the_proxy_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let asked = asked_for(folder.path(), &[], &[]).await;
    assert_eq!(asked, "CONNECT dynamodb.eu-west-1.amazonaws.com:443 HTTP/1.1");
}

/// Where the credentials name the account it has an endpoint of its own, unless that is switched off in one of the
/// ways that AWS documents; these used not to be read.
#[tokio::test]
async fn an_account_s_own_endpoint_can_be_switched_off_as_aws_documents_it() {
    let folder = tempfile::tempdir().unwrap();
    let account = ("AWS_ACCOUNT_ID", "123456789012");
    let own = "CONNECT 123456789012.ddb.eu-west-1.amazonaws.com:443 HTTP/1.1";
    let of_region = "CONNECT dynamodb.eu-west-1.amazonaws.com:443 HTTP/1.1";
    assert_eq!(asked_for(folder.path(), &[], &[account]).await, own);
    let by_variable = [account, ("AWS_ACCOUNT_ID_ENDPOINT_MODE", "disabled")];
    assert_eq!(asked_for(folder.path(), &[], &by_variable).await, of_region);
    let config = folder.path().join("config");
    std::fs::write(&config, "[default]\naccount_id_endpoint_mode = disabled\n").unwrap();
    let by_profile = [account, ("AWS_CONFIG_FILE", config.to_str().unwrap())];
    assert_eq!(asked_for(folder.path(), &[], &by_profile).await, of_region);
    // The configured profile, in place of the default one.
    let keys = "[ours]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n\
                aws_account_id = 123456789012\n";
    let file = folder.path().join("keys");
    std::fs::write(&file, keys).unwrap();
    let path = format!("aws.credentials.provider.profile.path={}", file.display());
    let profile = [
        "aws.credentials.provider=PROFILE",
        "aws.credentials.provider.profile.name=ours",
        path.as_str(),
    ];
    let by_profile = [by_profile[1]];
    assert_eq!(asked_for(folder.path(), &profile, &by_profile).await, own);
    std::fs::write(&config, "[profile ours]\naccount_id_endpoint_mode = disabled\n").unwrap();
    assert_eq!(asked_for(folder.path(), &profile, &by_profile).await, of_region);
}

/// A DynamoDB of one's own may be where no proxy gets, and one on this machine surely is.
#[tokio::test]
async fn a_server_without_tls_or_on_this_machine_is_reached_directly() {
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["http", "https"] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let setting = format!("state.backend.dynamodb.endpoint={scheme}://{address}");
        // Nobody is there.
        let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];
        let proxies = proxies.map(|name| (name, "http://127.0.0.1:9"));
        let _running = check_table(folder.path(), &[&setting], &proxies);
        timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    }
    // That used to be an error, though no proxy is used here.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setting =
        format!("state.backend.dynamodb.endpoint=http://{}", server.local_addr().unwrap());
    let proxies = ["HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, "socks5://127.0.0.1:9"));
    let _running = check_table(folder.path(), &[&setting], &proxies);
    timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    // Other programs may use it, so here it is a warning.
    let setting = setting.replace("http:", "https:");
    let mut running = check_table(folder.path(), &[&setting], &proxies[1..]);
    timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    let mut lines = std::io::BufReader::new(running.0.stderr.take().unwrap()).lines();
    let told = lines.find(|line| line.as_ref().unwrap().contains("ALL_PROXY"));
    let told = told.unwrap().unwrap();
    assert!(told.contains("WARN") && told.contains("the store is reached directly"), "{told}");
}
