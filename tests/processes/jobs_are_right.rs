//! The sample jobs, and the guide's first one, against a plain sequential computation over the same input.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millpond::cli::JobArgs;

#[path = "../guide/visits.rs"]
#[expect(dead_code, reason = "its `main` is for whoever copies it")]
mod visits;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The output of a run in `folder` that writes files, line by line, sorted. `stdin` goes in.
fn run(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["run", "--no-rest", "--output", "out"])
        .args(["-D", "state.backend.dynamodb.local-in-memory=true"])
        // Several checkpoints fall into the run, and so several files.
        .args(["-D", "execution.checkpointing.interval=20 ms"])
        .args(arguments)
        .env("XDG_DATA_HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "results go to the folder");
    lines_in(&folder.join("out"))
}

/// What the files of `folder` hold, sorted.
fn lines_in(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut lines: Vec<String> = files
        .filter(|path| path.is_file())
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    lines
}

/// `counts` as the job gives them out: each word with 1, 2, 3 …
fn running_counts<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut lines = Vec::new();
    for word in words {
        let word = word.to_lowercase();
        let count = counts.entry(word.clone()).or_default();
        *count += 1;
        lines.push(format!("{{\"word\":\"{word}\",\"count\":{count}}}"));
    }
    lines.sort();
    lines
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[test]
fn word_count_counts_the_projects_documents() {
    let documents: String = ["README.md", "docs/guide.md", "docs/operations.md"]
        .map(|path| std::fs::read_to_string(root(path)).unwrap() + "\n")
        .concat();
    let expected = running_counts(words(&documents));
    assert!(expected.len() > 500);
    for parallelism in ["1", "2"] {
        let folder = tempfile::tempdir().unwrap();
        let found = run(folder.path(), &["word_count", "--parallelism", parallelism], b"");
        assert!(found == expected, "parallelism {parallelism}");
    }
}

#[test]
fn word_count_counts_any_files_and_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = ("To be, or not to be\r\n\r\nÄrger ÄRGER", "that is the question: be!\n");
    std::fs::write(folder.path().join("1.txt"), one).unwrap();
    std::fs::write(folder.path().join("2.txt"), two).unwrap();
    let expected = running_counts(words(one).chain(words(two)));
    let found = run(folder.path(), &["word_count", "--input", "*.txt"], b"");
    assert_eq!(found, expected);

    let folder = tempfile::tempdir().unwrap();
    let both = format!("{one}\n{two}");
    let found = run(folder.path(), &["word_count", "--input", "-"], both.as_bytes());
    assert_eq!(found, expected);
    // What was read is gone: another process starts afresh, with what it is given.
    let again = ["word_count", "--input", "-", "--replace"];
    let skipping = [&again[..], &["--on-error", "skip"]].concat();
    let broken = [&b"be \xff be\n"[..], both.as_bytes(), b"\xff\n"].concat();
    assert_eq!(run(folder.path(), &skipping, &broken), expected);
    assert_eq!(run(folder.path(), &again, both.as_bytes()), expected);
}

/// The statistics of each flight's route after it, in the file's order.
fn running_statistics(flights: &str) -> Vec<String> {
    let mut routes: HashMap<(&str, &str), (u64, i64, i64)> = HashMap::new();
    let after = flights.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let delay: i64 = fields[1].parse().unwrap();
        let (origin, destination) = (fields[3], fields[4]);
        let (flights, sum, worst) = routes.entry((origin, destination)).or_insert((0, 0, i64::MIN));
        (*flights, *sum, *worst) = (*flights + 1, *sum + delay, delay.max(*worst));
        let mean = serde_json::to_string(&(*sum as f64 / *flights as f64)).unwrap();
        format!(
            "{{\"origin\":\"{origin}\",\"destination\":\"{destination}\",\"flights\":{flights},\
             \"mean_delay\":{mean},\"worst_delay\":{worst}}}"
        )
    });
    let mut lines: Vec<String> = after.collect();
    lines.sort();
    lines
}

#[test]
fn route_stats_follows_each_route_in_order() {
    let path = root("jobs/data/flights.csv");
    let expected = running_statistics(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(expected.len(), 20_000);
    let path = path.to_str().unwrap();
    for arguments in [&["--parallelism", "1"][..], &["--parallelism", "2", "--input", path]] {
        let folder = tempfile::tempdir().unwrap();
        let found = run(folder.path(), &[&["route_stats"], arguments].concat(), b"");
        let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{arguments:?}");
        assert_eq!(found.len(), expected.len(), "{arguments:?}");
    }
}

/// Its code used to have no `main`, and nothing ran it.
#[test]
fn the_guides_first_job_is_a_program_that_does_what_it_says() {
    let [guide, operations, program] =
        ["docs/guide.md", "docs/operations.md", "tests/guide/visits.rs"]
            .map(|path| std::fs::read_to_string(root(path)).unwrap());
    assert!(guide.contains(&format!("```rust,no_run\n{program}```\n")), "the guide has other code");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = JobArgs::of(&["--output", out.to_str().unwrap()]).unwrap();
    millpond::testing::run(visits::build(&args).unwrap()).unwrap();
    // Of a thousand visits 143 are of each of the pages 1 to 5, and 142 of page 6.
    let tenths = (1..=14).map(|tenth| tenth * 10);
    let mut expected: Vec<String> = (1..=6)
        .flat_map(|page| tenths.clone().map(move |n| format!("[\"/page/{page}\",{n}]")))
        .collect();
    expected.sort();
    assert_eq!(lines_in(&out), expected);

    // The image on the way to AWS runs this job: it used to name one that no page has.
    let job = visits::JOB.name;
    for line in [
        format!("COPY --from=build /build/{job}/target/release/{job} /usr/local/bin/{job}"),
        format!("ENTRYPOINT [\"/usr/local/bin/{job}\"]"),
        format!("CMD [\"run\", \"{job}\"]"),
    ] {
        assert!(operations.lines().any(|of_page| of_page == line), "operations.md lacks {line}");
    }
    assert!(guide.contains(&format!("name = \"{job}\"\nversion")), "the crate has another name");
}
