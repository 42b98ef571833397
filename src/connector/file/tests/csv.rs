//! CSV against the `csv` crate: any text, any ranges, any restarts.

use ::csv::{ReaderBuilder, Terminator, WriterBuilder};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Row {
    a: String,
    b: String,
}

fn field() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => Just("x"), 1 => Just("é"), 1 => Just(","), 1 => Just("\""),
        1 => Just("\n"), 1 => Just("\r\n"), 1 => Just(" "),
    ];
    prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_written_as_csv_is_read_once_over_any_restarts(
        rows in prop::collection::vec((field(), field()), 0..12),
        crlf in any::<bool>(),
        chunk in 1u64..50,
        batch in 1usize..5,
        cuts in prop::collection::vec(0usize..5, 0..4),
    ) {
        let terminator = if crlf { Terminator::CRLF } else { Terminator::Any(b'\n') };
        let mut writer = WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        writer.write_record(["b", "a"]).unwrap();
        for (a, b) in &rows {
            writer.write_record([b, a]).unwrap();
        }
        let file = writer.into_inner().unwrap();
        let source = FileSource::csv::<Row>(Inputs::embedded("c", leak(&file))).chunk(chunk);
        let splits = source.discover(1).unwrap();
        let read = read_with_restarts(&source, splits, batch, &cuts).unwrap();
        let read: Vec<_> = read.into_iter().map(|(_, _, row)| (row.a, row.b)).collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn any_bytes_are_cut_as_the_csv_crate_cuts_them(
        pieces in prop::collection::vec(prop_oneof![Just("x"), Just("\""), Just(","), Just("\n")], 0..40),
        chunk in 1u64..20,
    ) {
        let file = format!("a,b\n{}", pieces.concat());
        let inputs = Inputs::embedded("c", leak(file.as_bytes()));
        let source = FileSource::csv::<Row>(inputs).chunk(chunk).with_dead_letters();
        let splits = source.discover(1).unwrap();
        let read = read_with_restarts(&source, splits, 3, &[1, 2]).unwrap();
        let unclosed = read.iter().any(|(_, _, item)| {
            item.as_ref().is_err_and(|letter| letter.reason == "a quote is not closed")
        });
        // The csv crate takes the rest of the file for one field then; we reject one line.
        prop_assume!(!unclosed);
        let read: Vec<Row> = read.into_iter().filter_map(|(_, _, item)| item.ok()).collect();
        let mut reader = ReaderBuilder::new()
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(file.as_bytes());
        let model: Vec<Row> = reader
            .records()
            .map(|r| r.unwrap())
            .filter(|r| r.len() == 2)
            .map(|r| Row { a: r[0].to_owned(), b: r[1].to_owned() })
            .collect();
        prop_assert_eq!(read, model);
    }

    #[test]
    fn ranges_read_each_row_once_and_the_header_never(
        rows in prop::collection::vec("[a-z]{0,6}", 0..30),
        split_size in 16u64..64,
        cuts in prop::collection::vec(0usize..5, 0..3),
    ) {
        let mut file = String::from("\u{feff}a,b\r\n");
        rows.iter().for_each(|row| file.push_str(&format!("{row},\"{row}\"\r\n")));
        let source = FileSource::csv::<Row>(Inputs::embedded("c", leak(file.as_bytes())))
            .quoted_newlines(false)
            .split_size(split_size)
            .chunk(7);
        let splits = source.discover(1).unwrap();
        prop_assert_eq!(splits.len() as u64, (file.len() as u64).div_ceil(split_size));
        let read = read_with_restarts(&source, splits, 2, &cuts).unwrap();
        let read: Vec<_> = read.into_iter().map(|(_, _, row)| (row.a, row.b)).collect();
        let model: Vec<_> = rows.iter().map(|r| (r.clone(), r.clone())).collect();
        prop_assert_eq!(read, model);
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Jet,
    Prop,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Typed {
    id: u64,
    delay: Option<i32>,
    ratio: f64,
    late: bool,
    kind: Kind,
}

#[test]
fn fields_become_what_the_type_says() {
    let file = b"kind,late,id,ratio,delay\njet,true,7,0.5,-3\nprop,false,8,1e3,\n";
    let source = FileSource::csv::<Typed>(Inputs::embedded("t", file));
    let values = testing::drain(&source, source.discover(1).unwrap(), 10).values;
    assert_eq!(
        values,
        [
            Typed { id: 7, delay: Some(-3), ratio: 0.5, late: true, kind: Kind::Jet },
            Typed { id: 8, delay: None, ratio: 1e3, late: false, kind: Kind::Prop },
        ]
    );
    let source = FileSource::csv::<(String, u32)>(Inputs::embedded("t", b"n,m\nx,1\n"));
    assert_eq!(testing::drain(&source, source.discover(1).unwrap(), 10).values, [("x".into(), 1)]);
    let source = FileSource::csv::<u32>(Inputs::embedded("t", b"n\n5\n"));
    assert_eq!(testing::drain(&source, source.discover(1).unwrap(), 10).values, [5]);
}

#[test]
fn extra_columns_can_be_left_out() {
    let source = FileSource::csv::<Row>(Inputs::embedded("t", b"a,z,b\n1,2,3\n"));
    let source = source.ignore_extra_columns();
    let values = testing::drain(&source, source.discover(1).unwrap(), 10).values;
    assert_eq!(values, [Row { a: "1".into(), b: "3".into() }]);
}

/// What a file of `header` and one row of `x` gives, or its error.
fn one_row<T: DeserializeOwned + Send + 'static>(
    header: &str,
    change: impl Fn(FileSource<Csv<T>>) -> FileSource<Csv<T>>,
) -> Result<Vec<T>, String> {
    let columns = header.split(',').count();
    let row = vec!["1"; columns].join(",");
    let file = format!("{header}\n{row}\n{row}\n");
    let source = change(FileSource::csv::<T>(Inputs::embedded("t", leak(file.as_bytes()))));
    let splits = source.discover(1).unwrap();
    let read = read_with_restarts(&source, splits, 9, &[]).map_err(|e| e.to_string())?;
    Ok(read.into_iter().map(|(_, _, item)| item).collect())
}

#[test]
fn a_column_that_an_option_misses_is_an_error_unless_that_is_allowed() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wide {
        id: u32,
        #[serde(alias = "late")]
        delay: Option<u32>,
        #[serde(default)]
        count: u32,
        #[serde(skip)]
        of_the_program: Option<u32>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Wide);
    let wide = |delay| Wide { id: 1, delay, count: 0, of_the_program: None };
    let read = |header| one_row::<Wide>(header, |source| source);
    // `count` says itself that it may be missed.
    assert_eq!(read("id,delay").unwrap(), [wide(Some(1)), wide(Some(1))]);
    assert_eq!(read("late,id").unwrap(), [wide(Some(1)), wide(Some(1))]);
    let lost = "cannot read t: its header has no column \"delay\", which would be None in every row \
                (allow_missing_columns takes it so)";
    assert_eq!(read("id").unwrap_err(), lost);
    assert_eq!(one_row::<Wrapped>("id", |source| source).unwrap_err(), lost);
    // A column that was renamed, whether it is left out or not.
    let left_out = one_row::<Wide>("id,Delay", FileSource::ignore_extra_columns);
    assert_eq!(left_out.unwrap_err(), lost);
    assert!(read("id,Delay").unwrap_err().contains("has the column \"Delay\""));
    let allowed = one_row::<Wide>("id", FileSource::allow_missing_columns);
    assert_eq!(allowed.unwrap(), [wide(None), wide(None)]);
    assert!(read("delay").unwrap_err().contains("its header has no column \"id\""));
}
