//! A call that cannot work is refused before anything is claimed: the table has no head for it, and one
//! that was there stays as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::fs;
use std::path::Path;

use engine_support::{Engine, head, job, simulate, small};
use millpond::ErrorKind;
use millpond::checkpoint::HeadStatus;
use millpond::connector::{FileSink, FileSource};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

/// The last line of each length, after each line of `input`, to `output`.
fn graph(input: &Path, output: &Path) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(FileSource::lines(input))
        .key_by(|line| line.len() as u64)
        .reduce(|_, line| line)
        .sink(FileSink::json_lines(output));
    env.build().unwrap()
}

#[test]
fn what_cannot_be_read_or_written_is_told_before_the_job_is_claimed() {
    simulate(async {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/a.txt"), "one\ntwo\nthree\n").unwrap();
        fs::create_dir(at("taken")).unwrap();
        fs::write(at("taken/notes.txt"), "mine").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("in/nowhere"), at("dangling")).unwrap();
        let (engine, twin) = Engine::twin(small());

        let wrong: &[(&str, &str, ErrorKind, &str)] = &[
            ("no/*.txt", "out", ErrorKind::Usage, "no file matches"),
            ("dangling", "out", ErrorKind::Usage, "no regular file"),
            ("in/*.txt", "taken", ErrorKind::Usage, "--replace"),
            ("in/*.txt", "in/a.txt", ErrorKind::Io, "Not a directory"),
        ];
        for (input, output, kind, part) in wrong {
            let error = engine.run(graph(&at(input), &at(output))).await.unwrap_err();
            assert_eq!(error.kind(), *kind, "{error}");
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(engine.status().start, None, "nothing was begun");
        }
        assert_eq!(twin.memory_heads().head(&job()), None);
        assert!(!at("out").exists());

        engine.run(graph(&at("in/*.txt"), &at("out"))).await.unwrap();
        let finished = head(&twin);
        assert_eq!((finished.attempt.0, finished.status), (1, HeadStatus::Finished));
        for (input, output, ..) in wrong {
            engine.run(graph(&at(input), &at(output))).await.unwrap_err();
        }
        // Its own results are in the way of another run, too.
        let taken = engine.run(graph(&at("in/*.txt"), &at("out"))).await.unwrap_err();
        assert!(taken.to_string().contains("--replace"), "{taken}");
        assert_eq!(head(&twin), finished, "it has not begun another incarnation");
    });
}
