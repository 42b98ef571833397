//! Records as the bytes of a file.

use std::fmt;

use serde::Serialize;

use crate::connector::stdout::AsJson;
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
    /// A record cannot be written in this format ([`ErrorKind::User`]).
    fn append<T: Serialize>(records: &[T], first: bool, out: &mut Vec<u8>) -> Result<()>;
}

fn no_form(format: &str, e: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::User, format!("a record has no {format} form: {e}"))
}

impl FileFormat for AsJson {
    const NAME: &'static str = "JSON lines";

    fn append<T: Serialize>(records: &[T], _first: bool, out: &mut Vec<u8>) -> Result<()> {
        for record in records {
            serde_json::to_writer(&mut *out, record).map_err(|e| no_form("JSON", &e))?;
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
            writer.serialize(record).map_err(|e| no_form("CSV", &e))?;
        }
        writer.flush().map_err(|e| no_form("CSV", &e))
    }
}
