//! SIGINT and SIGTERM as a stream.

use futures::Stream;
use futures::stream;

use crate::error::{Error, ErrorKind, Result};

/// One element for each SIGINT or SIGTERM from now on; they no longer end the process.
///
/// # Errors
/// [`ErrorKind::Io`] where the system refuses a handler.
#[cfg(unix)]
pub(super) fn stream() -> Result<impl Stream<Item = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let listen = |kind| signal(kind).map_err(|e| refused(&e));
    let pair = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(stream::unfold(pair, |(mut interrupt, mut terminate)| async move {
        let received = tokio::select! {
            received = interrupt.recv() => received,
            received = terminate.recv() => received,
        };
        received.map(|()| ((), (interrupt, terminate)))
    }))
}

/// One element for each Ctrl-C from now on; they no longer end the process.
///
/// # Errors
/// None here; on Unix the system may refuse a handler.
#[cfg(not(unix))]
pub(super) fn stream() -> Result<impl Stream<Item = ()>> {
    Ok(stream::unfold((), |()| async {
        tokio::signal::ctrl_c().await.map_err(|e| refused(&e)).ok().map(|()| ((), ()))
    }))
}

fn refused(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot listen for signals: {error}"))
}
