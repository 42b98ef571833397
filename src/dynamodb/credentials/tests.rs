//! What each provider gives, and what it asks of the token service, which is a client with a script.

use std::error::Error as _;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::config::Secret;

/// Answers as the token service does, and keeps what it was asked: address, authorisation and form.
#[derive(Clone, Debug, Default)]
struct TokenService(Arc<Mutex<Vec<String>>>);

impl TokenService {
    fn asked(&self) -> String {
        let mut asked = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

impl HttpClient for TokenService {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for TokenService {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let authorization = request.headers().get("authorization").unwrap_or("unsigned");
        let form = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        let asked = format!("{} | {authorization} | {form}", request.uri());
        self.0.lock().unwrap().push(asked);
        let answer = |operation: &str| {
            format!(
                "<{operation}Response><{operation}Result><Credentials><AccessKeyId>ASIA</AccessKeyId>\
                 <SecretAccessKey>lent</SecretAccessKey><SessionToken>token</SessionToken>\
                 <Expiration>2040-01-01T00:00:00Z</Expiration></Credentials></{operation}Result>\
                 </{operation}Response>"
            )
        };
        let web = form.contains("Action=AssumeRoleWithWebIdentity");
        let body = answer(if web { "AssumeRoleWithWebIdentity" } else { "AssumeRole" });
        let status = StatusCode::try_from(200).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
    }
}

async fn fetch(credentials: &Credentials) -> (Keys, TokenService) {
    let service = TokenService::default();
    let means = Means {
        region: Region::from_static("eu-west-1"),
        http: SharedHttpClient::new(service.clone()),
        timeouts: TimeoutConfig::disabled(),
    };
    let provider = provider(credentials, &means).await;
    (provider.provide_credentials().await.unwrap(), service)
}

fn parts(keys: &Keys) -> (&str, &str, Option<&str>) {
    (keys.access_key_id(), keys.secret_access_key(), keys.session_token())
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

#[tokio::test]
async fn basic_credentials_have_their_session_token() {
    let session_token = Some(secret("token"));
    let access_key_id = "id".to_owned();
    let given = Credentials::Static { access_key_id, secret_key: secret("s"), session_token };
    let (keys, _) = fetch(&given).await;
    assert_eq!(parts(&keys), ("id", "s", Some("token")));
    let (keys, _) = fetch(&Credentials::basic("id", secret("s"))).await;
    assert_eq!(parts(&keys), ("id", "s", None));
}

#[tokio::test]
async fn a_profile_is_read_from_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let text = "[default]\naws_access_key_id = no\naws_secret_access_key = no\n\
                [flights]\naws_access_key_id = id\naws_secret_access_key = s\naws_session_token = t\n";
    std::fs::write(&file, text).unwrap();
    let name = Some("flights".to_owned());
    let (keys, _) = fetch(&Credentials::Profile { name, file: Some(file) }).await;
    assert_eq!(parts(&keys), ("id", "s", Some("t")));
}

#[tokio::test]
async fn a_role_is_asked_for_with_the_credentials_below_it() {
    let role = |sts_endpoint, external_id: Option<&str>| Credentials::AssumeRole {
        arn: "arn:aws:iam::123456789012:role/millpond".to_owned(),
        session_name: "flights".to_owned(),
        external_id: external_id.map(str::to_owned),
        sts_endpoint,
        base: Box::new(Credentials::basic("AKIA", secret("s"))),
    };
    let (keys, service) = fetch(&role(None, Some("shared"))).await;
    assert_eq!(parts(&keys), ("ASIA", "lent", Some("token")));
    assert!(keys.expiry().is_some(), "without an expiry it would never be fetched again");
    let asked = service.asked();
    for part in [
        "https://sts.eu-west-1.amazonaws.com/ | ",
        "Credential=AKIA/",
        "Action=AssumeRole&",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fmillpond",
        "RoleSessionName=flights",
        "ExternalId=shared",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    let (_, service) = fetch(&role(Some("http://localhost:7777".to_owned()), None)).await;
    let asked = service.asked();
    assert!(asked.starts_with("http://localhost:7777/ | "), "{asked}");
    assert!(!asked.contains("ExternalId"), "{asked}");
}

#[tokio::test]
async fn a_web_identity_token_is_read_from_its_file_and_sent_unsigned() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "who-I-am").unwrap();
    let (keys, service) = fetch(&Credentials::WebIdentityToken {
        file_and_role: Some((file, "arn:aws:iam::123456789012:role/r".to_owned())),
        session_name: "flights".to_owned(),
    })
    .await;
    assert_eq!(parts(&keys), ("ASIA", "lent", Some("token")));
    let asked = service.asked();
    for part in
        [" | unsigned | ", "WebIdentityToken=who-I-am", "RoleSessionName=flights", "role%2Fr"]
    {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

/// Fetches by the provider that `CHOSEN` names, and prints what it got and what the token service was asked.
#[tokio::test]
#[ignore = "goes by its own process' environment"]
async fn fetches_in_an_environment() {
    let token =
        Credentials::WebIdentityToken { file_and_role: None, session_name: "flights".to_owned() };
    let chosen = match &*std::env::var("CHOSEN").unwrap() {
        "environment" => Credentials::Environment,
        "token" => token,
        "role-by-token" => Credentials::AssumeRole {
            arn: "arn:aws:iam::123456789012:role/second".to_owned(),
            session_name: "flights".to_owned(),
            external_id: None,
            sts_endpoint: None,
            base: Box::new(token),
        },
        _ => Credentials::Auto,
    };
    let service = TokenService::default();
    let means = Means {
        region: Region::from_static("eu-west-1"),
        http: SharedHttpClient::new(service.clone()),
        timeouts: TimeoutConfig::disabled(),
    };
    match provider(&chosen, &means).await.provide_credentials().await {
        Ok(keys) => println!("keys {:?}", parts(&keys)),
        Err(error) => println!("none: {}", error.source().unwrap()),
    }
    service.0.lock().unwrap().iter().for_each(|asked| println!("asked {asked}"));
}

/// What is printed in an environment of nothing but `variables`.
fn fetched_in(chosen: &str, variables: &[(&str, &str)]) -> String {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("dynamodb::credentials::tests::fetches_in_an_environment")
        .env_clear()
        .env("CHOSEN", chosen)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
    text
}

#[test]
fn the_environment_s_keys_are_taken_and_nothing_else_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("credentials");
    let text = "[default]\naws_access_key_id = decoy\naws_secret_access_key = d\n";
    std::fs::write(&profile, text).unwrap();
    let decoy = ("AWS_SHARED_CREDENTIALS_FILE", profile.to_str().unwrap());
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let token = ("AWS_SESSION_TOKEN", "t");

    let of_all = fetched_in("environment", &[decoy, keys[0], keys[1], token]);
    assert!(of_all.contains(r#"keys ("id", "s", Some("t"))"#), "{of_all}");
    let without_token = fetched_in("environment", &[decoy, keys[0], keys[1]]);
    assert!(without_token.contains(r#"keys ("id", "s", None)"#), "{without_token}");
    // What AUTO would find.
    let of_profile = fetched_in("auto", &[decoy]);
    assert!(of_profile.contains(r#"keys ("decoy", "d", None)"#), "{of_profile}");
    let of_none = fetched_in("environment", &[decoy]);
    assert!(of_none.contains("none: ") && !of_none.contains("asked"), "{of_none}");
    assert!(!of_none.contains("keys"), "{of_none}");
}

/// As on EKS. The session used to have a name that the SDK made up.
#[test]
fn a_web_identity_of_the_environment_has_the_session_s_name_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "who-I-am").unwrap();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/first"),
        ("AWS_ROLE_SESSION_NAME", "decoy"),
    ];
    for chosen in ["token", "role-by-token"] {
        let text = fetched_in(chosen, &variables);
        let asked: Vec<_> = text.lines().filter(|line| line.starts_with("asked")).collect();
        assert_eq!(asked.len(), if chosen == "token" { 1 } else { 2 }, "{text}");
        assert!(asked[0].contains("WebIdentityToken=who-I-am"), "{text}");
        assert!(asked[0].contains("role%2Ffirst"), "{text}");
        assert!(asked.iter().all(|asked| asked.contains("RoleSessionName=flights")), "{text}");
    }
    let missing = fetched_in("token", &variables[1..]);
    assert!(
        missing.contains("none: ") && missing.contains("AWS_WEB_IDENTITY_TOKEN_FILE"),
        "{missing}"
    );
}
