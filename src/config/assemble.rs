//! From single values to [`Config`]: what combinations mean, and which contradict each other.
//!
//! Owns the rules between keys. Those of single values are `kind`'s.

use super::draft::{Draft, Provider, Strategy};
use super::keys;
use super::load::{Settings, shown};
use super::{Config, Location, RestartStrategy};

/// Builds the settings, or says every contradiction.
pub(super) fn assemble(mut draft: Draft, given: &Settings) -> Result<Config, Vec<String>> {
    follow_defaults(&mut draft, given);
    let problems = contradictions(&draft, given);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut config = draft.config.clone();
    config.restart = restart(&draft);
    config.store.provisioned = (!draft.on_demand).then_some((draft.read_units, draft.write_units));
    config.store.location = location(draft);
    Ok(config)
}

/// Defaults that nobody configured give way to what somebody did.
fn follow_defaults(draft: &mut Draft, given: &Settings) {
    let config = &mut draft.config;
    if !given.contains_key(keys::LOG) {
        config.state.log_max_bytes = config.state.log_max_bytes.min(config.state.cache_bytes / 2);
    }
    // So that one segment takes no more than a second's units, and whatever else is written waits no
    // longer for it.
    if !given.contains_key(keys::SEGMENT) && !draft.on_demand {
        let least = 4 << 10;
        let second = draft.write_units.saturating_mul(1 << 10).max(least);
        config.state.segment_bytes = config.state.segment_bytes.min(second);
    }
    if !given.contains_key(keys::PARALLELISM) {
        config.parallelism = config.parallelism.min(config.max_parallelism);
    }
}

fn contradictions(draft: &Draft, given: &Settings) -> Vec<String> {
    let config = &draft.config;
    let has = |key: &str| given.contains_key(key);
    let say = |keys: &[&'static str], why: &str| {
        let named: Vec<_> = keys.iter().filter_map(|key| name(key, given)).collect();
        format!("{}: {why}", named.join(" and "))
    };
    let remote: Vec<_> =
        [keys::REGION, keys::ENDPOINT].into_iter().filter(|key| has(key)).collect();
    let mut problems = Vec::new();
    let mut check = |wrong: bool, keys: &[&'static str], why: &str| {
        if wrong {
            problems.push(say(keys, why));
        }
    };
    for local in [keys::LOCAL_PATH, keys::LOCAL_MEMORY] {
        let chosen = local == keys::LOCAL_PATH || draft.local_in_memory;
        let mut both = vec![local];
        both.extend(&remote);
        check(
            has(local) && chosen && !remote.is_empty(),
            &both,
            "the state is either embedded or at a region or endpoint; leave one out",
        );
    }
    check(
        has(keys::LOCAL_PATH) && draft.local_in_memory,
        &[keys::LOCAL_PATH, keys::LOCAL_MEMORY],
        "the embedded DynamoDB is either on a file or in memory; leave one out",
    );
    check(
        config.state.log_max_bytes > config.state.cache_bytes / 2,
        &[keys::LOG, keys::CACHE],
        "the log must be at most half of the cache, so that a restore fits",
    );
    for units in [keys::READ_UNITS, keys::WRITE_UNITS] {
        check(
            has(units) && draft.on_demand,
            &[units, keys::ON_DEMAND],
            "a table on demand has no capacity units; set use-on-demand to false, or leave them out",
        );
    }
    check(
        config.parallelism > config.max_parallelism,
        &[keys::PARALLELISM, keys::MAX],
        "the parallelism must be at most the maximum parallelism",
    );
    check(
        draft.max_backoff < draft.initial_backoff,
        &[keys::INITIAL_BACKOFF, keys::MAX_BACKOFF],
        "the longest delay must be at least the initial one",
    );
    credentials(draft, &remote, &mut check);
    problems
}

fn credentials(
    draft: &Draft,
    remote: &[&str],
    check: &mut impl FnMut(bool, &[&'static str], &str),
) {
    let (id, secret) = (draft.access_key_id.is_some(), draft.secret_key.is_some());
    let basic = draft.provider == Provider::Basic;
    let pair = &[keys::PROVIDER, keys::ACCESS_KEY, keys::SECRET_KEY];
    check(id != secret, pair, "an access key's id and its secret go together; give both or none");
    check(basic && !id && !secret, pair, "BASIC needs an access key's id and secret");
    check(
        (id || secret) && remote.is_empty(),
        pair,
        "credentials alone choose no AWS; set aws.region or state.backend.dynamodb.endpoint too",
    );
}

/// The key as it was given, or its default.
fn name(name: &'static str, given: &Settings) -> Option<String> {
    let key = keys::find(name)?;
    Some(match given.get(name) {
        Some(given) => shown(key, given),
        None => match key.kind.default_text(&mut Draft::default()) {
            Some(default) => format!("{name} = {default:?} (default)"),
            None => format!("{name} (not set)"),
        },
    })
}

fn restart(draft: &Draft) -> RestartStrategy {
    match draft.strategy {
        Strategy::None => RestartStrategy::None,
        Strategy::Fixed => {
            RestartStrategy::FixedDelay { attempts: draft.fixed_attempts, delay: draft.fixed_delay }
        }
        Strategy::Exponential => RestartStrategy::ExponentialDelay {
            initial_backoff: draft.initial_backoff,
            max_backoff: draft.max_backoff,
            backoff_multiplier: draft.backoff_multiplier,
            reset_backoff_threshold: draft.reset_backoff_threshold,
            jitter_factor: draft.jitter_factor,
            attempts_before_reset: draft.attempts_before_reset,
        },
        Strategy::FailureRate => RestartStrategy::FailureRate {
            max_failures_per_interval: draft.max_failures,
            failure_rate_interval: draft.failure_interval,
            delay: draft.failure_delay,
        },
    }
}

fn location(draft: Draft) -> Location {
    if draft.region.is_some() || draft.endpoint.is_some() {
        let basic = draft.access_key_id.zip(draft.secret_key);
        Location::Remote { region: draft.region, endpoint: draft.endpoint, basic }
    } else if draft.local_in_memory {
        Location::EmbeddedMemory
    } else {
        Location::EmbeddedFile(draft.local_db_path)
    }
}
