//! Which of several choices of a store counts: that of the last place that makes one.
//!
//! Owns that rule alone. Within one place two choices contradict each other, which `assemble` tells.

use super::keys;
use super::load::Settings;
use super::sources::Given;

/// What all keys of AWS begin with: they mean nothing to a store that is embedded.
const AWS: &str = "aws.";

/// Where state can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Remote,
    File,
    Memory,
}

impl Store {
    /// What `given` chooses, if it chooses any.
    fn of(given: &Given) -> Option<Self> {
        match given.key.as_str() {
            keys::REGION | keys::ENDPOINT => Some(Self::Remote),
            keys::LOCAL_PATH => Some(Self::File),
            keys::LOCAL_MEMORY if given.text.eq_ignore_ascii_case("true") => Some(Self::Memory),
            _ => None,
        }
    }
}

/// Takes out of `settings` the choice of a store that what is given `later`, all in one place, replaces: a
/// trial on the embedded one needs no other file than the one that names a region.
pub(super) fn give_way(settings: &mut Settings, later: &[Given]) {
    let chosen: Vec<Store> = later.iter().filter_map(Store::of).collect();
    if chosen.is_empty() {
        return;
    }
    let is_remote = chosen.contains(&Store::Remote);
    settings.retain(|key, given| match Store::of(given) {
        Some(store) => chosen.contains(&store),
        None => is_remote || !key.starts_with(AWS),
    });
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Location, Sources, load};
    use crate::error::Result;

    const MEMORY: &str = "state.backend.dynamodb.local-in-memory=true";

    /// A file, the environment and the command line.
    fn given(file: &str, variables: &[(&str, &str)], definitions: &[&str]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.yaml");
        std::fs::write(&path, format!("pipeline.max-parallelism: 64\n{file}")).unwrap();
        let variables = variables.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        let config = load(&Sources {
            file: Some(path),
            environment: variables.collect(),
            definitions: definitions.iter().map(|text| (*text).to_owned()).collect(),
            options: Vec::new(),
        })?;
        assert_eq!(config.max_parallelism, 64, "all else stays");
        Ok(config)
    }

    fn location(file: &str, variables: &[(&str, &str)], definitions: &[&str]) -> Result<Location> {
        given(file, variables, definitions).map(|config| config.store.location)
    }

    const REMOTE: &str = "aws.region: eu-central-1\n\
                          aws.credentials.provider.basic.accesskeyid: someone\n\
                          aws.credentials.provider.basic.secretkey: secret\n";

    /// It used to be a contradiction, which no option could mend.
    #[test]
    fn a_store_that_is_chosen_later_takes_the_place_of_one_that_was_chosen_before() {
        let file = Location::EmbeddedFile(Some("x.db".into()));
        let path = "state.backend.dynamodb.local-db-path";
        assert_eq!(location(REMOTE, &[], &[MEMORY]).unwrap(), Location::EmbeddedMemory);
        let endpoint = "state.backend.dynamodb.endpoint: http://127.0.0.1:8000\n";
        assert_eq!(location(endpoint, &[], &[&format!("{path}=x.db")]).unwrap(), file);
        assert_eq!(
            location(&MEMORY.replace('=', ": "), &[], &[&format!("{path}=x.db")]).unwrap(),
            file
        );
        let variable = ("MILLPOND_STATE_BACKEND_DYNAMODB_LOCAL_IN_MEMORY", "true");
        assert_eq!(location(REMOTE, &[variable], &[]).unwrap(), Location::EmbeddedMemory);
        let back = location(REMOTE, &[variable], &["aws.region=us-east-1"]).unwrap();
        assert!(matches!(back, Location::Remote { region: Some(r), .. } if r == "us-east-1"));
        // Region and endpoint go together, and what chooses nothing replaces nothing.
        let both = location(REMOTE, &[], &["state.backend.dynamodb.endpoint=http://127.0.0.1:1"]);
        let Location::Remote { region, endpoint, .. } = both.unwrap() else { panic!("embedded") };
        assert!(region.is_some() && endpoint.is_some());
        let off = location(REMOTE, &[], &["state.backend.dynamodb.local-in-memory=false"]).unwrap();
        assert!(matches!(off, Location::Remote { .. }));
    }

    #[test]
    fn two_stores_in_one_place_contradict_each_other_still() {
        let error = given("", &[], &[MEMORY, "aws.region=us-east-1"]).unwrap_err().to_string();
        assert!(error.contains("the state is either embedded or at a region"), "{error}");
        let file = format!("{REMOTE}state.backend.dynamodb.local-db-path: x.db\n");
        let error = given(&file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains("the state is either embedded or at a region"), "{error}");
    }
}
