//! The files in `docker/` are sound, and every name in them exists: no Docker is needed to see that.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use crate::process::millpond;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

type Table = HashMap<String, Value>;

fn yaml(path: &str) -> Table {
    let file = config::File::from_str(&read(path), config::FileFormat::Yaml);
    config::Config::builder().add_source(file).build().unwrap().try_deserialize().unwrap()
}

fn table(value: &Value) -> Table {
    value.clone().into_table().unwrap()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    match &value.kind {
        ValueKind::Array(all) => all.iter().map(|v| v.clone().into_string().unwrap()).collect(),
        ValueKind::Table(names) => names.keys().cloned().collect(),
        other => panic!("{other:?} is no list"),
    }
}

fn text(table: &Table, name: &str) -> Option<String> {
    table.get(name).map(|value| value.clone().into_string().unwrap())
}

fn services() -> HashMap<String, Table> {
    let compose = yaml("docker/compose.yaml");
    table(&compose["services"])
        .iter()
        .map(|(name, service)| (name.clone(), table(service)))
        .collect()
}

/// One instruction of the Dockerfile, in capitals, and what follows it.
fn instructions() -> Vec<(String, String)> {
    let whole = read("docker/Dockerfile").replace("\\\n", " ");
    let lines = whole.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (name, rest) = line.split_once(' ').expect("an instruction has arguments");
        (name.to_owned(), rest.trim().to_owned())
    };
    lines.map(split).collect()
}

fn only<'a>(instructions: &'a [(String, String)], name: &str) -> &'a str {
    let found: Vec<_> = instructions.iter().filter(|(is, _)| is == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    &found[0].1
}

/// What the build context lets in: what `.dockerignore` names after `!`.
fn let_in(path: &str) -> bool {
    let ignored = read(".dockerignore");
    assert!(ignored.starts_with("*\n"), "all is left out but what is named");
    ignored.lines().filter_map(|line| line.strip_prefix('!')).any(|kept| kept == path)
}

#[test]
fn the_image_is_built_of_what_is_there_and_its_user_is_not_root() {
    let instructions = instructions();
    let known = ["FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"];
    assert!(
        instructions.iter().all(|(name, _)| known.contains(&name.as_str())),
        "{instructions:?}"
    );
    let of = |name: &'static str| {
        instructions.iter().filter(move |(is, _)| is == name).map(|(_, rest)| rest.as_str())
    };
    let stages: Vec<_> = of("FROM").filter_map(|from| from.split_once(" AS ")).collect();
    let (mut copied, mut binary) = (Vec::new(), None);
    for copy in of("COPY") {
        let words: Vec<_> = copy.split_whitespace().collect();
        if let Some(stage) = words[0].strip_prefix("--from=") {
            assert!(stages.iter().any(|(_, name)| *name == stage), "{copy}: no such stage");
            assert!(words[1].ends_with("/target/release/millpond"), "{copy}");
            binary = Some(words[2].to_owned());
            continue;
        }
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "{copy}: {source} is not there");
            assert!(let_in(source), "{copy}: .dockerignore leaves {source} out");
            copied.push((*source).to_owned());
        }
    }
    let entry: Vec<String> = serde_json::from_str(only(&instructions, "ENTRYPOINT")).unwrap();
    assert_eq!(Some(&entry[0]), binary.as_ref());
    assert_eq!(only(&instructions, "USER"), "nonroot");
    assert!(of("FROM").next_back().unwrap().ends_with(":nonroot"));
    let command: Vec<String> = serde_json::from_str(only(&instructions, "CMD")).unwrap();
    assert!(millpond(root(), &command).output().unwrap().status.success());
    // The toolchain is the one that Cargo.toml asks for.
    let version = read("Cargo.toml");
    let version = version.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let image = format!("rust:{version}-slim-bookworm");
    assert_eq!(of("FROM").next().unwrap().split(' ').next(), Some(image.as_str()));
    assert!(read("docs/operations.md").contains(&format!("\nFROM {image} AS build\n")));
    // With the test kit, a variable could make what runs in production kill itself.
    let build = of("RUN").find(|run| run.starts_with("cargo build ")).unwrap();
    assert!(build.contains(" --no-default-features "), "{build}");
    all_that_is_compiled_in_is_copied(&copied);
}

/// Every file that the library and the jobs include, and every target that Cargo.toml names.
fn all_that_is_compiled_in_is_copied(copied: &[String]) {
    let mut open: Vec<PathBuf> = ["src", "jobs"].iter().map(|folder| root().join(folder)).collect();
    let mut seen = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        if path.file_stem().is_some_and(|stem| stem == "tests" || stem == "fuzz") {
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        let includes = ["include_str!(\"", "include_bytes!(\""];
        for rest in includes.iter().flat_map(|include| code.split(include).skip(1)) {
            let included = path.parent().unwrap().join(rest.split('"').next().unwrap());
            let included = included.canonicalize().unwrap();
            let inside = included.strip_prefix(root().canonicalize().unwrap()).unwrap().to_owned();
            let is_copied = copied.iter().any(|copied| inside.starts_with(copied));
            assert!(is_copied, "{} includes {}", path.display(), inside.display());
            seen += 1;
        }
    }
    assert!(seen > 3);
    for (target, folder) in [("[[bench]]", "benches"), ("[[test]]", "tests")] {
        if read("Cargo.toml").contains(target) {
            assert!(copied.contains(&folder.to_owned()), "{folder}");
        }
    }
}

#[test]
fn every_service_volume_file_and_port_of_the_composition_exists() {
    let compose = yaml("docker/compose.yaml");
    let volumes = texts(compose.get("volumes"));
    let services = services();
    for (name, service) in &services {
        let known = [
            "image",
            "build",
            "command",
            "environment",
            "volumes",
            "ports",
            "depends_on",
            "user",
            "healthcheck",
            "stop_grace_period",
        ];
        assert!(service.keys().all(|key| known.contains(&key.as_str())), "{name}: {service:?}");
        assert!(service.contains_key("image") != service.contains_key("build"), "{name}");
        for other in texts(service.get("depends_on")) {
            let other = services.get(&other).expect("a service that is depended on");
            assert!(other.contains_key("healthcheck"), "{name} waits until {other:?} is healthy");
        }
        for volume in texts(service.get("volumes")) {
            let source = volume.split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(file) => assert!(root().join("docker").join(file).exists(), "{volume}"),
                None => assert!(volumes.iter().any(|known| known == source), "{volume}"),
            }
        }
        for port in texts(service.get("ports")) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
        if let Some(build) = service.get("build").map(table) {
            let context = root().join("docker").join(text(&build, "context").unwrap());
            assert_eq!(context.canonicalize().unwrap(), root().canonicalize().unwrap());
            assert!(context.join(text(&build, "dockerfile").unwrap()).exists());
        }
    }
    // What the suite of `.ci/dynamodb-local` has seen.
    let version = read(".ci/dynamodb-local");
    let version = version.split("\nversion=").nth(1).unwrap().lines().next().unwrap();
    let image = text(&services["dynamodb"], "image").unwrap();
    assert_eq!(image, format!("amazon/dynamodb-local:{version}"));
}

#[test]
fn the_job_its_settings_and_its_endpoint_exist() {
    let services = services();
    let job = &services["route-stats"];
    let command = texts(job.get("command"));
    let jobs = millpond(root(), &["jobs"]).output().unwrap();
    let jobs = String::from_utf8(jobs.stdout).unwrap();
    assert!(jobs.lines().any(|line| line.split(' ').next() == Some(&command[1])), "{jobs}");
    let at = command.iter().position(|word| word == "--config").unwrap();
    let mounted = format!("./millpond.yaml:{}:ro", command[at + 1]);
    assert!(texts(job.get("volumes")).contains(&mounted), "{mounted}");

    // The settings are right together with the variables: they are loaded, and nothing is reached.
    let config = root().join("docker/millpond.yaml").display().to_string();
    let mut loads = millpond(root(), &["table", "policy", "--config", &config]);
    for (name, value) in table(&job["environment"]) {
        // YAML's names are read in lower case here.
        loads.env(name.to_uppercase(), value.into_string().unwrap());
    }
    let output = loads.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8(output.stderr).unwrap());

    let settings = read("docker/millpond.yaml");
    let setting = |key: &str| {
        let line = settings.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let endpoint = setting("state.backend.dynamodb.endpoint");
    let (host, port) = endpoint.strip_prefix("http://").unwrap().split_once(':').unwrap();
    assert!(services.contains_key(host), "{endpoint} is no service");
    let published = texts(services[host].get("ports"));
    assert!(published.iter().all(|ports| ports.ends_with(&format!(":{port}"))), "{published:?}");
    let rest = format!(":{}", setting("rest.port"));
    assert!(texts(job.get("ports")).iter().all(|ports| ports.ends_with(&rest)));
    let exposed = instructions();
    assert_eq!(format!(":{}", only(&exposed, "EXPOSE")), rest);
}
