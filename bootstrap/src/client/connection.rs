//! One request on one connection, with a limit on each part of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::error::Failure;
use super::tls;
use crate::protocol::{BODY_BYTES_MAX, COORDINATOR_NAME};
use crate::ticket::CoordinatorAddr;

/// Longest wait for a connection: name, TCP and TLS together. Two lost SYNs are made good in 3 s.
const CONNECT: Duration = Duration::from_secs(5);

/// An answer: its status, what it asks for, its body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Sends a request and reads the whole answer, for at most `limit` after the connection stands.
pub(super) async fn exchange(
    coordinator: &CoordinatorAddr,
    tls: &Arc<ClientConfig>,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Answer, Failure> {
    let stream = match timeout(CONNECT, connect(coordinator, tls)).await {
        Ok(stream) => stream?,
        Err(_) => return Err(Failure::Silent { limit: CONNECT }),
    };
    match timeout(limit, ask(stream, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Silent { limit }),
    }
}

async fn connect(
    coordinator: &CoordinatorAddr,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let stream = dial(coordinator).await?;
    // Requests are one packet; waiting for more would only delay them.
    stream.set_nodelay(true).map_err(|error| Failure::connect(&error))?;
    let name = ServerName::try_from(COORDINATOR_NAME)
        .map_err(|error| Failure::Tls { reason: error.to_string() })?;
    let connector = TlsConnector::from(Arc::clone(tls));
    connector.connect(name, stream).await.map_err(|error| tls::failure(&error))
}

/// Tries each address of the coordinator.
async fn dial(coordinator: &CoordinatorAddr) -> Result<TcpStream, Failure> {
    let name = |error: io::Error| Failure::Name { reason: error.to_string() };
    let host = (coordinator.host(), coordinator.port());
    let mut failure = Failure::Name { reason: "it has no address".to_owned() };
    for address in tokio::net::lookup_host(host).await.map_err(name)? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Failure::connect(&error),
        }
    }
    Err(failure)
}

async fn ask(
    stream: TlsStream<TcpStream>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        read(response).await
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // It may end because the answer is complete; the exchange knows.
        _ended = &mut connection => exchange.await,
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, Failure> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Failure::Broken { reason: "it is longer than 128 KiB".to_owned() }
        } else {
            match error.downcast_ref::<hyper::Error>() {
                Some(error) => broken(error),
                None => Failure::Broken { reason: error.to_string() },
            }
        }
    })?;
    Ok(Answer {
        status,
        retry_after: retry_after.map(Duration::from_secs),
        body: Zeroizing::new(body.to_bytes().to_vec()),
    })
}

/// With TLS 1.3 the server looks at our certificate after our side of the handshake is done, so
/// that its verdict comes here.
fn broken(error: &hyper::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(now) = cause {
        if let Some(failure) = now.downcast_ref::<io::Error>().map(tls::failure)
            && matches!(failure, Failure::CertificateRefused { .. })
        {
            return failure;
        }
        cause = now.source();
    }
    Failure::Broken { reason: error.to_string() }
}
