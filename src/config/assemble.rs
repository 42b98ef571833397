//! From single values to [`Config`]: what combinations mean, and which contradict each other.
//!
//! Owns the rules between keys. Those of single values are `kind`'s.

use std::collections::BTreeSet;

use super::draft::{Draft, Strategy};
use super::keys;
use super::load::{Settings, shown};
use super::{Config, Location, RestartStrategy};

/// Builds the settings, or says every contradiction but those with keys whose values are `wrong`: these would
/// only be noise.
pub(super) fn assemble(
    mut draft: Draft,
    given: &Settings,
    wrong: &BTreeSet<&'static str>,
) -> Result<Config, Vec<String>> {
    follow_defaults(&mut draft, given);
    let problems = contradictions(&draft, given, wrong);
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
    config.state.segment_fixed = given.contains_key(keys::SEGMENT);
    if !given.contains_key(keys::PARALLELISM) {
        config.parallelism = config.parallelism.min(config.max_parallelism);
    }
}

/// What is wrong between keys: which, why, and what would be right.
#[derive(Debug)]
pub(super) struct Problem {
    keys: Vec<&'static str>,
    why: String,
    right: Option<String>,
}

impl Problem {
    pub(super) fn new(keys: impl IntoIterator<Item = &'static str>, why: &str) -> Self {
        Self { keys: keys.into_iter().collect(), why: why.to_owned(), right: None }
    }

    /// Of keys that are all there: settings that do not contradict each other.
    pub(super) fn such_as(self, right: impl Into<String>) -> Self {
        Self { right: Some(right.into()), ..self }
    }

    /// The keys as they were given, why that is wrong, and an example of what is right.
    fn tell(&self, given: &Settings) -> String {
        let named: Vec<_> = self.keys.iter().filter_map(|key| name(key, given)).collect();
        let example = |key: &&str| {
            let key = keys::find(key)?;
            let missing = !given.contains_key(key.name)
                && key.kind.default_text(&mut Draft::default()).is_none();
            missing.then(|| format!("{}={}", key.name, key.example))
        };
        let missing = self.keys.iter().filter_map(example);
        let examples: Vec<_> = self.right.iter().cloned().chain(missing).collect();
        let examples = match examples.as_slice() {
            [] => String::new(),
            some => format!("; for example: {}", some.join(" ")),
        };
        format!("{}: {}{examples}", named.join(" and "), self.why)
    }
}

fn contradictions(draft: &Draft, given: &Settings, wrong: &BTreeSet<&'static str>) -> Vec<String> {
    let remote = [keys::REGION, keys::ENDPOINT];
    let remote: Vec<_> = remote.into_iter().filter(|key| given.contains_key(key)).collect();
    let mut problems = of_the_store(draft, given, &remote);
    problems.extend(of_the_table(draft, given));
    problems.extend(of_the_engine(draft));
    problems.extend(draft.aws.problems(given, !remote.is_empty()));
    let is_sound = |problem: &&Problem| !problem.keys.iter().any(|key| wrong.contains(key));
    problems.iter().filter(is_sound).map(|problem| problem.tell(given)).collect()
}

fn of_the_store(draft: &Draft, given: &Settings, remote: &[&'static str]) -> Vec<Problem> {
    let has = |key: &str| given.contains_key(key);
    let mut problems = Vec::new();
    for local in [keys::LOCAL_PATH, keys::LOCAL_MEMORY] {
        let chosen = local == keys::LOCAL_PATH || draft.local_in_memory;
        if has(local) && chosen && !remote.is_empty() {
            let both = [local].into_iter().chain(remote.iter().copied());
            let why = "the state is either embedded or at a region or endpoint; leave one out";
            let right = format!("{} without {local}", remote.join(" and "));
            problems.push(Problem::new(both, why).such_as(right));
        }
    }
    if has(keys::LOCAL_PATH) && draft.local_in_memory {
        let why = "the embedded DynamoDB is either on a file or in memory; leave one out";
        let right = format!("{} without {}", keys::LOCAL_MEMORY, keys::LOCAL_PATH);
        problems.push(Problem::new([keys::LOCAL_PATH, keys::LOCAL_MEMORY], why).such_as(right));
    }
    problems
}

fn of_the_table(draft: &Draft, given: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (units, fits, right, why) in [
        (
            [keys::READ_UNITS, keys::WRITE_UNITS],
            !draft.on_demand,
            "state.backend.dynamodb.use-on-demand=false",
            "a table on demand has no capacity units; set use-on-demand to false, or leave them out",
        ),
        (
            [keys::MOST_READ, keys::MOST_WRITE],
            draft.on_demand,
            "state.backend.dynamodb.use-on-demand=true",
            "only a table on demand has bounds of its request units; leave them out",
        ),
    ] {
        for units in units.into_iter().filter(|units| given.contains_key(units) && !fits) {
            problems.push(Problem::new([units, keys::ON_DEMAND], why).such_as(right));
        }
    }
    problems
}

fn of_the_engine(draft: &Draft) -> Vec<Problem> {
    let config = &draft.config;
    [
        (
            config.state.log_max_bytes > config.state.cache_bytes / 2,
            [keys::LOG, keys::CACHE],
            "the log must be at most half of the cache, so that a restore fits",
            "state.backend.dynamodb.log-max-size=64 MiB state.backend.dynamodb.cache-size=128 MiB",
        ),
        (
            config.parallelism > config.max_parallelism,
            [keys::PARALLELISM, keys::MAX],
            "the parallelism must be at most the maximum parallelism",
            "parallelism.default=4 pipeline.max-parallelism=128",
        ),
        (
            draft.max_backoff < draft.initial_backoff,
            [keys::INITIAL_BACKOFF, keys::MAX_BACKOFF],
            "the longest delay must be at least the initial one",
            "restart-strategy.exponential-delay.initial-backoff=1 s \
             restart-strategy.exponential-delay.max-backoff=1 min",
        ),
    ]
    .into_iter()
    .filter(|(wrong, ..)| *wrong)
    .map(|(_, keys, why, right)| Problem::new(keys, why).such_as(right))
    .collect()
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
        let credentials = draft.aws.finish();
        Location::Remote { region: draft.region, endpoint: draft.endpoint, credentials }
    } else if draft.local_in_memory {
        Location::EmbeddedMemory
    } else {
        Location::EmbeddedFile(draft.local_db_path)
    }
}
