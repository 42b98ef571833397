//! Taking an address, and serving on it.

use std::future::Future;
use std::io::ErrorKind as IoErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::routes;
use crate::clock::Clock;
use crate::config::RestSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::JobStatus;

/// Flink's port.
const DEFAULT_PORT: u16 = 8081;

/// A server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    notice: Option<String>,
}

/// Takes the configured address.
///
/// # Errors
/// [`ErrorKind::Config`] that names `rest.port` or `rest.bind-address`, where the address is taken,
/// not allowed, or not this machine's. A default port that is taken is no error: a free one is used,
/// and [`Bound::notice`] says so.
pub async fn bind(settings: &RestSettings) -> Result<Bound> {
    let at = |port| SocketAddr::new(settings.bind_address, port);
    let wanted = at(settings.port.unwrap_or(DEFAULT_PORT));
    let (listener, notice) = match TcpListener::bind(wanted).await {
        Ok(listener) if wanted.port() == 0 => (listener, Some("a free port was taken".to_owned())),
        Ok(listener) => (listener, None),
        Err(e) if settings.port.is_none() && e.kind() == IoErrorKind::AddrInUse => {
            let listener = TcpListener::bind(at(0)).await.map_err(|e| refused(at(0), &e))?;
            (listener, Some(format!("port {DEFAULT_PORT} is taken")))
        }
        Err(e) => return Err(refused(wanted, &e)),
    };
    let address = listener.local_addr().map_err(|e| refused(wanted, &e))?;
    let notice = notice.map(|why| format!("{why}; the status is on http://{address}"));
    Ok(Bound { listener, address, notice })
}

fn refused(address: SocketAddr, error: &std::io::Error) -> Error {
    let key = match error.kind() {
        IoErrorKind::AddrNotAvailable => "rest.bind-address",
        _ => "rest.port",
    };
    let advice = match error.kind() {
        IoErrorKind::AddrInUse => "; use another port, 0 for any free one, or --no-rest",
        _ => "",
    };
    Error::new(ErrorKind::Config, format!("{key}: cannot listen on {address}: {error}{advice}"))
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the user should know: which port was taken, where it is not the one that was to be expected.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Answers requests until `shutdown` ends, then those that are under way.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the listener fails for good.
    pub async fn serve(
        self,
        status: watch::Receiver<JobStatus>,
        clock: Clock,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        axum::serve(self.listener, routes::router(status, clock))
            .with_graceful_shutdown(shutdown)
            .await
            .map_err(|e| Error::new(ErrorKind::Io, format!("the status server ended: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn settings(port: Option<u16>) -> RestSettings {
        RestSettings { bind_address: IpAddr::from([127, 0, 0, 1]), port }
    }

    #[tokio::test]
    async fn port_0_takes_a_free_one_and_a_busy_configured_one_is_an_error() {
        let bound = bind(&settings(Some(0))).await.unwrap();
        assert_ne!(bound.address().port(), 0);
        assert!(bound.notice().unwrap().contains(&bound.address().to_string()));
        let error = bind(&settings(Some(bound.address().port()))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with("rest.port: cannot listen on 127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn a_busy_default_port_gives_way_to_another_and_says_so() {
        // Held by us or by somebody else: either way it is busy.
        let _holder = TcpListener::bind(("127.0.0.1", DEFAULT_PORT)).await;
        let bound = bind(&settings(None)).await.unwrap();
        assert_ne!(bound.address().port(), DEFAULT_PORT);
        let notice = bound.notice().unwrap();
        assert!(notice.contains("8081 is taken"), "{notice}");
        assert!(notice.contains(&bound.address().to_string()), "{notice}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_names_its_key() {
        let elsewhere = RestSettings { bind_address: IpAddr::from([192, 0, 2, 1]), port: Some(0) };
        let error = bind(&elsewhere).await.unwrap_err();
        assert!(error.to_string().starts_with("rest.bind-address: "), "{error}");
    }

    #[tokio::test]
    async fn a_socket_gets_an_answer_until_the_shutdown() {
        let bound = bind(&settings(Some(0))).await.unwrap();
        let address = bound.address();
        let (_status, receiver) = watch::channel(JobStatus::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let client = async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            socket.write_all(request).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            drop(stop);
            answer
        };
        let server = bound.serve(receiver, Clock::system(), async move { drop(stopped.await) });
        let (served, answer) = tokio::join!(server, client);
        served.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}
