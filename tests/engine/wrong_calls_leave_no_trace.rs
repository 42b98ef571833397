//! A call that cannot work is refused before anything is claimed: the table has no head for it, and one
//! that was there stays as it was.

use std::fs;
use std::path::Path;

use millpond::ErrorKind;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus};
use millpond::connector::{FileSink, FileSource, MemorySink, MemorySource};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

use crate::engine_support::{Engine, Wrapped, head, job, ms, pass, simulate, small};

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

/// A source that cannot be replayed used to give up the state of the job that it was added to, without a word.
#[test]
fn a_source_that_cannot_be_replayed_gives_up_state_only_where_that_is_asked_for() {
    simulate(async {
        let (mut engine, twin) = Engine::twin(small());
        let (feed, numbers) = MemorySource::fed(1);
        let (_open, once) = MemorySource::<u64>::fed(1);
        let sink = MemorySink::new();
        let graph = |is_added: bool| {
            let env = StreamEnvironment::new();
            let sum = env.source(numbers.clone()).uid("numbers").key_by(|n| n % 2);
            sum.reduce(|a, b| a + b).uid("sum").sink(sink.clone()).uid("sums");
            if is_added {
                env.source(Wrapped::once(once.clone()))
                    .uid("once")
                    .sink(MemorySink::new())
                    .uid("out");
            }
            env.build().unwrap()
        };
        feed.push(0, [1, 3]);
        engine.run_until(graph(false), pass(ms(100))).await.unwrap();
        let left = head(&twin);
        let error = engine.run_until(graph(true), pass(ms(100))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        for part in ["(once: ", "--fresh"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert_eq!(head(&twin), left);

        feed.push(0, [5]);
        engine.run_until(graph(false), pass(ms(100))).await.unwrap();
        assert_eq!(sink.output().last(), Some(&9));
        engine.mode = StartMode::Fresh;
        engine.run_until(graph(true), pass(ms(100))).await.unwrap();
        assert_eq!(head(&twin).incarnation.0, 2);
        // From now on it cannot be gone on with, which needs no word.
        engine.mode = StartMode::Auto;
        engine.run_until(graph(true), pass(ms(100))).await.unwrap();
        assert_eq!(head(&twin).incarnation.0, 3);
    });
}

/// Killed before its first checkpoint, it has nothing: that used to be taken for something to go on from.
#[test]
fn resume_is_refused_where_there_is_nothing_to_resume() {
    simulate(async {
        let mut config = small();
        config.checkpointing.interval = ms(100_000);
        let (mut engine, twin) = Engine::twin(config);
        let (feed, numbers) = MemorySource::<u64>::fed(1);
        let graph = || {
            let env = StreamEnvironment::new();
            env.source(numbers.clone()).sink(MemorySink::new());
            env.build().unwrap()
        };
        tokio::select! {
            biased;
            ended = engine.run(graph()) => panic!("{ended:?}"),
            () = pass(ms(100)) => {}
        }
        let left = head(&twin);
        engine.mode = StartMode::Resume;
        let error = engine.run_until(graph(), pass(ms(100))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("there is nothing to resume"), "{error}");
        assert_eq!(head(&twin), left);
        feed.close();
        engine.mode = StartMode::Auto;
        assert_eq!(engine.run(graph()).await.unwrap(), Ended::Finished);
    });
}
