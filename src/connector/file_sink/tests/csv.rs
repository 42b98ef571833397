//! Rows of one file have the same fields, whichever batches they came in.

use super::*;
use crate::connector::DeadLetter;

#[derive(Serialize)]
struct Optional {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<u32>,
}

#[derive(Serialize)]
struct Wrapped(Optional);

#[derive(Serialize)]
enum Either {
    One(Optional),
}

const A: Optional = Optional { a: Some(1), b: None };
const B: Optional = Optional { a: None, b: Some(2) };
const BOTH: Optional = Optional { a: Some(3), b: Some(4) };

/// What comes of `batches`, each with a checkpoint after it or none: the published files or the error.
fn written<T: Serialize + 'static>(batches: Vec<(Vec<T>, bool)>) -> Result<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::csv(dir.path());
    Sink::<T>::prepare(&sink, &run(1, true)).unwrap();
    let mut writer = writer::<T, _>(&sink, 1, 0);
    let mut staged = Vec::new();
    for ((mut batch, ends), checkpoint) in batches.into_iter().zip(1..) {
        writer.write(&mut batch)?;
        assert!(batch.is_empty());
        if ends {
            staged.extend(block_on(writer.snapshot(CheckpointId(checkpoint))).unwrap());
        }
    }
    Sink::<T>::committer(&sink, &out()).unwrap().commit(&staged).unwrap();
    let files = visible(dir.path()).into_iter();
    Ok(files.map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap()).collect())
}

/// Refused as a batch and as batches; what is said of the second.
fn refused<T: Serialize + 'static>(rows: fn() -> [T; 2]) -> String {
    let together = written(vec![(rows().into(), true)]).unwrap_err();
    assert_eq!(together.kind(), ErrorKind::Output, "{together}");
    let [first, second] = rows();
    let apart = written(vec![(vec![first], false), (vec![second], true)]).unwrap_err();
    assert_eq!(apart.kind(), ErrorKind::Output, "{apart}");
    assert_eq!(together.to_string(), apart.to_string());
    apart.to_string()
}

/// Each batch used to be counted anew, and names were not looked at: the rows below were published.
#[test]
fn a_record_with_other_fields_than_its_files_first_is_refused_and_shown() {
    let more = refused(|| [A, BOTH]);
    assert!(more.contains(r#"its fields are a,b: {"a":3,"b":4}"#), "{more}");
    assert!(more.contains("file's first one (a)"), "{more}");
    let fewer = refused(|| [BOTH, A]);
    assert!(fewer.contains(r#"its fields are a: {"a":1}"#), "{fewer}");
    assert!(fewer.contains("file's first one (a,b)"), "{fewer}");
    let others = refused(|| [A, B]);
    assert!(others.contains(r#"its fields are b: {"b":2}"#), "{others}");
    refused(|| [Wrapped(A), Wrapped(B)]);
    refused(|| [Some(A), Some(B)]);
    refused(|| [Either::One(A), Either::One(B)]);
    refused(|| [(A, A), (A, B)]);
    refused(|| [vec![A, A], vec![A]]);
    let texts = refused(|| [vec!["x"], vec!["y", "z"]]);
    assert!(texts.contains(r#"["y","z"]"#) && texts.contains("(without names)"), "{texts}");
    refused(|| [vec!["x", "y"], vec!["z"]]);
}

#[test]
fn records_with_the_fields_of_their_file_are_rows_and_each_file_has_its_own() {
    let batches = vec![
        (vec![A, A], false),
        (vec![A], true),
        (vec![BOTH], false),
        (vec![BOTH], true),
        (vec![B], true),
    ];
    let files = written(batches).unwrap();
    assert_eq!(files, ["a\n1\n1\n1\n", "a,b\n3,4\n3,4\n", "b\n2\n"]);
    let files = written(vec![(vec![(A, B)], false), (vec![(A, B), (A, B)], true)]).unwrap();
    assert_eq!(files, ["a,b\n1,2\n1,2\n1,2\n"]);
    let files = written(vec![(vec![vec!["x", "y"]], false), (vec![vec!["1", "2"]], true)]).unwrap();
    assert_eq!(files, ["x,y\n1,2\n"]);
    let files = written(vec![(vec![(1, None), (2, Some("x"))], false), (vec![(3, None)], true)]);
    assert_eq!(files.unwrap(), ["1,\n2,x\n3,\n"]);
}

/// Those with exact bytes and those without used to have other fields.
#[test]
fn dead_letters_of_all_kinds_are_rows_of_one_file() {
    let letter = |raw| DeadLetter::of("in".to_owned(), 1, 0, "no number".to_owned(), raw);
    let files = written(vec![(vec![letter(b"x")], false), (vec![letter(b"\xff")], true)]).unwrap();
    let rows = "in,1,0,no number,x,\nin,1,0,no number,\u{fffd},ff\n";
    assert_eq!(files, [format!("file,line,byte,reason,raw,raw_hex\n{rows}")]);
}
