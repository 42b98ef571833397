//! Records as the bytes of a file.

use std::fmt;

use serde::Serialize;

use crate::connector::stdout::{AsJson, LineFormat, shown};
use crate::error::{Error, ErrorKind, Result};

/// CSV with a header in each file.
#[derive(Clone, Copy, Debug)]
pub struct AsCsv;

/// A format of files. Implemented by [`AsJson`] and [`AsCsv`].
pub trait FileFormat: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;

    /// Appends `records` to `out`; `first`: they begin a file.
    ///
    /// # Errors
    /// A record cannot be written in this format ([`ErrorKind::Output`]).
    fn append<T: Serialize>(records: &[T], first: bool, out: &mut Vec<u8>) -> Result<()>;
}

impl FileFormat for AsJson {
    const NAME: &'static str = "JSON lines";

    fn append<T: Serialize>(records: &[T], _first: bool, out: &mut Vec<u8>) -> Result<()> {
        for record in records {
            Self::line(record, out)?;
            out.push(b'\n');
        }
        Ok(())
    }
}

impl FileFormat for AsCsv {
    const NAME: &'static str = "CSV";

    fn append<T: Serialize>(records: &[T], first: bool, out: &mut Vec<u8>) -> Result<()> {
        let mut writer = csv::WriterBuilder::new().has_headers(first).from_writer(out);
        for record in records {
            writer.serialize(record).map_err(|e| no_row(record, &e))?;
        }
        writer.flush().map_err(|e| Error::internal(format!("CSV was not written to memory: {e}")))
    }
}

fn no_row<T: Serialize>(record: &T, e: &csv::Error) -> Error {
    let record = serde_json::to_vec(record).map_or_else(|_| String::new(), |json| shown(&json));
    Error::new(
        ErrorKind::Output,
        format!(
            "a record has no CSV form: {e}: {record}; a row is as many fields as the first one has, each a \
             text, number or boolean: map records to such a type before the sink, or write JSON lines"
        ),
    )
}
