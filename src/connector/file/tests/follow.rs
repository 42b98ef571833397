//! Files that grow while they are read.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use futures::FutureExt;

use super::*;
use crate::error::ErrorKind;

fn append(path: &Path, bytes: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes.as_bytes()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn appended_lines_are_seen_and_a_partial_one_waits_for_its_newline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "one\ntw").unwrap();
    let source = FileSource::lines(path.as_path()).follow();
    assert!(!source.bounded());
    let context = testing::context(10);
    let clock = context.clock;
    let mut reader = source.reader(source.discover(1).unwrap(), context).unwrap();
    let mut out = Batch::default();
    reader.next(&mut out).await.unwrap();
    assert_eq!(out.values, ["one"]);
    let idle = clock.sleep(std::time::Duration::from_secs(60));
    tokio::select! {
        _ = reader.next(&mut out) => panic!("half a line was given out"),
        () = idle => {}
    }
    let snapshot = reader.snapshot();
    append(&path, "o\nthree\n");
    while out.values.len() < 3 {
        reader.next(&mut out).await.unwrap();
    }
    assert_eq!(out.values, ["one", "two", "three"]);
    source.check(&snapshot).unwrap();
    let mut again = source.reader(snapshot, testing::context(10)).unwrap();
    let mut out = Batch::default();
    again.next(&mut out).await.unwrap();
    assert_eq!(out.values, ["two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn growth_is_seen_even_if_each_wait_is_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "").unwrap();
    let source = FileSource::lines(path.as_path()).follow();
    let context = testing::context(10);
    let clock = context.clock;
    let mut reader = source.reader(source.discover(1).unwrap(), context).unwrap();
    let mut out = Batch::default();
    assert!(reader.next(&mut out).now_or_never().is_none());
    append(&path, "x\n");
    let begin = clock.now();
    while out.values.is_empty() {
        tokio::select! {
            progress = reader.next(&mut out) => { progress.unwrap(); }
            () = clock.sleep(std::time::Duration::from_millis(7)) => {}
        }
        assert!((clock.now() - begin).as_millis() < 300);
    }
}

#[tokio::test(start_paused = true)]
async fn several_files_take_turns_and_a_header_may_come_late() {
    #[derive(Debug, serde::Deserialize)]
    struct Row {
        n: u32,
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.csv"), dir.path().join("b.csv"));
    std::fs::write(&a, "n\n1\n").unwrap();
    std::fs::write(&b, "").unwrap();
    let source = FileSource::csv::<Row>(dir.path().join("*.csv")).follow();
    let mut reader = source.reader(source.discover(1).unwrap(), testing::context(10)).unwrap();
    let mut out = Batch::default();
    let mut wanted = 1;
    for (path, text) in [(&a, ""), (&b, "\u{feff}n"), (&b, "\n2\n"), (&a, "3\n"), (&b, "4\n")] {
        append(path, text);
        wanted += usize::from(text.contains(|c: char| c.is_ascii_digit()));
        while out.values.len() < wanted {
            reader.next(&mut out).await.unwrap();
        }
    }
    assert_eq!(out.values.iter().map(|r| r.n).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(reader.lag(), Lag::bytes(0));
}

#[tokio::test(start_paused = true)]
async fn a_followed_file_that_vanishes_or_shrinks_is_an_error() {
    for shrink in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\n").unwrap();
        let source = FileSource::lines(path.as_path()).follow();
        let mut reader = source.reader(source.discover(1).unwrap(), testing::context(10)).unwrap();
        let mut out = Batch::default();
        reader.next(&mut out).await.unwrap();
        let expected = if shrink {
            std::fs::write(&path, "").unwrap();
            "shrank: it had 4 bytes, now 0"
        } else {
            std::fs::remove_file(&path).unwrap();
            "is gone"
        };
        let error = reader.next(&mut out).await.unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
