//! SIGINT and SIGTERM as a stream, and a full disk as an error.

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

/// From now on a write beyond the process's limit for files (`ulimit -f`) is an error of that write,
/// as on a full disk, and no longer the end of the process by SIGXFSZ.
///
/// # Errors
/// [`ErrorKind::Io`] where the system refuses a handler.
#[cfg(unix)]
pub(super) fn outlive_full_disks() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    // What listens may go: the handler stays.
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    signal(kind).map(drop).map_err(|e| refused(&e))
}

/// There is no such limit here.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(super) fn outlive_full_disks() -> Result<()> {
    Ok(())
}

/// Ends this process with the one that started it, however that ends. Elsewhere than on Linux it does
/// nothing.
///
/// # Errors
/// [`ErrorKind::Io`] where the system refuses.
pub(super) fn end_with_parent() -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|e| refused(&e.into()))?;
    Ok(())
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
