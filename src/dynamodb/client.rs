//! SDK clients: for AWS or another server, and for the embedded database.
//!
//! Owns every setting of the SDK: its behaviour is pinned, it makes one attempt a call (retries are
//! ours), and the environment is read only for a server that the configuration has named: the chain of
//! credentials, a proxy, and which of its endpoints AWS is to be reached by.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Builder, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_dynamodb::{Client, Config};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};

use super::credentials::{self, Means};
use super::proxy::proxy;
use crate::config::Credentials;
use crate::error::{Error, ErrorKind, Result};

/// For a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For a whole attempt: long enough for 400 KB over a slow line, short enough that a dead connection
/// delays a checkpoint by less than its interval.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);
/// What requests to a server are signed for where only its endpoint is configured. AWS would refuse it.
const ANY_REGION: &str = "us-east-1";
/// What the hosts of AWS end with, those of endpoints in a VPC included.
const HOSTS_OF_AWS: [&str; 4] =
    [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"];

/// Puts something between the SDK and the server: [`crate::hostile::Hostile::wrap`], in tests.
pub type Wrap<'a> = &'a (dyn Fn(SharedHttpClient) -> SharedHttpClient + Sync);

fn wrapped(wrap: Option<Wrap<'_>>, http: SharedHttpClient) -> SharedHttpClient {
    match wrap {
        Some(wrap) => wrap(http),
        None => http,
    }
}

fn base() -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// A client for the embedded database behind `http`: unsigned, since nobody would check, without
/// time-outs, since a slow disk is not a lost request.
pub(super) fn embedded(http: SharedHttpClient, wrap: Option<Wrap<'_>>) -> Client {
    let config = base()
        .allow_no_auth()
        .region(Region::from_static("embedded"))
        .endpoint_url("http://embedded.invalid")
        .timeout_config(TimeoutConfig::disabled())
        .http_client(wrapped(wrap, http))
        .build();
    Client::from_conf(config)
}

/// A client for a server that the configuration names.
///
/// # Errors
/// [`ErrorKind::Config`] where the endpoint is no URL, or one of AWS without a region; or where the environment's
/// proxy is none.
pub(super) async fn remote(
    region: Option<&str>,
    endpoint: Option<&str>,
    credentials: &Credentials,
    wrap: Option<Wrap<'_>>,
) -> Result<Client> {
    let endpoint = endpoint.map(|endpoint| checked(endpoint, region)).transpose()?;
    // What credentials come from may be behind the proxy all the same.
    let tls = endpoint.is_none_or(is_https);
    let http = http_client(proxy(|name| std::env::var(name).ok(), tls)?);
    let region = Region::new(region.unwrap_or(ANY_REGION).to_owned());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let means = Means { region: region.clone(), http: http.clone(), timeouts: timeouts.clone() };
    let mut config = base()
        .region(region.clone())
        .timeout_config(timeouts)
        .http_client(wrapped(wrap, http.clone()))
        .credentials_provider(credentials::provider(credentials, &means).await);
    match endpoint {
        Some(endpoint) => config.set_endpoint_url(Some(endpoint.to_owned())),
        None => {
            let loaded = Box::pin(of_environment(region, http, credentials)).await;
            config.set_account_id_endpoint_mode(loaded.account_id_endpoint_mode().cloned())
        }
    };
    Ok(Client::from_conf(config.build()))
}

/// Speaks TLS to `https://` endpoints, through `proxy` where there is one, and none to `http://` ones.
fn http_client(proxy: Option<ProxyConfig>) -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let builder = aws_smithy_http_client::Builder::new();
    let Some(proxy) = proxy else { return builder.tls_provider(provider).build_https() };
    builder.build_with_connector_fn(move |settings, components| {
        let connector = Connector::builder().proxy_config(proxy.clone());
        let mut connector = connector.tls_provider(provider.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    })
}

/// What the environment and the profile say, the configured one where there is one, for the one setting that is theirs: whether AWS is reached by an
/// endpoint of the account's own, where the credentials name the account. Networks that let only the region's pass
/// switch that off there, for all programs.
async fn of_environment(
    region: Region,
    http: SharedHttpClient,
    credentials: &Credentials,
) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    let base = match credentials {
        Credentials::AssumeRole { base, .. } => base,
        credentials => credentials,
    };
    if let Credentials::Profile { name, file } = base {
        if let Some(name) = name {
            loader = loader.profile_name(name);
        }
        if let Some(file) = file {
            let files = EnvConfigFiles::builder()
                .include_default_config_file(true)
                .with_file(EnvConfigFileKind::Credentials, file);
            loader = loader.profile_files(files.build());
        }
    }
    loader
        .region(region)
        .http_client(http)
        // Or a wrong word for one in the environment would be a panic.
        .retry_config(RetryConfig::disabled())
        .no_credentials()
        .load()
        .await
}

/// Whether `endpoint` is one of AWS itself.
pub(super) fn is_of_aws(endpoint: &str) -> bool {
    let url = endpoint.parse::<http::Uri>().unwrap_or_default();
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    HOSTS_OF_AWS.iter().any(|end| host.ends_with(end))
}

fn is_https(endpoint: &str) -> bool {
    endpoint.parse::<http::Uri>().is_ok_and(|url| url.scheme_str() == Some("https"))
}

/// `endpoint`, if it can be reached and signed for.
fn checked<'a>(endpoint: &'a str, region: Option<&str>) -> Result<&'a str> {
    let url = endpoint.parse::<http::Uri>().ok();
    let scheme = url.as_ref().and_then(http::Uri::scheme_str);
    let wrong = |why: String| {
        let message = format!("state.backend.dynamodb.endpoint is {endpoint:?}; {why}");
        Err(Error::new(ErrorKind::Config, message))
    };
    if !matches!(scheme, Some("http" | "https")) {
        return wrong("use a URL such as http://localhost:8000".to_owned());
    }
    if region.is_none() && is_of_aws(endpoint) {
        return wrong(
            "that is one of AWS, which takes only what is signed for its region: set aws.region \
             too, for example: aws.region=eu-west-1"
                .to_owned(),
        );
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::dynamodb::retry::{Failure, Reach};

    async fn describe(port: u16) -> Failure {
        let endpoint = format!("http://127.0.0.1:{port}");
        let basic = Credentials::basic("id", Secret::new("secret".to_owned()));
        let client = remote(None, Some(&endpoint), &basic, None).await.unwrap();
        Failure::of(&client.describe_table().table_name("table").send().await.unwrap_err())
    }

    #[tokio::test]
    async fn a_refused_connection_is_known_not_to_have_sent_and_a_broken_one_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(describe(port).await.reach, Reach::NotSent);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hang_up = async { drop(listener.accept().await.unwrap()) };
        let (failure, ()) = tokio::join!(describe(port), hang_up);
        assert_eq!(failure.reach, Reach::Unanswered, "{failure:?}");
    }

    #[tokio::test]
    async fn without_credentials_the_call_is_final_and_says_so() {
        let chain = aws_sdk_dynamodb::config::SharedCredentialsProvider::new(
            aws_config::meta::credentials::CredentialsProviderChain::first_try(
                "none",
                NoCredentials,
            ),
        );
        let config = base()
            .region(Region::from_static(ANY_REGION))
            .endpoint_url("http://127.0.0.1:9")
            .http_client(http_client(None))
            .credentials_provider(chain)
            .build();
        let sent = Client::from_conf(config).describe_table().table_name("table").send().await;
        let failure = Failure::of(&sent.unwrap_err());
        assert_eq!(failure.reach, Reach::NotMade, "{failure:?}");
        assert!(failure.message.contains("credentials"), "{}", failure.message);
    }

    #[derive(Debug)]
    struct NoCredentials;

    impl aws_credential_types::provider::ProvideCredentials for NoCredentials {
        fn provide_credentials<'a>(
            &'a self,
        ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let none = aws_credential_types::provider::error::CredentialsError::not_loaded("none");
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(none))
        }
    }

    #[test]
    fn an_endpoint_is_a_url() {
        assert!(checked("http://localhost:8000", None).is_ok());
        let error = checked("localhost:8000", None).unwrap_err();
        assert!(error.to_string().contains("state.backend.dynamodb.endpoint"), "{error}");
    }

    /// It used to be signed for `us-east-1`, whatever the endpoint.
    #[test]
    fn an_endpoint_of_aws_goes_with_a_region() {
        for endpoint in [
            "https://dynamodb.eu-west-1.amazonaws.com",
            "https://vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com:443/",
            "https://dynamodb.cn-north-1.amazonaws.com.cn",
            "https://DynamoDB.eu-west-1.API.AWS",
            "https://dynamodb.eusc-de-east-1.amazonaws.eu",
        ] {
            assert!(checked(endpoint, Some("eu-west-1")).is_ok());
            let error = checked(endpoint, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("set aws.region"), "{error}");
        }
        assert!(checked("https://amazonaws.com.example.com", None).is_ok());
    }
}
