//! A call that cannot work is refused before anything is claimed: the table has no head for it, and one
//! that was there stays as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::fs;
use std::path::Path;

use engine_support::{Engine, head, job, ms, pass, simulate, small};
use millpond::ErrorKind;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus};
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

/// Such a call used to be refused only after its claim: whoever ran the job was fenced for nothing.
#[test]
fn a_call_that_cannot_go_on_takes_the_job_from_nobody() {
    simulate(async {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/a.txt"), "one\ntwo\nthree\n").unwrap();
        let (owner, twin) = Engine::twin(small());
        let mut engine = owner.clone();
        engine.take_over = true;
        engine.mode = StartMode::Resume;
        let graph = |output: &str| {
            let env = StreamEnvironment::new();
            env.source(FileSource::lines(at("in/*.txt").as_path()).follow())
                .key_by(|line| line.len() as u64)
                .reduce(|_, line| line)
                .sink(FileSink::json_lines(at(output)));
            env.build().unwrap()
        };
        let rival = async {
            engine.until(|status| status.checkpoints.counts.completed > 2).await;
            let error = engine.run(graph("typo")).await.unwrap_err();
            assert!(error.to_string().contains("typo has vanished"), "{error}");
            assert_eq!(head(&twin).attempt.0, 1);
            assert!(!at("typo").exists());
            let from = head(&twin).checkpoint;
            pass(ms(100)).await;
            assert!(head(&twin).checkpoint > from, "the owner goes on");
        };
        tokio::select! {
            biased;
            ended = owner.run(graph("out")) => panic!("the owner ends: {ended:?}"),
            () = rival => {}
        }
        // It has died.
        let left = head(&twin);
        fs::rename(at("in/a.txt"), at("in/b.txt")).unwrap();
        let error = engine.run(graph("out")).await.unwrap_err();
        assert!(error.to_string().contains("a.txt is gone"), "{error}");
        assert_eq!(head(&twin), left);
        fs::rename(at("in/b.txt"), at("in/a.txt")).unwrap();
        let stopped = engine.run_until(graph("out"), pass(ms(100))).await;
        assert_eq!(stopped.unwrap(), Ended::Stopped);
        assert_eq!(head(&twin).attempt.0, 2);
    });
}
