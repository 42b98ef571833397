//! What cannot be read or parsed: the messages, and that nothing else is lost by it.

use serde::Deserialize;

use super::*;
use crate::error::ErrorKind;

#[derive(Debug, PartialEq, Deserialize)]
struct Flight {
    delay: i32,
    origin: String,
}

fn first_error<S: Source>(source: &S) -> Error {
    match source.discover(1).and_then(|splits| read_with_restarts(source, splits, 2, &[])) {
        Ok(_) => panic!("no error"),
        Err(e) => e,
    }
}

fn flights(file: &'static [u8]) -> FileSource<Csv<Flight>> {
    FileSource::csv(Inputs::embedded("f.csv", file))
}

const WAY_OUT: &str = "; on_error can skip such lines (--on-error skip) or send them aside \
     (--on-error dead-letter=FOLDER)";

#[test]
fn a_bad_line_names_file_line_byte_reason_and_the_way_out() {
    let cases: [(&'static [u8], &str); 5] = [
        (
            b"delay,origin\n1,LAX\nx,JFK\n",
            "line 3 (byte 19): column delay: cannot read \"x\" as i32: invalid digit found in string",
        ),
        (b"delay,origin\n1\n", "line 2 (byte 13): 1 columns where the header names 2"),
        (b"delay,origin\n1,\xff\n", "line 2 (byte 13): not UTF-8 from its byte 2 on"),
        (b"delay,origin\n1,\"a\nb\"\n2,\"x\n", "line 4 (byte 21): a quote is not closed"),
        (
            b"delay,origin\n1,0123456789\n",
            "line 2 (byte 13): longer than max_line_length (11 bytes)",
        ),
    ];
    for (file, expected) in cases {
        let error = first_error(&flights(file).max_line_length(11).chunk(5));
        assert_eq!(error.to_string(), format!("cannot read f.csv, {expected}{WAY_OUT}"));
        assert_eq!(error.kind(), ErrorKind::Input);
    }
    let source = FileSource::json_lines::<Flight>(Inputs::embedded("f.jsonl", b"\n{\"delay\":}\n"));
    assert_eq!(
        first_error(&source).to_string(),
        format!("cannot read f.jsonl, line 2 (byte 1): expected value at its column 10{WAY_OUT}")
    );
}

#[test]
fn a_header_that_does_not_fit_is_an_error_whatever_on_error_says() {
    let cases: [(&'static [u8], &str); 4] = [
        (b"delay\n1\n", "its header has no column \"origin\""),
        (
            b"delay,origin,x\n1,A,2\n",
            "its header has the column \"x\", but the columns expected are delay, origin \
             (ignore_extra_columns leaves others out)",
        ),
        (b"delay,delay\n1,2\n", "its header names the column \"delay\" twice"),
        (b"delay,\"origin\n", "a quote in its header is not closed"),
    ];
    for (file, expected) in cases {
        for source in [flights(file), flights(file).on_error(OnError::Skip)] {
            assert_eq!(first_error(&source).to_string(), format!("cannot read f.csv: {expected}"));
        }
        let aside = flights(file).with_dead_letters();
        assert_eq!(first_error(&aside).kind(), ErrorKind::Input);
    }
}

#[test]
fn skipped_lines_are_counted_and_left_out() {
    let source = flights(b"delay,origin\nx,A\n1,B\n\n2\n3,C").on_error(OnError::Skip);
    let context = testing::context(100);
    let metrics = context.metrics.clone();
    let mut reader = source.reader(source.discover(1).unwrap(), context).unwrap();
    let mut out = Batch::default();
    while block_on(reader.next(&mut out)).unwrap() == Progress::More {}
    assert_eq!(out.values.iter().map(|f| f.delay).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(metrics.snapshot().records_skipped, 2);
}

#[test]
fn dead_letters_carry_what_is_needed_and_can_be_stored() {
    let source = flights(b"delay,origin\n1,B\n\xfe,A\nx,B\n").with_dead_letters();
    let values = testing::drain(&source, source.discover(1).unwrap(), 9).values;
    let letters: Vec<_> = values.into_iter().filter_map(Result::err).collect();
    // The exact bytes, where the text is not: they used to be lost.
    for (letter, expected) in letters.iter().zip([
        r#""line":3,"byte":17,"reason":"not UTF-8 from its byte 0 on","raw":"�,A","raw_hex":"fe2c41"}"#,
        r#""line":4,"byte":21,"reason":"column delay: cannot read \"x\" as i32: invalid digit found in string","raw":"x,B","raw_hex":null}"#,
    ]) {
        let json = serde_json::to_string(letter).unwrap();
        assert_eq!(json, format!(r#"{{"file":"f.csv",{expected}"#));
        assert_eq!(&serde_json::from_str::<DeadLetter>(&json).unwrap(), letter);
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(letter, config).unwrap();
        let (read, _) = bincode::serde::decode_from_slice::<DeadLetter, _>(&bytes, config).unwrap();
        assert_eq!(&read, letter);
    }
    assert_eq!(letters.len(), 2);
}

#[test]
fn one_quote_too_many_costs_one_line() {
    let source = flights(b"delay,origin\n1,\"A\n2,B\n3,C\n").with_dead_letters();
    let values = testing::drain(&source, source.discover(1).unwrap(), 9).values;
    assert_eq!(values.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(values[0].as_ref().unwrap_err().raw, "1,\"A");
}

#[test]
fn an_overlong_line_is_never_held_and_does_not_stop_a_restart() {
    let mut file = b"ok\n".to_vec();
    file.extend(vec![b'x'; 100_000]);
    file.extend(b"\nend\n");
    let source = FileSource::lines(Inputs::embedded("t", leak(&file)))
        .max_line_length(1000)
        .chunk(512)
        .with_dead_letters();
    let splits = source.discover(1).unwrap();
    let read = read_with_restarts(&source, splits, 1, &[1, 0, 1]).unwrap();
    let letter = read[1].2.as_ref().unwrap_err();
    assert_eq!((letter.line, letter.byte, read.len()), (2, 3, 3));
    assert!(letter.raw.len() <= 4096 && letter.raw.starts_with("xxx"));
    assert_eq!(read[2].2.as_deref(), Ok("end"));
}

/// It was passed over without a word.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf_8_and_matches_is_an_error() {
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "").unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"b\xff.csv")), "").unwrap();
    let find = |pattern: &str| FileSource::lines(dir.path().join(pattern)).discover(1);
    for pattern in ["*.csv", "b*", "b?.csv"] {
        let error = find(pattern).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains("b\\xFF.csv\" is not UTF-8"), "{error}");
    }
    assert_eq!(find("a*").unwrap().len(), 1);
}

/// An editor's copy, and what another job had staged and not committed, used to be read.
#[test]
fn a_glob_takes_no_hidden_files_unless_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".staging")).unwrap();
    for name in ["part-1.jsonl", ".part-1.jsonl.swp", ".staging/part-2.jsonl"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let found = |pattern: &str| {
        let splits = FileSource::lines(dir.path().join(pattern)).discover(1).unwrap();
        let names = splits.iter().map(|split| split.id.rsplit('/').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(found("*"), ["part-1.jsonl"]);
    assert_eq!(found("**/*.jsonl"), ["part-1.jsonl"]);
    assert_eq!(found(".staging/*"), ["part-2.jsonl"]);
}

#[test]
fn usage_errors_come_before_anything_starts() {
    let nothing = FileSource::lines("/nowhere/at/all/*.md").discover(1).unwrap_err();
    assert!(nothing.to_string().starts_with("no file matches \"/nowhere/at/all/*.md\""));
    let bad = FileSource::lines("a/***").discover(1).unwrap_err();
    assert!(bad.to_string().starts_with("the pattern \"a/***\" is not valid"), "{bad}");
    let here = FileSource::lines(".").discover(1).unwrap_err();
    let glob = " is a folder: name its files by a glob, such as \"./*\"";
    assert!(here.to_string().starts_with("\".\"") && here.to_string().contains(glob), "{here}");
    let empty = FileSource::lines("").discover(1).unwrap_err();
    assert!(empty.to_string().starts_with("no file matches \"\""), "{empty}");
    let csv = flights(b"").split_size(100).discover(1).unwrap_err();
    assert!(csv.to_string().contains("quoted_newlines(false)"));
    let followed = FileSource::lines("x").follow().split_size(100).discover(1).unwrap_err();
    for error in [nothing, bad, here, empty, csv, followed] {
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
}

#[test]
fn a_file_that_is_gone_shrank_or_changed_is_named_at_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.txt");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    let source = FileSource::lines(path.as_path()).split_size(16);
    let splits = source.discover(1).unwrap();
    let message = |splits: &[SplitState]| {
        let error = source.check(splits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        let message = error.to_string().replace(path.to_str().unwrap(), "FILE");
        let what_to_do = "; files are to be appended to only: put it back as it was to go on, or \
                          start with --fresh";
        message.strip_suffix(what_to_do).map(str::to_owned).unwrap_or(message)
    };
    std::fs::write(&path, "one\ntwo\nmore").unwrap();
    source.check(&splits).unwrap();
    assert_eq!(testing::drain(&source, splits.clone(), 9).values, ["one", "two"]);
    std::fs::write(&path, "one\n").unwrap();
    assert_eq!(message(&splits), "the input FILE shrank: it had 8 bytes, now 4");
    std::fs::write(&path, "ONE\ntwo\n").unwrap();
    assert_eq!(
        message(&splits),
        "the input FILE has changed: its first 8 bytes are not what they were"
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(message(&splits), "the input FILE is gone");
    let done = vec![SplitState { done: true, ..splits[0].clone() }];
    source.check(&done).unwrap();
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.txt");
    std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let source = FileSource::lines(path.as_path()).chunk(4);
    let splits = source.discover(1).unwrap();
    let mut reader = source.reader(splits, testing::context(1)).unwrap();
    let mut out = Batch::default();
    block_on(reader.next(&mut out)).unwrap();
    std::fs::write(&path, "one\n").unwrap();
    let error = loop {
        match block_on(reader.next(&mut out)) {
            Ok(progress) => assert_eq!(progress, Progress::More),
            Err(e) => break e,
        }
    };
    assert!(error.to_string().contains("shrank: it had 14 bytes, now 4; files are"), "{error}");
}

#[test]
fn a_file_under_several_paths_is_read_once() {
    // A folder in the present one, so that there are relative paths to it.
    let dir = tempfile::tempdir_in(".").unwrap();
    let absolute = dir.path().canonicalize().unwrap().join("a.csv");
    std::fs::write(&absolute, "one\n").unwrap();
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    let paths = [
        format!("{name}/a.csv"),
        format!("./{name}/a.csv"),
        format!("{name}/../{name}/a.csv"),
        absolute.to_str().unwrap().to_owned(),
        format!("{name}/*.csv"),
    ];
    let all = paths.iter().map(Inputs::from).reduce(Inputs::and).unwrap();
    let source = FileSource::lines(all);
    let splits = source.discover(1).unwrap();
    assert_eq!(testing::drain(&source, splits, 9).values, ["one"]);
}

#[test]
fn inputs_of_one_name_are_an_error_that_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
    let name = path.to_str().unwrap();
    let compiled = Inputs::embedded(name.to_owned().leak(), b"x");
    let both = FileSource::lines(Inputs::from(name).and(compiled));
    let error = both.discover(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let expected = format!(
        "the file {name} and {name} (compiled in) have one name, {name:?}, under which their positions \
         would be kept: give one of them another"
    );
    assert_eq!(error.to_string(), expected);
    // A file may be called as a range of another is.
    let ranged = format!("{name}[16..32]");
    std::fs::write(&ranged, "x").unwrap();
    let both = FileSource::lines(Inputs::from(name).and(ranged.as_str())).split_size(16);
    let error = both.discover(1).unwrap_err().to_string();
    let named = format!("a range of the file {name} and the file {ranged} have one name");
    assert!(error.starts_with(&named), "{error}");
}
