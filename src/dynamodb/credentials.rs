//! Credentials as the configuration chooses them, as the SDK takes them.
//!
//! Owns the providers' settings. Which one is chosen, and the rules between keys, are `config`'s; the
//! SDK caches what a provider gives and asks again before it expires.

use std::path::PathBuf;

use aws_config::SdkConfig;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials as Keys, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;

use super::retry::causes;
use crate::config::Credentials;

/// What providers reach servers of their own with.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) region: Region,
    pub(super) http: SharedHttpClient,
    pub(super) timeouts: TimeoutConfig,
}

impl Means {
    fn provider_config(&self) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_region(Some(self.region.clone()))
            .with_http_client(self.http.clone())
    }

    /// For the token service; its region's endpoint where none is given.
    fn sts(&self, endpoint: Option<&str>) -> SdkConfig {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(self.region.clone())
            .timeout_config(self.timeouts.clone())
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new())
            .http_client(self.http.clone());
        config.set_endpoint_url(endpoint.map(str::to_owned));
        config.build()
    }
}

/// The SDK's chain. Where nothing in it has credentials, the reasons of its members are for the log.
#[derive(Debug)]
struct Chain(DefaultCredentialsChain);

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let error = match self.0.provide_credentials().await {
                Err(error @ CredentialsError::CredentialsNotLoaded(_)) => error,
                other => return other,
            };
            tracing::debug!("{}", causes(&error));
            let tried = "AUTO tried the environment, the profile, the web identity token, the \
                         container and the instance";
            Err(CredentialsError::not_loaded(tried))
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Keys> {
        self.0.fallback_on_interrupt()
    }
}

/// The provider that `credentials` name. Nothing is fetched yet.
pub(super) async fn provider(
    credentials: &Credentials,
    means: &Means,
) -> SharedCredentialsProvider {
    match credentials {
        Credentials::Auto => SharedCredentialsProvider::new(Chain(
            DefaultCredentialsChain::builder()
                .region(means.region.clone())
                .configure(means.provider_config())
                .build()
                .await,
        )),
        Credentials::Static { access_key_id, secret_key, session_token } => {
            let token = session_token.as_ref().map(|token| token.reveal().to_owned());
            let keys = Keys::new(access_key_id, secret_key.reveal(), token, None, "configuration");
            SharedCredentialsProvider::new(keys)
        }
        Credentials::Environment => {
            SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new())
        }
        Credentials::Profile { name, file } => {
            let mut profile =
                ProfileFileCredentialsProvider::builder().configure(&means.provider_config());
            if let Some(name) = name {
                profile = profile.profile_name(name);
            }
            if let Some(file) = file {
                let kind = EnvConfigFileKind::Credentials;
                profile =
                    profile.profile_files(EnvConfigFiles::builder().with_file(kind, file).build());
            }
            SharedCredentialsProvider::new(profile.build())
        }
        Credentials::AssumeRole { arn, session_name, external_id, sts_endpoint, base } => {
            let mut role = AssumeRoleProvider::builder(arn)
                .session_name(session_name)
                .region(means.region.clone())
                .configure(&means.sts(sts_endpoint.as_deref()));
            if let Some(id) = external_id {
                role = role.external_id(id);
            }
            let base = Box::pin(provider(base, means)).await;
            SharedCredentialsProvider::new(role.build_from_provider(base).await)
        }
        Credentials::WebIdentityToken { file_and_role, session_name } => {
            let mut token =
                WebIdentityTokenCredentialsProvider::builder().configure(&means.provider_config());
            // What is missing in the environment, too, is for the provider to tell.
            if let Some((file, role)) = file_and_role.clone().or_else(file_and_role_of_environment)
            {
                token = token.static_configuration(StaticConfiguration {
                    web_identity_token_file: file,
                    role_arn: role,
                    session_name: session_name.clone(),
                });
            }
            SharedCredentialsProvider::new(token.build())
        }
    }
}

/// What the environment names for a web identity, as on EKS. The SDK would read the same, but name the session by
/// itself.
fn file_and_role_of_environment() -> Option<(PathBuf, String)> {
    let file = std::env::var_os("AWS_WEB_IDENTITY_TOKEN_FILE")?;
    Some((file.into(), std::env::var("AWS_ROLE_ARN").ok()?))
}

#[cfg(test)]
mod tests;
