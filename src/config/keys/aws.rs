//! The keys of AWS: region and credentials, under the names of Flink's AWS connectors.
//!
//! Flink: `AWSConfigConstants`. Beyond it there are session tokens and, since there are no system
//! properties of a JVM here, `SYS_PROP` reads the configuration's keys of their names.

use super::super::credentials::Provider;
use super::super::draft::Draft;
use super::super::kind::Kind;
use super::Key;

pub(in crate::config) const REGION: &str = "aws.region";
pub(in crate::config) const PROVIDER: &str = "aws.credentials.provider";
pub(in crate::config) const ACCESS_KEY: &str = "aws.credentials.provider.basic.accesskeyid";
pub(in crate::config) const SECRET_KEY: &str = "aws.credentials.provider.basic.secretkey";
pub(in crate::config) const SESSION_TOKEN: &str = "aws.credentials.provider.basic.sessiontoken";
pub(in crate::config) const PROFILE_NAME: &str = "aws.credentials.provider.profile.name";
pub(in crate::config) const PROFILE_PATH: &str = "aws.credentials.provider.profile.path";
pub(in crate::config) const TOKEN_FILE: &str = "aws.credentials.provider.webIdentityToken.file";
pub(in crate::config) const ROLE_ARN: &str = "aws.credentials.provider.role.arn";
pub(in crate::config) const ROLE_SESSION: &str = "aws.credentials.provider.role.sessionName";
pub(in crate::config) const ROLE_EXTERNAL: &str = "aws.credentials.provider.role.externalId";
pub(in crate::config) const ROLE_STS: &str = "aws.credentials.provider.role.stsEndpoint";
pub(in crate::config) const ROLE_PROVIDER: &str = "aws.credentials.provider.role.provider";
pub(in crate::config) const ROLE_ACCESS_KEY: &str =
    "aws.credentials.provider.role.provider.basic.accesskeyid";
pub(in crate::config) const ROLE_SECRET_KEY: &str =
    "aws.credentials.provider.role.provider.basic.secretkey";
pub(in crate::config) const ROLE_SESSION_TOKEN: &str =
    "aws.credentials.provider.role.provider.basic.sessiontoken";
pub(in crate::config) const ROLE_PROFILE_NAME: &str =
    "aws.credentials.provider.role.provider.profile.name";
pub(in crate::config) const ROLE_PROFILE_PATH: &str =
    "aws.credentials.provider.role.provider.profile.path";
pub(in crate::config) const PROPERTY_ID: &str = "aws.accessKeyId";
pub(in crate::config) const PROPERTY_SECRET: &str = "aws.secretAccessKey";
pub(in crate::config) const PROPERTY_TOKEN: &str = "aws.sessionToken";

/// In the order of the reference.
pub(in crate::config) static AWS_KEYS: &[Key] = &[
    Key::new(
        REGION,
        Kind::Text { at: at!(region) },
        "eu-central-1",
        "The AWS region of the table. AWS is reached only where this key or the endpoint is configured \
         here: a region or credentials in the SDK's own environment or profile never choose it. An endpoint of \
         AWS needs it, too.",
    ),
    Key::new(
        PROVIDER,
        Kind::Choice {
            words: &[
                ("AUTO", |d| d.aws.given(Provider::Auto)),
                ("BASIC", |d| d.aws.given(Provider::Basic)),
                ("ENV_VAR", |d| d.aws.given(Provider::EnvVar)),
                ("SYS_PROP", |d| d.aws.given(Provider::SysProp)),
                ("PROFILE", |d| d.aws.given(Provider::Profile)),
                ("ASSUME_ROLE", |d| d.aws.given(Provider::AssumeRole)),
                ("WEB_IDENTITY_TOKEN", |d| d.aws.given(Provider::WebIdentityToken)),
            ],
        },
        "ASSUME_ROLE",
        "Where credentials come from. `AUTO`: the SDK's chain (environment, profile, web identity, \
         container, instance). `BASIC`: the keys under `basic`, which imply it. `ENV_VAR`: \
         `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` alone. `SYS_PROP`: \
         `aws.accessKeyId`, `aws.secretAccessKey` and `aws.sessionToken` of this configuration, named \
         like the JVM's system properties. `PROFILE`: a profile of the AWS files; those that sign in by \
         SSO or start a process are not supported. `ASSUME_ROLE`: the role under `role`, from the \
         credentials that `role.provider` gives. `WEB_IDENTITY_TOKEN`: a role for a token in a file. \
         Temporary credentials are fetched anew before they expire. Keys of a provider that is not \
         chosen are an error.",
    ),
    Key::new(
        ACCESS_KEY,
        Kind::Text { at: at!(aws.own.access_key_id) },
        "\"AKIA...\"",
        "`BASIC`: the access key's id.",
    ),
    Key::new(
        SECRET_KEY,
        Kind::Secret { at: at!(aws.own.secret_key) },
        "\"...\"",
        "`BASIC`: the access key's secret. Never shown. An environment variable is the place for it: \
         command lines can be read by others on the machine.",
    ),
    Key::new(
        SESSION_TOKEN,
        Kind::Secret { at: at!(aws.own.session_token) },
        "\"...\"",
        "`BASIC`: the session token of temporary credentials. Never shown, and never renewed: when it \
         has expired, the job fails.",
    ),
    Key::new(
        PROFILE_NAME,
        Kind::Text { at: at!(aws.own.profile_name) },
        "production",
        "`PROFILE`: which profile.",
    )
    .by_default("`AWS_PROFILE`, or `default`"),
    Key::new(
        PROFILE_PATH,
        Kind::Path { at: at!(aws.own.profile_path) },
        "\"/etc/millpond/credentials\"",
        "`PROFILE`: the file that is read instead of the usual ones, in the form of a credentials file.",
    )
    .by_default("`~/.aws/config` and `~/.aws/credentials`"),
    Key::new(
        TOKEN_FILE,
        Kind::Path { at: at!(aws.token_file) },
        "\"/var/run/secrets/token\"",
        "`WEB_IDENTITY_TOKEN`: the file with the token; it goes together with `role.arn`. It is read \
         again each time that credentials are fetched.",
    )
    .by_default("`AWS_WEB_IDENTITY_TOKEN_FILE`"),
    Key::new(
        ROLE_ARN,
        Kind::Text { at: at!(aws.role_arn) },
        "\"arn:aws:iam::123456789012:role/millpond\"",
        "`ASSUME_ROLE`, `WEB_IDENTITY_TOKEN`: the role.",
    ),
    Key::new(
        ROLE_SESSION,
        Kind::Text { at: at!(aws.role_session) },
        "flights",
        "`ASSUME_ROLE`, `WEB_IDENTITY_TOKEN`: the session's name, which CloudTrail shows. `AWS_ROLE_SESSION_NAME` is for `AUTO` alone.",
    )
    .by_default("`millpond`"),
    Key::new(
        ROLE_EXTERNAL,
        Kind::Text { at: at!(aws.role_external_id) },
        "\"0c4f1b\"",
        "`ASSUME_ROLE`: the external id that the role's trust policy asks for.",
    ),
    Key::new(
        ROLE_STS,
        Kind::Url { at: at!(aws.role_sts) },
        "https://sts.eu-central-1.amazonaws.com",
        "`ASSUME_ROLE`: the URL of the token service.",
    )
    .by_default("the region's"),
    Key::new(
        ROLE_PROVIDER,
        Kind::Choice {
            words: &[
                ("AUTO", |d| d.aws.role_given(Provider::Auto)),
                ("BASIC", |d| d.aws.role_given(Provider::Basic)),
                ("ENV_VAR", |d| d.aws.role_given(Provider::EnvVar)),
                ("SYS_PROP", |d| d.aws.role_given(Provider::SysProp)),
                ("PROFILE", |d| d.aws.role_given(Provider::Profile)),
                ("WEB_IDENTITY_TOKEN", |d| d.aws.role_given(Provider::WebIdentityToken)),
            ],
        },
        "PROFILE",
        "`ASSUME_ROLE`: where the credentials come from that ask for the role; its keys are below, and \
         mean what those above do. `WEB_IDENTITY_TOKEN` has none: token and first role are those that \
         `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN` name.",
    ),
    Key::new(
        ROLE_ACCESS_KEY,
        Kind::Text { at: at!(aws.base.access_key_id) },
        "\"AKIA...\"",
        "`role.provider: BASIC`: the access key's id.",
    ),
    Key::new(
        ROLE_SECRET_KEY,
        Kind::Secret { at: at!(aws.base.secret_key) },
        "\"...\"",
        "`role.provider: BASIC`: the access key's secret. Never shown.",
    ),
    Key::new(
        ROLE_SESSION_TOKEN,
        Kind::Secret { at: at!(aws.base.session_token) },
        "\"...\"",
        "`role.provider: BASIC`: the session token. Never shown.",
    ),
    Key::new(
        ROLE_PROFILE_NAME,
        Kind::Text { at: at!(aws.base.profile_name) },
        "production",
        "`role.provider: PROFILE`: which profile.",
    )
    .by_default("`AWS_PROFILE`, or `default`"),
    Key::new(
        ROLE_PROFILE_PATH,
        Kind::Path { at: at!(aws.base.profile_path) },
        "\"/etc/millpond/credentials\"",
        "`role.provider: PROFILE`: the file that is read.",
    )
    .by_default("`~/.aws/config` and `~/.aws/credentials`"),
    Key::new(
        PROPERTY_ID,
        Kind::Text { at: at!(aws.properties.access_key_id) },
        "\"AKIA...\"",
        "`SYS_PROP`: the access key's id.",
    ),
    Key::new(
        PROPERTY_SECRET,
        Kind::Secret { at: at!(aws.properties.secret_key) },
        "\"...\"",
        "`SYS_PROP`: the access key's secret. Never shown.",
    ),
    Key::new(
        PROPERTY_TOKEN,
        Kind::Secret { at: at!(aws.properties.session_token) },
        "\"...\"",
        "`SYS_PROP`: the session token. Never shown.",
    ),
];
