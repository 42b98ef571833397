//! What loading promises: precedence, complete errors, no secrets in them, no contradictions.

use std::time::Duration;

use proptest::prelude::*;

use super::keys::KEYS;
use super::*;

fn with(definitions: &[&str]) -> Sources {
    Sources {
        definitions: definitions.iter().map(|&d| d.to_owned()).collect(),
        ..Sources::default()
    }
}

fn file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("millpond.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

fn refused(sources: &Sources) -> String {
    load(sources).unwrap_err().to_string()
}

#[test]
fn nothing_given_is_the_default() {
    let mut expected = Config::default();
    expected.parallelism = expected.parallelism.min(expected.max_parallelism);
    assert_eq!(load(&Sources::default()).unwrap(), expected);
}

#[test]
fn nested_and_dotted_yaml_mean_the_same() {
    let (_a, nested) =
        file("rest:\n  port: 0\nexecution:\n  checkpointing:\n    interval: 100 ms\n");
    let (_b, dotted) = file("rest.port: 0\nexecution.checkpointing:\n  interval: 100ms\n");
    let config = load(&nested).unwrap();
    assert_eq!(config, load(&dotted).unwrap());
    assert_eq!(config.rest.port, Some(0));
    assert_eq!(config.checkpointing.interval, Duration::from_millis(100));
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let (_folder, mut sources) =
        file("high-availability.lease: 1 s\nrest.port: 1\nparallelism.default: 1");
    sources.environment = vec![
        ("MILLPOND_HIGH_AVAILABILITY_LEASE".to_owned(), "2 s".to_owned()),
        ("MILLPOND_REST_PORT".to_owned(), "2".to_owned()),
        ("MILLPOND_LOG".to_owned(), "debug".to_owned()),
        ("MILLPOND_KILL_AT".to_owned(), "nowhere".to_owned()),
        ("HOME".to_owned(), "/".to_owned()),
    ];
    sources.definitions = vec!["high-availability.lease=3 s".to_owned()];
    let config = load(&sources).unwrap();
    assert_eq!(config.lease, Duration::from_secs(3));
    assert_eq!(config.rest.port, Some(2));
    assert_eq!(config.parallelism, 1);
    sources.options = vec![("--parallelism", "parallelism.default", "3".to_owned())];
    assert_eq!(load(&sources).unwrap().parallelism, 3);
}

#[test]
fn a_key_may_be_given_by_flink_2s_name_in_each_place_and_later_places_win_whatever_name_they_use() {
    let retained = |sources: &Sources| load(sources).unwrap().checkpointing.num_retained;
    let (_folder, mut sources) = file(
        "execution:\n  checkpointing:\n    num-retained: 2\nstate:\n  backend:\n    type: dynamodb\n",
    );
    assert_eq!(retained(&sources), 2);
    sources.environment =
        vec![("MILLPOND_EXECUTION_CHECKPOINTING_NUM_RETAINED".to_owned(), "3".to_owned())];
    assert_eq!(retained(&sources), 3);
    sources.definitions = vec!["state.checkpoints.num-retained=4".to_owned()];
    assert_eq!(retained(&sources), 4);
    sources.definitions = vec!["execution.checkpointing.num-retained=5".to_owned()];
    assert_eq!(retained(&sources), 5);
}

#[test]
fn both_names_of_a_key_in_one_place_are_an_error_that_names_both() {
    let (folder, sources) = file("state.backend: dynamodb\nstate.backend.type: dynamodb\n");
    let path = folder.path().join("millpond.yaml").display().to_string();
    let names = [format!("state.backend ({path}:1)"), format!("state.backend.type ({path}:2)")];
    let error = refused(&sources);
    assert!(names.iter().all(|name| error.contains(name)), "{error}");
    assert!(error.contains("two names of one key"), "{error}");
    let both = ["execution.checkpointing.num-retained=1", "state.checkpoints.num-retained=1"];
    let error = refused(&with(&both));
    assert!(error.contains("two names of one key: leave one out"), "{error}");
}

/// A value that is wrong is told under the name that it was given by.
#[test]
fn errors_name_a_key_as_it_was_given() {
    let error = refused(&with(&["state.backend.type=rocksdb"]));
    assert!(error.contains("state.backend.type = \"rocksdb\" (-D)"), "{error}");
    let error = refused(&with(&["execution.checkpointing.num-retaned=2"]));
    assert!(error.contains("did you mean execution.checkpointing.num-retained?"), "{error}");
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in KEYS.iter() {
        let sources = Sources {
            environment: vec![(key.variable(), key.example.trim_matches('"').to_owned())],
            ..Sources::default()
        };
        if let Err(error) = load(&sources) {
            // Some keys make no sense alone, which is reported about this very key.
            assert!(error.to_string().contains(key.name), "{error}");
            assert!(error.to_string().contains(": "), "{error}");
            assert!(!error.to_string().contains("is no setting"), "{error}");
        }
    }
}

#[test]
fn all_errors_are_told_at_once_with_key_value_place_and_example() {
    let (folder, mut sources) = file("rest:\n  port: none\npipeline.max-parallelism: [1]\n");
    sources.environment =
        vec![("MILLPOND_HIGH_AVAILABILITY_LEASE".to_owned(), "2 parsecs".to_owned())];
    sources.definitions = vec!["state.backend.dynamodb.cache-sise=1".to_owned(), "oops".to_owned()];
    let error = refused(&sources);
    let path = folder.path().join("millpond.yaml").display().to_string();
    for part in [
        "5 errors",
        &format!("rest.port = \"none\" ({path}:2)"),
        "for example: 8081",
        &format!("pipeline.max-parallelism is a list ({path}:3)"),
        "high-availability.lease = \"2 parsecs\" (environment variable MILLPOND_HIGH_AVAILABILITY_LEASE)",
        "for example: 5 s",
        "cache-sise (-D) is not a key; did you mean state.backend.dynamodb.cache-size?",
        "-D oops has no \"=\"",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn unknown_keys_and_variables_name_the_nearest() {
    assert!(refused(&with(&["rest.prot=1"])).contains("did you mean rest.port?"));
    assert!(refused(&with(&["zzz=1"])).contains("config-reference"));
    let sources = Sources {
        environment: vec![("MILLPOND_REST_PROT".to_owned(), "1".to_owned())],
        ..Sources::default()
    };
    assert!(refused(&sources).contains("did you mean MILLPOND_REST_PORT?"));
    assert!(
        refused(&with(&["restart-strategy.type=fixed-deley"]))
            .contains("did you mean fixed-delay?")
    );
}

#[test]
fn a_file_that_is_missing_broken_or_says_a_thing_twice_is_an_error() {
    let sources = Sources { file: Some("no/such.yaml".into()), ..Sources::default() };
    assert!(refused(&sources).contains("cannot read no/such.yaml"));
    let (_a, broken) = file("a: [1");
    assert!(refused(&broken).contains("is not a YAML mapping"));
    let (_b, twice) = file("rest.port: 1\nrest:\n  port: 2\n");
    assert!(refused(&twice).contains("rest.port is given twice"));
    let (_c, empty) = file("rest.port:\n");
    assert!(refused(&empty).contains("rest.port has no value"));
    let (_d, number) = file("aws.region: 007\n");
    assert!(refused(&number).contains("put it in quotes"));
}

#[test]
fn contradictions_name_both_keys() {
    let db = |key: &str| format!("state.backend.dynamodb.{key}");
    for (definitions, parts) in [
        (
            vec![db("local-db-path=a.db"), "aws.region=eu-west-1".to_owned()],
            ["local-db-path", "aws.region"],
        ),
        (vec![db("local-db-path=a.db"), db("endpoint=http://h")], ["local-db-path", "endpoint"]),
        (
            vec![db("local-in-memory=true"), db("endpoint=http://h")],
            ["local-in-memory", "endpoint"],
        ),
        (
            vec![db("local-in-memory=true"), db("local-db-path=a.db")],
            ["local-in-memory", "local-db-path"],
        ),
        (
            vec![db("log-max-size=200 MiB")],
            ["log-max-size = \"200 MiB\"", "cache-size = \"256 MiB\" (default)"],
        ),
        (
            vec![db("read-capacity-units=5")],
            ["read-capacity-units", "use-on-demand = \"true\" (default)"],
        ),
        (
            vec!["parallelism.default=200".to_owned()],
            ["parallelism.default", "pipeline.max-parallelism"],
        ),
        (
            vec!["aws.credentials.provider=BASIC".to_owned()],
            ["aws.credentials.provider", "secretkey"],
        ),
        (
            vec!["aws.credentials.provider.basic.accesskeyid=a".to_owned()],
            ["accesskeyid", "secretkey"],
        ),
    ] {
        let definitions: Vec<_> = definitions.iter().map(String::as_str).collect();
        let error = refused(&with(&definitions));
        assert!(parts.iter().all(|part| error.contains(part)), "{definitions:?}: {error}");
    }
}

#[test]
fn a_smaller_cache_takes_the_logs_default_with_it() {
    let config = load(&with(&["state.backend.dynamodb.cache-size=32 MiB"])).unwrap();
    assert_eq!(config.state.log_max_bytes, 16 << 20);
}

#[test]
fn a_bound_of_a_table_is_a_number_or_none() {
    let bound = |value: &str| {
        load(&with(&[&format!("state.backend.dynamodb.table.max-read-request-units={value}")]))
    };
    for (value, expected) in [("none", Bound::None), ("None", Bound::None), ("7", Bound::Units(7))]
    {
        assert_eq!(bound(value).unwrap().store.max_read_units, Some(expected));
    }
    assert_eq!(load(&with(&[])).unwrap().store.max_read_units, None);
    for wrong in ["0", "nothing"] {
        let error = bound(wrong).unwrap_err().to_string();
        assert!(error.contains("a whole number from 1 to 1000000, or none"), "{error}");
    }
}

#[test]
fn a_region_or_an_endpoint_is_what_chooses_a_remote_table() {
    let credentials = [
        "aws.credentials.provider.basic.accesskeyid=id",
        "aws.credentials.provider.basic.secretkey=hush",
    ];
    let error = refused(&with(&credentials));
    assert!(error.contains("credentials alone choose no AWS"), "{error}");
    let mut definitions = credentials.to_vec();
    definitions.push("state.backend.dynamodb.endpoint=http://localhost:8000");
    let config = load(&with(&definitions)).unwrap();
    let basic = Credentials::basic("id", Secret::new("hush".to_owned()));
    let endpoint = Some("http://localhost:8000".to_owned());
    let expected = Location::Remote { region: None, endpoint, credentials: basic };
    assert_eq!(config.store.location, expected);
}

#[test]
fn provisioned_capacity_and_each_restart_strategy_arrive() {
    let config = load(&with(&[
        "state.backend.dynamodb.use-on-demand=false",
        "state.backend.dynamodb.write-capacity-units=7",
        "restart-strategy.type=failure-rate",
        "restart-strategy.failure-rate.max-failures-per-interval=9",
    ]))
    .unwrap();
    assert_eq!(config.store.provisioned, Some((20, 7)));
    assert_eq!(config.state.on_capacity(Some((20, 7))).segment_bytes, 7 << 10);
    let RestartStrategy::FailureRate { max_failures_per_interval: 9, .. } = config.restart else {
        panic!("{:?}", config.restart)
    };
    let config = load(&with(&["restart-strategy.type=none"])).unwrap();
    assert_eq!(config.restart, RestartStrategy::None);
    let config = load(&with(&["restart-strategy.type=fixed-delay"])).unwrap();
    assert_eq!(
        config.restart,
        RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(1) }
    );
}

#[test]
fn prices_arrive_and_a_bound_is_optional() {
    let config = load(&with(&["cost.write-usd-per-million=0.7"])).unwrap();
    assert_eq!((config.cost.write_usd_per_million, config.cost.max_usd_per_hour), (0.7, None));
    let config = load(&with(&["cost.max-usd-per-hour=1.25"])).unwrap();
    assert_eq!(config.cost.max_usd_per_hour, Some(1.25));
    assert!(refused(&with(&["cost.max-usd-per-hour=-1"])).contains("from 0 to"));
    let own = load(&with(&[
        "state.backend.dynamodb.use-on-demand=false",
        "state.backend.dynamodb.segment-size=64 KiB",
    ]));
    let own = own.unwrap().state.on_capacity(Some((20, 7)));
    assert_eq!(own.segment_bytes, 64 << 10, "what is configured stays");
}

const HUSH: &str = "wJalrXUtnFEMI";

#[test]
fn no_error_and_no_debug_output_shows_a_secret() {
    let secret = "aws.credentials.provider.basic.secretkey";
    for wrong in [
        vec![format!("{secret}={HUSH}")],
        vec![format!("{secret}s={HUSH}")],
        vec![format!("{secret}:{HUSH}")],
        vec![format!("{secret}={HUSH}"), "rest.port=x".to_owned()],
        vec![format!("state.backend.dynamodb.endpoint=ftp://me:{HUSH}@host")],
        vec![format!("state.backend.dynamodb.endpoint=http://me:{HUSH}@host")],
    ] {
        let sources = Sources { definitions: wrong.clone(), ..Sources::default() };
        let error = load(&sources).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(HUSH), "{wrong:?}: {error}");
    }
    let config = load(&with(&[
        "aws.region=eu-west-1",
        "aws.credentials.provider.basic.accesskeyid=id",
        &format!("{secret}={HUSH}"),
    ]))
    .unwrap();
    assert!(!format!("{config:?}").contains(HUSH));
}

proptest! {
    #[test]
    fn no_definition_panics(key in 0..KEYS.len(), text: String) {
        let _ = load(&with(&[&format!("{}={text}", KEYS[key].name)]));
    }
}

#[test]
fn what_is_wrong_alone_and_what_contradicts_is_told_at_once() {
    let error = refused(&with(&[
        "rest.prot=1",
        "execution.checkpointing.interval=soon",
        "state.backend.dynamodb.write-capacity-units=5",
        "parallelism.default=many",
        "pipeline.max-parallelism=1",
    ]));
    for part in ["rest.prot", "interval = \"soon\"", "on demand has no capacity", "= \"many\""] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // What a value that is wrong already contradicts is noise.
    assert!(!error.contains("at most the maximum parallelism"), "{error}");
}
