//! Standard output as a sink: whole lines, at least once.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::{BoxFuture, LocalBoxFuture};
use serde::Serialize;

use super::spool::{Spool, Target};
use super::{Committable, Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};

type Open = Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

/// Records as lines on standard output. A crash can make lines appear again.
pub struct StdoutSink<F> {
    open: Open,
    format: PhantomData<fn() -> F>,
}

/// A record as a line of JSON.
#[derive(Clone, Copy, Debug)]
pub struct AsJson;

/// A record as its `Display` text.
#[derive(Clone, Copy, Debug)]
pub struct AsText;

/// Writes a record as a line.
pub trait LineFormat<T>: 'static {
    /// Its name.
    const NAME: &'static str;

    /// Appends the line of `record`, without its end.
    ///
    /// # Errors
    /// The record cannot be written in this format.
    fn line(record: &T, out: &mut Vec<u8>) -> Result<()>;
}

impl<T: Serialize> LineFormat<T> for AsJson {
    const NAME: &'static str = "JSON lines";

    fn line(record: &T, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        serde_json::to_writer(&mut *out, record).map_err(|e| {
            let message = format!(
                "a record has no JSON form: {e}, after {}; keys of maps have to be texts, numbers or \
                 booleans: give its type such a form, or map it to another one before the sink",
                shown(&out[begin..])
            );
            Error::new(ErrorKind::Output, message).with_source(e)
        })
    }
}

/// The beginning of a record's text, for messages.
pub(super) fn shown(text: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = if text.len() > MOST { "…" } else { "" };
    format!("{}{cut}", String::from_utf8_lossy(&text[..text.len().min(MOST)]))
}

impl<T: fmt::Display> LineFormat<T> for AsText {
    const NAME: &'static str = "text";

    fn line(record: &T, out: &mut Vec<u8>) -> Result<()> {
        write!(out, "{record}")
            .map_err(|_| Error::new(ErrorKind::Output, "a record's Display failed".to_owned()))
    }
}

impl StdoutSink<AsJson> {
    /// One JSON value a line.
    #[must_use]
    pub fn json_lines() -> Self {
        Self::to(Arc::new(|| Box::new(io::stdout())))
    }
}

impl StdoutSink<AsText> {
    /// Each record's `Display` text.
    #[must_use]
    pub fn text() -> Self {
        Self::to(Arc::new(|| Box::new(io::stdout())))
    }
}

impl<F> StdoutSink<F> {
    fn to(open: Open) -> Self {
        Self { open, format: PhantomData }
    }
}

impl<F> Clone for StdoutSink<F> {
    fn clone(&self) -> Self {
        Self::to(Arc::clone(&self.open))
    }
}

impl<F> fmt::Debug for StdoutSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutSink")
    }
}

impl<T: 'static, F: LineFormat<T>> Sink<T> for StdoutSink<F> {
    fn describe(&self) -> String {
        format!("standard output ({}, at least once: lines may come again after a crash)", F::NAME)
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn prepare(&self, _run: &RunIdentity) -> Result<()> {
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        let spool = Spool::new(Out((self.open)()), context.io);
        Ok(Box::new(StdoutWriter::<F> { spool, format: PhantomData }))
    }

    fn committer(&self, _operator: &Name) -> Option<Box<dyn Committer>> {
        None
    }
}

struct Out(Box<dyn Write + Send>);

impl Target for Out {
    /// Chunks are whole lines, written in one go: lines of several subtasks do not mix.
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.0.write_all(chunk).and_then(|()| self.0.flush()).map_err(|e| {
            let (kind, message) = match e.kind() {
                io::ErrorKind::BrokenPipe => (
                    ErrorKind::Closed,
                    "standard output was closed by its reader (broken pipe)".to_owned(),
                ),
                _ => (ErrorKind::Io, format!("cannot write to standard output: {e}")),
            };
            Error::new(kind, message).with_source(e)
        })
    }
}

struct StdoutWriter<F> {
    spool: Spool<Out>,
    format: PhantomData<fn() -> F>,
}

impl<T, F: LineFormat<T>> Writer<T> for StdoutWriter<F> {
    fn write(&mut self, batch: &mut Vec<T>) -> Result<()> {
        let mut lines = Vec::new();
        for record in batch.drain(..) {
            F::line(&record, &mut lines)?;
            lines.push(b'\n');
        }
        self.spool.push(lines)
    }

    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(self.spool.ready())
    }

    fn snapshot(&mut self, _: CheckpointId) -> BoxFuture<'static, Result<Vec<Committable>>> {
        self.spool.then(|_| Ok(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{self, Gate, block_on};
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_snapshot_ends_when_all_lines_are_out() {
        let (screen, gate) = (Screen::default(), Gate::default());
        let shown = screen.clone();
        let sink = StdoutSink::<AsText>::to(Arc::new(move || Box::new(screen.clone())));
        let context = WriterContext { io: gate.io(), ..testing::writer_context(1, 0) };
        let mut writer = Sink::<u32>::writer(&sink, context).unwrap();
        writer.write(&mut vec![1, 2]).unwrap();
        writer.write(&mut vec![3]).unwrap();
        let snapshot = writer.snapshot(CheckpointId(1));
        while gate.release_newest() {}
        assert_eq!(block_on(snapshot).unwrap(), []);
        assert_eq!(*shown.0.lock().unwrap(), b"1\n2\n3\n");
    }

    #[test]
    fn json_lines_are_whole_and_the_promise_is_said() {
        let screen = Screen::default();
        let shown = screen.clone();
        let sink = StdoutSink::<AsJson>::to(Arc::new(move || Box::new(screen.clone())));
        let mut writer = sink.writer(testing::writer_context(1, 0)).unwrap();
        writer.write(&mut vec![("a\nb", 1)]).unwrap();
        assert_eq!(*shown.0.lock().unwrap(), b"[\"a\\nb\",1]\n");
        assert!(Sink::<u32>::describe(&sink).contains("at least once"));
        assert_eq!(Sink::<u32>::guarantee(&sink), Guarantee::AtLeastOnce);
    }

    #[test]
    fn a_broken_pipe_is_a_clear_error() {
        let sink = StdoutSink::<AsText>::to(Arc::new(|| Box::new(Closed)));
        let mut writer = Sink::<u32>::writer(&sink, testing::writer_context(1, 0)).unwrap();
        // The write itself runs beside the worker: its failure shows at the next call at the latest.
        let _ = writer.write(&mut vec![1]);
        let error = block_on(writer.snapshot(CheckpointId(1))).unwrap_err();
        assert_eq!(error.message(), "standard output was closed by its reader (broken pipe)");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}
