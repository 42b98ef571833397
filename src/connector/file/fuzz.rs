//! Any bytes as a file of lines, CSV or JSON, read in any chunks; and any bytes as a split's state.

use std::fmt::Debug;

use serde::Deserialize;

use super::inputs::Place;
use super::split::Split;
use super::tests::read_with_restarts;
use super::*;
use crate::connector::Progress;
use crate::connector::testing::{self, block_on};
use crate::error::ErrorKind;
use crate::fuzzing::Target;
use crate::record::Batch;

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "read by Debug")]
struct Row {
    text: String,
    number: i64,
    float: Option<f64>,
    flag: bool,
    letter: char,
}

/// What a file of the input gives, with and without dead letters, whatever the chunks: records, or an
/// error that names the file.
fn read<F: Format>(file: &std::path::Path, source: impl Fn() -> FileSource<F>) -> String
where
    F::Item: Debug,
{
    let strict = |chunk| told(file, source().chunk(chunk).max_line_length(1000));
    let lenient = |chunk| {
        let source = source().chunk(chunk).max_line_length(1000).with_dead_letters();
        told(file, source)
    };
    let (whole, letters) = (strict(1 << 16), lenient(1 << 16));
    assert_eq!(whole, strict(7), "in chunks");
    assert_eq!(letters, lenient(11), "in chunks, with dead letters");
    format!("{whole} {letters}")
}

fn told<S: Source>(file: &std::path::Path, source: S) -> String
where
    S::Item: Debug,
{
    let read = source.discover(1).and_then(|splits| read_with_restarts(&source, splits, 3, &[2]));
    match read {
        Ok(records) => {
            let mut text = String::new();
            for (_, position, value) in &records {
                text += &format!("{position} {value:?}\n");
            }
            text.truncate(text.char_indices().nth(300).map_or(text.len(), |(at, _)| at));
            format!("{} records\n{text}", records.len())
        }
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Input, "{e}");
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert!(e.to_string().contains(&name), "{e}");
            e.to_string()
        }
    }
}

fn on_file(target: Target, read: impl Fn(&std::path::Path) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    // A reader has two chunks and a batch; of each record the test keeps a few copies.
    target.memory(16 << 20).run(|bytes| {
        std::fs::write(&file, bytes).unwrap();
        read(&file)
    });
}

fn inputs(file: &std::path::Path) -> Inputs {
    Inputs::from(file.to_str().unwrap())
}

#[test]
fn any_bytes_are_lines_or_an_error() {
    let target = Target::new("lines").seed("one\ntwo\r\n\nthree").seed("\u{feff}ä\nö\n");
    let target = target.tokens(&["\r\n", "\n", "\u{feff}", "\u{2028}", "ä"]);
    on_file(target, |file| read(file, || FileSource::lines(inputs(file))));
}

#[test]
fn any_bytes_are_csv_or_an_error() {
    let target = Target::new("csv")
        .seed("text,number,float,flag,letter\na,1,1.5,true,x\n\"b,\"\"c\"\"\nd\",-2,,false,ä\n")
        .seed("letter,flag,extra,float,number,text\r\nx,true,,-1e9,0,\r\n");
    let target = target.tokens(&["\"", "\"\"", ",", "\r\n", "\n", "text", "1e400", "true", "NaN"]);
    on_file(target, |file| {
        let plain = read(file, || FileSource::csv::<Row>(inputs(file)));
        plain + &read(file, || FileSource::csv::<Row>(inputs(file)).ignore_extra_columns())
    });
}

#[test]
fn any_bytes_are_json_lines_or_an_error() {
    let row = r#"{"text":"a\u00e4\n","number":1,"float":1.5,"flag":true,"letter":"x"}"#;
    let target = Target::new("json-lines")
        .seed(format!("{row}\n{row}\n"))
        .seed(format!("\n{row}\r\n{}\n", row.replace("1.5", "null")));
    let target = target
        .tokens(&["{", "}", "[", "]", ":", ",", "\"", "\\u", "\\ud800", "1e999", "null", "\n"]);
    on_file(target, |file| read(file, || FileSource::json_lines::<Row>(inputs(file))));
}

const FILE: &[u8] = b"one\ntwo\nthree\nfour\n";

#[test]
fn any_bytes_are_a_splits_state_or_an_error() {
    let source = FileSource::lines(Inputs::embedded("file", FILE));
    let ranges = FileSource::lines(Inputs::embedded("file", FILE)).split_size(6);
    let mut target = Target::new("split").memory(8 << 20);
    for split in [source.discover(1).unwrap(), ranges.discover(1).unwrap()].concat() {
        target = target.seed(split.state);
    }
    target.run(|bytes| {
        let state = SplitState { id: "file".to_owned(), state: bytes.to_vec(), done: false };
        let decoded = Split::from_state(&state);
        if let Ok(mut split) = decoded {
            assert_eq!(Split::from_state(&split.to_state()).unwrap(), split);
            // One that is followed has no end to wait for.
            if split.end.is_none() {
                return "followed".to_owned();
            }
            split.place = Place::Embedded("file".to_owned());
            return read_on(&source, split.to_state());
        }
        let error = decoded.unwrap_err();
        assert!(error.to_string().starts_with("split file: "), "{error}");
        error.to_string()
    });
}

fn read_on(source: &FileSource<Lines>, split: SplitState) -> String {
    if let Err(e) = source.check(std::slice::from_ref(&split)) {
        return e.to_string();
    }
    let mut reader = match source.reader(vec![split], testing::context(2)) {
        Ok(reader) => reader,
        Err(e) => return e.to_string(),
    };
    let mut out = Batch::default();
    for _ in 0..20 {
        match block_on(reader.next(&mut out)) {
            Ok(Progress::More) => {}
            Ok(end) => return format!("{end:?}, {} records, {:?}", out.values.len(), reader.lag()),
            Err(e) => return e.to_string(),
        }
    }
    panic!("no end to {} bytes", FILE.len())
}
