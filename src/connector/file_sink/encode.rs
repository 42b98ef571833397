//! Records as the bytes of a file.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;

use serde::Serialize;

use super::header::Header;
use crate::connector::stdout::{AsJson, LineFormat, shown};
use crate::error::{Error, ErrorKind, Result};

/// CSV with a header in each file.
#[derive(Clone, Copy, Debug)]
pub struct AsCsv;

/// A format of files. Implemented by [`AsJson`] and [`AsCsv`].
pub trait FileFormat: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;

    /// What is to be known of a file while records are added to it; as it begins, its default.
    type File: Default;

    /// Appends `records` of `file` to `out`.
    ///
    /// # Errors
    /// A record cannot be written in this format ([`ErrorKind::Output`]), or not to this file. No more can be
    /// written to the file then.
    fn append<T: Serialize>(file: &mut Self::File, records: &[T], out: &mut Vec<u8>) -> Result<()>;
}

impl FileFormat for AsJson {
    const NAME: &'static str = "JSON lines";

    type File = ();

    fn append<T: Serialize>((): &mut (), records: &[T], out: &mut Vec<u8>) -> Result<()> {
        for record in records {
            Self::line(record, out)?;
            out.push(b'\n');
        }
        Ok(())
    }
}

impl FileFormat for AsCsv {
    const NAME: &'static str = "CSV";

    type File = CsvFile;

    fn append<T: Serialize>(file: &mut CsvFile, records: &[T], out: &mut Vec<u8>) -> Result<()> {
        file.chunk.0.replace(std::mem::take(out));
        let rows = records.iter().try_for_each(|record| file.row(record));
        let flushed = file.writer.flush();
        *out = file.chunk.0.take();
        rows?;
        flushed.map_err(|e| Error::internal(format!("CSV was not written to memory: {e}")))
    }
}

/// A CSV file under way. It has one writer from its first row to its last: that writes the header, and counts the
/// fields of each row.
pub struct CsvFile {
    writer: csv::Writer<Chunk>,
    /// What `writer` writes to.
    chunk: Chunk,
    /// That of the first row.
    header: Option<Header>,
}

/// The bytes that are being gathered.
#[derive(Clone, Default)]
struct Chunk(Rc<RefCell<Vec<u8>>>);

impl Write for Chunk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Default for CsvFile {
    fn default() -> Self {
        let chunk = Chunk::default();
        Self { writer: csv::Writer::from_writer(chunk.clone()), chunk, header: None }
    }
}

impl fmt::Debug for CsvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvFile").field("header", &self.header).finish_non_exhaustive()
    }
}

impl CsvFile {
    fn row<T: Serialize>(&mut self, record: &T) -> Result<()> {
        let header = self.header.get_or_insert_with(|| Header::of(record));
        if !header.fits(record) {
            let fields = Header::of(record);
            return Err(no_row(record, header, format_args!("its fields are {fields}")));
        }
        self.writer.serialize(record).map_err(|e| no_row(record, header, format_args!("{e}")))
    }
}

#[cold]
fn no_row<T: Serialize>(record: &T, header: &Header, why: fmt::Arguments<'_>) -> Error {
    let record = serde_json::to_vec(record).map_or_else(|_| String::new(), |json| shown(&json));
    Error::new(
        ErrorKind::Output,
        format!(
            "a record has no CSV form: {why}: {record}; a row has the fields of the file's first one ({header}), as \
             many and in that order, each a text, number or boolean: write a field that may be absent as an empty \
             one (without skip_serializing_if), map records to such a type before the sink, or write JSON lines"
        ),
    )
}
