//! Where the credentials for AWS come from. Flink: `AWSConfigConstants.CredentialProvider`.
//!
//! Owns the providers and the rules between their keys. Fetching credentials is `dynamodb`'s.

use std::path::PathBuf;

use super::keys::*;
use super::load::Settings;
use super::{Secret, assemble::Problem};

/// Where credentials come from: `aws.credentials.provider` and its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// `AUTO`: the SDK's chain.
    #[default]
    Auto,
    /// `BASIC` and `SYS_PROP`: given by the configuration itself.
    Static {
        /// The access key's id.
        access_key_id: String,
        /// Its secret.
        secret_key: Secret,
        /// The session token of temporary credentials.
        session_token: Option<Secret>,
    },
    /// `ENV_VAR`: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Environment,
    /// `PROFILE`.
    Profile {
        /// Which profile; `None`: `AWS_PROFILE` or `default`.
        name: Option<String>,
        /// The file that is read; `None`: the usual ones.
        file: Option<PathBuf>,
    },
    /// `ASSUME_ROLE`.
    AssumeRole {
        /// The role.
        arn: String,
        /// The session's name.
        session_name: String,
        /// What the role's trust policy asks for.
        external_id: Option<String>,
        /// The token service; `None`: the region's.
        sts_endpoint: Option<String>,
        /// What asks for the role.
        base: Box<Self>,
    },
    /// `WEB_IDENTITY_TOKEN`.
    WebIdentityToken {
        /// The file of the token, and the role; `None`: what the environment names.
        file_and_role: Option<(PathBuf, String)>,
        /// The session's name, also where the environment names the rest.
        session_name: String,
    },
}

impl Credentials {
    /// `BASIC` without a session token.
    #[must_use]
    pub fn basic(access_key_id: &str, secret_key: Secret) -> Self {
        Self::Static { access_key_id: access_key_id.to_owned(), secret_key, session_token: None }
    }
}

/// The session's name where none is configured.
const SESSION: &str = "millpond";

/// A word of `aws.credentials.provider`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Provider {
    #[default]
    Auto,
    Basic,
    EnvVar,
    SysProp,
    Profile,
    AssumeRole,
    WebIdentityToken,
}

/// The keys that a provider of its own, or one under `role.provider`, may have.
#[derive(Clone, Debug, Default)]
pub(super) struct Inline {
    pub(super) access_key_id: Option<String>,
    pub(super) secret_key: Option<Secret>,
    pub(super) session_token: Option<Secret>,
    pub(super) profile_name: Option<String>,
    pub(super) profile_path: Option<PathBuf>,
}

impl Inline {
    fn credentials(self) -> Option<Credentials> {
        let (access_key_id, secret_key) = self.access_key_id.zip(self.secret_key)?;
        Some(Credentials::Static { access_key_id, secret_key, session_token: self.session_token })
    }

    /// What `provider` gives with these keys; a token's role and a role's base are the caller's.
    fn chosen(self, provider: Provider, properties: Self) -> Credentials {
        match provider {
            Provider::Basic => self.credentials().unwrap_or_default(),
            Provider::SysProp => properties.credentials().unwrap_or_default(),
            Provider::EnvVar => Credentials::Environment,
            Provider::Profile => {
                Credentials::Profile { name: self.profile_name, file: self.profile_path }
            }
            Provider::Auto | Provider::AssumeRole | Provider::WebIdentityToken => Credentials::Auto,
        }
    }
}

/// All keys of credentials while they are read.
#[derive(Clone, Debug, Default)]
pub(super) struct CredentialsDraft {
    provider: Provider,
    role_provider: Provider,
    pub(super) own: Inline,
    pub(super) base: Inline,
    pub(super) properties: Inline,
    pub(super) token_file: Option<PathBuf>,
    pub(super) role_arn: Option<String>,
    pub(super) role_session: Option<String>,
    pub(super) role_external_id: Option<String>,
    pub(super) role_sts: Option<String>,
}

/// An access key's id, secret and session token: they go together.
const TRIPLES: [[&str; 3]; 3] = [
    [ACCESS_KEY, SECRET_KEY, SESSION_TOKEN],
    [ROLE_ACCESS_KEY, ROLE_SECRET_KEY, ROLE_SESSION_TOKEN],
    [PROPERTY_ID, PROPERTY_SECRET, PROPERTY_TOKEN],
];

impl CredentialsDraft {
    pub(super) fn given(&mut self, provider: Provider) {
        self.provider = provider;
    }

    pub(super) fn role_given(&mut self, provider: Provider) {
        self.role_provider = provider;
    }

    /// An access key implies `BASIC`, as in Flink.
    fn provider(&self) -> Provider {
        implied(self.provider, &self.own)
    }

    fn role_provider(&self) -> Provider {
        implied(self.role_provider, &self.base)
    }

    /// Whether a provider in use is `SYS_PROP`.
    fn reads_properties(&self) -> bool {
        self.provider() == Provider::SysProp
            || (self.provider() == Provider::AssumeRole
                && self.role_provider() == Provider::SysProp)
    }

    /// What is missing and what contradicts itself; `remote`: whether anything is reached at all.
    pub(super) fn problems(&self, given: &Settings, remote: bool) -> Vec<Problem> {
        let has = |key: &str| given.contains_key(key);
        let mut problems = Vec::new();
        let any: Vec<_> = AWS_KEYS.iter().map(|key| key.name).filter(|name| has(name)).collect();
        let any: Vec<_> = any.into_iter().filter(|name| *name != REGION).collect();
        if !any.is_empty() && !remote {
            let why = "credentials alone choose no AWS; set aws.region or \
                       state.backend.dynamodb.endpoint too";
            problems.push(Problem::new(any, why).such_as("aws.region=eu-west-1"));
        }
        problems.extend(self.useless(given));
        for triple in TRIPLES {
            let [id, secret, token] = triple;
            if has(id) != has(secret) || (has(token) && !has(id)) {
                let why = "an access key's id and its secret go together; give both or none";
                problems.push(Problem::new([id, secret], why));
            }
        }
        problems.extend(self.missing(given));
        problems
    }

    /// Keys of providers that are not chosen: what a user believes to be in force is not.
    fn useless(&self, given: &Settings) -> Vec<Problem> {
        // Where AUTO is asked for by name, an access key beside it is one too many.
        let asked = |key, word, implied| if given.contains_key(key) { word } else { implied };
        let own = asked(PROVIDER, self.provider, self.provider());
        let base = asked(ROLE_PROVIDER, self.role_provider, self.role_provider());
        let role = own == Provider::AssumeRole;
        let web = own == Provider::WebIdentityToken;
        let groups: [(bool, &[&'static str], &'static str, &str); 8] = [
            (own == Provider::Basic, &TRIPLES[0], PROVIDER, "BASIC"),
            (own == Provider::Profile, &[PROFILE_NAME, PROFILE_PATH], PROVIDER, "PROFILE"),
            (web, &[TOKEN_FILE], PROVIDER, "WEB_IDENTITY_TOKEN"),
            (role || web, &[ROLE_ARN, ROLE_SESSION], PROVIDER, "ASSUME_ROLE or WEB_IDENTITY_TOKEN"),
            (role, &[ROLE_EXTERNAL, ROLE_STS, ROLE_PROVIDER], PROVIDER, "ASSUME_ROLE"),
            (role && base == Provider::Basic, &TRIPLES[1], ROLE_PROVIDER, "BASIC"),
            (
                role && base == Provider::Profile,
                &[ROLE_PROFILE_NAME, ROLE_PROFILE_PATH],
                ROLE_PROVIDER,
                "PROFILE",
            ),
            (self.reads_properties(), &TRIPLES[2], PROVIDER, "SYS_PROP"),
        ];
        let idle = groups.into_iter().filter(|(in_use, ..)| !in_use);
        idle.filter_map(|(_, names, chooser, word)| {
            let found: Vec<_> =
                names.iter().copied().filter(|name| given.contains_key(name)).collect();
            let why =
                format!("it has no effect unless {chooser} is {word}; set that or leave it out");
            let word = word.split(' ').next().unwrap_or(word);
            let right = match chooser {
                ROLE_PROVIDER if !role => format!("{PROVIDER}=ASSUME_ROLE {chooser}={word}"),
                _ => format!("{chooser}={word}"),
            };
            let keys = found.iter().copied().chain([chooser]);
            (!found.is_empty()).then(|| Problem::new(keys, &why).such_as(right))
        })
        .collect()
    }

    fn missing(&self, given: &Settings) -> Vec<Problem> {
        let has = |key: &str| given.contains_key(key);
        let mut problems = Vec::new();
        let mut basic = |wanted: bool, chooser, [id, secret, _]: [&'static str; 3]| {
            if wanted && !has(id) && !has(secret) {
                let why = "this provider needs an access key's id and secret";
                problems.push(Problem::new([chooser, id, secret], why));
            }
        };
        let (own, role) = (self.provider(), self.provider() == Provider::AssumeRole);
        basic(own == Provider::Basic, PROVIDER, TRIPLES[0]);
        basic(role && self.role_provider() == Provider::Basic, ROLE_PROVIDER, TRIPLES[1]);
        basic(self.reads_properties(), PROVIDER, TRIPLES[2]);
        if role && !has(ROLE_ARN) {
            problems.push(Problem::new([PROVIDER, ROLE_ARN], "which role is to be assumed?"));
        }
        if own == Provider::WebIdentityToken && has(TOKEN_FILE) != has(ROLE_ARN) {
            let why = "the token's file and the role go together; give both, or none for those that \
                       the environment names";
            problems.push(Problem::new([TOKEN_FILE, ROLE_ARN], why));
        }
        problems
    }

    /// Of a draft without problems.
    pub(super) fn finish(self) -> Credentials {
        let (provider, role_provider) = (self.provider(), self.role_provider());
        let session_name = self.role_session.unwrap_or_else(|| SESSION.to_owned());
        match (provider, self.role_arn) {
            (Provider::AssumeRole, Some(arn)) => {
                let base = match role_provider {
                    Provider::WebIdentityToken => Credentials::WebIdentityToken {
                        file_and_role: None,
                        session_name: session_name.clone(),
                    },
                    other => self.base.chosen(other, self.properties),
                };
                Credentials::AssumeRole {
                    arn,
                    session_name,
                    external_id: self.role_external_id,
                    sts_endpoint: self.role_sts,
                    base: Box::new(base),
                }
            }
            (Provider::WebIdentityToken, arn) => Credentials::WebIdentityToken {
                file_and_role: self.token_file.zip(arn),
                session_name,
            },
            (provider, _) => self.own.chosen(provider, self.properties),
        }
    }
}

fn implied(given: Provider, keys: &Inline) -> Provider {
    let has_key = keys.access_key_id.is_some() || keys.secret_key.is_some();
    if given == Provider::Auto && has_key { Provider::Basic } else { given }
}

#[cfg(test)]
mod tests;
