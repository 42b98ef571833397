//! Files that grow while they are read.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

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
    let idle = clock.sleep(Duration::from_secs(60));
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
            () = clock.sleep(Duration::from_millis(7)) => {}
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
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}

/// Reads until there is an error, which must be about the input; the records before it.
async fn read_to_the_error(reader: &mut dyn Reader<String>) -> (Vec<String>, String) {
    let mut out = Batch::default();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), reader.next(&mut out));
        if let Err(error) = next.await.unwrap() {
            assert_eq!(error.kind(), ErrorKind::Input);
            return (out.values, error.to_string());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_rotated_is_read_to_its_end_and_then_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("log"), dir.path().join("log.1"));
    std::fs::write(&path, "one\n").unwrap();
    let source = FileSource::lines(path.as_path()).follow();
    let mut reader = source.reader(source.discover(1).unwrap(), testing::context(10)).unwrap();
    let mut out = Batch::default();
    reader.next(&mut out).await.unwrap();
    let position = reader.snapshot();
    append(&path, "two\nthree\n");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::write(&path, "a new one, of many more bytes than the old one has\n").unwrap();
    let (read, error) = read_to_the_error(&mut *reader).await;
    assert_eq!(read, ["two", "three"]);
    let expected = format!(
        "the input {} was replaced by another file, after all 14 bytes of the one that is followed \
         were read; files are to be appended to only: put it back as it was to go on, or start with --fresh",
        path.display()
    );
    assert_eq!(error, expected);
    // What it says to do helps.
    source.check(&position).unwrap_err();
    std::fs::rename(&aside, &path).unwrap();
    source.check(&position).unwrap();
    let mut again = source.reader(position, testing::context(10)).unwrap();
    let mut out = Batch::default();
    again.next(&mut out).await.unwrap();
    assert_eq!(out.values, ["two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_just_after_a_rotation_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("log"), dir.path().join("log.1"));
    std::fs::write(&path, "one\n").unwrap();
    let source = FileSource::lines(path.as_path()).follow();
    let mut reader = source.reader(source.discover(1).unwrap(), testing::context(10)).unwrap();
    let mut out = Batch::default();
    reader.next(&mut out).await.unwrap();
    std::fs::rename(&path, &aside).unwrap();
    std::fs::write(&path, "").unwrap();
    // By then it is noticed, at the second look.
    let looks = tokio::time::timeout(Duration::from_millis(150), reader.next(&mut out));
    assert!(looks.await.is_err(), "it is looked at once more");
    append(&aside, "two\n");
    let (read, error) = read_to_the_error(&mut *reader).await;
    assert_eq!(read, ["two"]);
    assert!(error.contains("was replaced"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_cut_off_and_has_grown_again_is_not_read_from_its_middle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    // Once read from its start, once gone on with, where nothing was read yet but the position is known;
    // more than is looked at again, too.
    for (old, restart) in
        [("one\n".to_owned(), false), ("x".repeat(9000) + "\n", false), ("one\n".to_owned(), true)]
    {
        std::fs::write(&path, &old).unwrap();
        let source = FileSource::lines(path.as_path()).follow();
        let mut reader = source.reader(source.discover(1).unwrap(), testing::context(10)).unwrap();
        let mut out = Batch::default();
        reader.next(&mut out).await.unwrap();
        if restart {
            reader = source.reader(reader.snapshot(), testing::context(10)).unwrap();
            assert!(reader.next(&mut out).now_or_never().is_none());
        }
        append(&path, "more\n");
        reader.next(&mut out).await.unwrap();
        assert_eq!(out.values, [old.trim_end(), "more"]);
        std::fs::write(&path, "ANEW\n".repeat(4000)).unwrap();
        let (read, error) = read_to_the_error(&mut *reader).await;
        assert_eq!(read, [""; 0]);
        let at = old.len() + 5;
        assert!(
            error.contains(&format!("what stands before byte {at}, where it is read on")),
            "{error}"
        );
        assert!(error.contains(path.to_str().unwrap()) && error.contains("--fresh"), "{error}");
    }
}

/// The head was hashed when the file was found: there was none, or one that all such files have.
async fn is_known_by_what_was_read_last<S: Source>(
    source: S,
    path: &Path,
    [head, old, new]: [&str; 3],
) {
    std::fs::write(path, head).unwrap();
    let mut reader = source.reader(source.discover(1).unwrap(), testing::context(10)).unwrap();
    append(path, old);
    let mut out = Batch::default();
    while out.values.len() < 2 {
        reader.next(&mut out).await.unwrap();
    }
    let snapshot = reader.snapshot();
    std::fs::write(path, new).unwrap();
    let expected = format!("what stands before byte {}, where", head.len() + old.len());
    let error = source.check(&snapshot).unwrap_err();
    assert!(error.to_string().contains(&expected), "{error}");
    // And where it is replaced after it was checked.
    let mut again = source.reader(snapshot.clone(), testing::context(10)).unwrap();
    let error = again.next(&mut Batch::default()).await.unwrap_err();
    assert!(error.to_string().contains(&expected), "{error}");
    std::fs::write(path, [head, old, "5\n"].concat()).unwrap();
    source.check(&snapshot).unwrap();
    let mut again = source.reader(snapshot, testing::context(10)).unwrap();
    let mut out = Batch::default();
    again.next(&mut out).await.unwrap();
    assert_eq!(out.values.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_short_when_it_was_found_is_known_by_what_was_read_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let lines = FileSource::lines(path.as_path()).follow();
    is_known_by_what_was_read_last(lines, &path, ["", "1\n2\n", "3\n4\n5\n6\n"]).await;
    let rows = FileSource::csv::<(u32,)>(path.as_path()).follow();
    let equal_headers = ["n\n", "1\n2\n", "n\n3\n4\n5\n6\n"];
    is_known_by_what_was_read_last(rows, &path, equal_headers).await;
    let much = "1".repeat(9000) + "\n2\n";
    let lines = FileSource::lines(path.as_path()).follow().chunk(64);
    is_known_by_what_was_read_last(lines, &path, ["", &much, &"3\n".repeat(9000)]).await;
}

#[tokio::test(start_paused = true)]
async fn positions_from_before_tails_were_kept_are_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let text = path.to_str().unwrap().as_bytes();
    let no_head = xxhash_rust::xxh3::xxh3_64(b"").to_le_bytes();
    let length = u8::try_from(text.len()).unwrap();
    // Byte 8, after 2 lines.
    let bytes = [&[1, 0, length], text, &[0, 0, 0, 0, 253], &no_head, &[8, 1, 2, 0]].concat();
    let old = [SplitState { id: path.display().to_string(), state: bytes, done: false }];
    let source = FileSource::lines(path.as_path()).follow();
    source.check(&old).unwrap();
    let mut reader = source.reader(old.to_vec(), testing::context(10)).unwrap();
    let mut out = Batch::default();
    reader.next(&mut out).await.unwrap();
    assert_eq!(out.values, ["three"]);
    let kept = Split::from_state(&reader.snapshot()[0]).unwrap();
    assert_eq!((kept.position, kept.lines), (14, Some(3)));
}
