//! Which credentials each set of keys means, and which sets are refused.

use super::*;
use crate::config::{Location, Sources, load};

const HUSH: &str = "wJalrXUtnFEMI";

/// Loads `keys` of the form `basic.accesskeyid=a` below `aws.credentials.provider`, in a region.
fn loaded(keys: &[&str]) -> Result<Credentials, String> {
    let full = |key: &&str| match key.strip_prefix('/') {
        Some(whole) => whole.to_owned(),
        None => format!("aws.credentials.provider{key}"),
    };
    let mut definitions: Vec<String> = keys.iter().map(full).collect();
    definitions.push("aws.region=eu-west-1".to_owned());
    let sources = Sources { definitions, ..Sources::default() };
    match load(&sources).map_err(|e| e.to_string())?.store.location {
        Location::Remote { credentials, .. } => Ok(credentials),
        other => Err(format!("{other:?}")),
    }
}

fn basic(id: &str, token: Option<&str>) -> Credentials {
    let session_token = token.map(|token| Secret::new(token.to_owned()));
    let secret_key = Secret::new(HUSH.to_owned());
    Credentials::Static { access_key_id: id.to_owned(), secret_key, session_token }
}

fn secret(key: &str) -> String {
    format!("{key}={HUSH}")
}

#[test]
fn every_provider_has_its_keys() {
    let (own, property) = (secret(".basic.secretkey"), secret("/aws.secretAccessKey"));
    let session_name = "millpond".to_owned();
    assert_eq!(loaded(&[]), Ok(Credentials::Auto));
    assert_eq!(loaded(&[".basic.accesskeyid=id", &own]), Ok(basic("id", None)));
    let token = [".=BASIC".replace('.', ""), ".basic.sessiontoken=t".to_owned()];
    let with_token = [&token[0][..], ".basic.accesskeyid=id", &own, &token[1]];
    assert_eq!(loaded(&with_token), Ok(basic("id", Some("t"))));
    assert_eq!(loaded(&["=ENV_VAR"]), Ok(Credentials::Environment));
    let properties = ["=SYS_PROP", "/aws.accessKeyId=id", &property, "/aws.sessionToken=t"];
    assert_eq!(loaded(&properties), Ok(basic("id", Some("t"))));
    let profile = Credentials::Profile { name: Some("p".into()), file: Some("f".into()) };
    assert_eq!(loaded(&["=PROFILE", ".profile.name=p", ".profile.path=f"]), Ok(profile));
    let token = Credentials::WebIdentityToken { file_and_role: None, session_name };
    assert_eq!(loaded(&["=WEB_IDENTITY_TOKEN"]), Ok(token));
    let token = Credentials::WebIdentityToken {
        file_and_role: Some(("f".into(), "r".into())),
        session_name: "s".into(),
    };
    let keys =
        ["=WEB_IDENTITY_TOKEN", ".webIdentityToken.file=f", ".role.arn=r", ".role.sessionName=s"];
    assert_eq!(loaded(&keys), Ok(token));
}

#[test]
fn a_role_has_credentials_below_it_of_every_kind() {
    let own = secret(".role.provider.basic.secretkey");
    let property = secret("/aws.secretAccessKey");
    let profile = Credentials::Profile { name: Some("p".to_owned()), file: None };
    let token = Credentials::WebIdentityToken { file_and_role: None, session_name: "s".to_owned() };
    for (keys, base) in [
        (vec![".role.provider=WEB_IDENTITY_TOKEN"], token),
        (vec![], Credentials::Auto),
        (vec![".role.provider=ENV_VAR"], Credentials::Environment),
        (vec![".role.provider.basic.accesskeyid=id", &own], basic("id", None)),
        (vec![".role.provider=PROFILE", ".role.provider.profile.name=p"], profile),
        (vec![".role.provider=SYS_PROP", "/aws.accessKeyId=id", &property], basic("id", None)),
    ] {
        let expected = Credentials::AssumeRole {
            arn: "r".to_owned(),
            session_name: "s".to_owned(),
            external_id: Some("x".to_owned()),
            sts_endpoint: None,
            base: Box::new(base),
        };
        let role = ["=ASSUME_ROLE", ".role.arn=r", ".role.sessionName=s", ".role.externalId=x"];
        assert_eq!(loaded(&[&role[..], &keys].concat()), Ok(expected), "{keys:?}");
    }
}

#[test]
fn what_is_missing_or_idle_is_told_with_key_reason_and_example() {
    let own = secret(".basic.secretkey");
    for (keys, parts) in [
        (vec!["=ASSUME_ROLE"], ["which role", "role.arn=\"arn:aws:iam"]),
        (vec!["=BASIC"], ["needs an access key", "basic.accesskeyid=\"AKIA"]),
        (vec!["=SYS_PROP"], ["needs an access key", "aws.accessKeyId=\"AKIA"]),
        (
            vec!["=ASSUME_ROLE", ".role.arn=r", ".role.provider=BASIC"],
            ["needs an access key", "role.provider.basic.secretkey (not set)"],
        ),
        (vec!["=WEB_IDENTITY_TOKEN", ".role.arn=r"], ["go together", "webIdentityToken.file"]),
        (vec![".basic.accesskeyid=a"], ["go together", "basic.secretkey (not set)"]),
        (vec![".basic.sessiontoken=a"], ["has no effect", "BASIC"]),
        (vec!["=AUTO", ".basic.accesskeyid=a", &own], ["has no effect", "\"AUTO\""]),
        (vec![".profile.name=p"], ["has no effect", "PROFILE"]),
        (vec![".role.arn=r"], ["has no effect", "ASSUME_ROLE or WEB_IDENTITY_TOKEN"]),
        (vec!["=PROFILE", ".role.externalId=r"], ["has no effect", "ASSUME_ROLE"]),
        (vec!["/aws.accessKeyId=a"], ["has no effect", "SYS_PROP"]),
        (vec!["=ASSUME_ROL"], ["did you mean ASSUME_ROLE?", "must be one of"]),
    ] {
        let error = loaded(&keys).unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{keys:?}: {error}");
        assert!(!error.contains(HUSH), "{error}");
    }
}

#[test]
fn no_debug_output_shows_a_secret_or_a_token() {
    let properties = [&secret("/aws.secretAccessKey")[..], &secret("/aws.sessionToken")];
    let keys = [&["=SYS_PROP", "/aws.accessKeyId=id"][..], &properties].concat();
    let shown = format!("{:?}", loaded(&keys).unwrap());
    assert!(shown.contains("id") && !shown.contains(HUSH), "{shown}");
}
