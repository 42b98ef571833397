//! Any text as a configuration: a YAML file, `-D` and variables.

use super::keys::KEYS;
use super::*;
use crate::error::ErrorKind;
use crate::fuzzing::Target;

/// Examples of all keys.
fn all(separator: &str, of_name: impl Fn(&str) -> String) -> String {
    KEYS.iter().map(|key| format!("{}{separator}{}\n", of_name(key.name), key.example)).collect()
}

fn told(loaded: crate::error::Result<Config>, place: &str) -> String {
    match loaded {
        Ok(_) => "settings".to_owned(),
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Config, "{e}");
            assert!(e.to_string().contains(place), "{e}");
            e.to_string()
        }
    }
}

const TOKENS: [&str; 24] = [
    ":",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "|",
    ">",
    "'",
    "\"",
    "0x7f",
    ".inf",
    "null",
    "18446744073709551616 d",
    "9223372036854775807 GiB",
    "-1 s",
    "1e400",
];

#[test]
fn any_file_is_settings_or_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fuzzed.yaml");
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    let target = Target::new("config")
        .seed(all(": ", str::to_owned))
        .seed("rest:\n  port: 0\nexecution:\n  checkpointing: {interval: 100 ms}\n")
        .seed("parallelism.default: \"4\" # workers\n---\n...\n");
    // A tree of YAML takes some hundred bytes for each sign.
    target.tokens(&TOKENS).memory(64 << 20).run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        // Values that contradict each other may come from the defaults, too: they name keys.
        let text = told(load(&sources), "");
        let of_file = text == "settings" || text.contains("fuzzed.yaml") || text.contains('.');
        assert!(of_file, "{text}");
        text
    });
}

#[test]
fn any_definitions_and_variables_are_settings_or_an_error() {
    /// More would only take longer: each unknown key is compared with all.
    const LINES: usize = 4;
    let variable = |name: &str| name.to_uppercase().replace(['.', '-'], "_");
    let mut target = Target::new("definitions");
    for lines in [all("=", str::to_owned), all("=", variable)] {
        for some in lines.lines().collect::<Vec<_>>().chunks(LINES) {
            target = target.seed(some.join("\n"));
        }
    }
    target.tokens(&TOKENS).memory(64 << 20).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let lines = || text.lines().take(LINES);
        let definitions = lines().map(str::to_owned).collect();
        let pairs = lines().filter_map(|line| line.split_once('='));
        let environment =
            pairs.map(|(name, text)| (format!("MILLPOND_{name}"), text.to_owned())).collect();
        let given = told(load(&Sources { definitions, ..Sources::default() }), "configuration");
        given + &told(load(&Sources { environment, ..Sources::default() }), "configuration")
    });
}
