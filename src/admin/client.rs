//! Asks the admin endpoint of a running balancer, for the other subcommands.

use std::time::Duration;

use common::config::AdminAddr;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::AdminToken;
use crate::exit::{Exit, Stop};

/// Longest wait for the whole answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer: a status of 64 backends is below 64 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Most of an error's body that is shown.
const SAID_MAX: usize = 300;

/// The body of the answer to `GET path`.
pub(crate) fn get(admin: &AdminAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    ask(admin, Method::GET, path, None, b"")
}

/// The body of the answer to `POST path`, which changes something and so needs the token over TCP.
pub(crate) fn post(
    admin: &AdminAddr,
    path: &str,
    token: Option<&AdminToken>,
) -> anyhow::Result<Vec<u8>> {
    ask(admin, Method::POST, path, token, b"")
}

/// The body of the answer to any request; one that changes something needs the token over TCP and may
/// bring JSON.
pub(crate) fn ask(
    admin: &AdminAddr,
    method: Method,
    path: &str,
    token: Option<&AdminToken>,
    body: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let unavailable = |reason: String| {
        let hint = "is `mainstay serve` running, and is --admin its address?";
        Stop::new(
            Exit::Unavailable,
            format!("no answer from the balancer at {admin}: {reason}; {hint}"),
        )
    };
    let answer = runtime.block_on(async {
        let asking = async { send(admin, request(method, path, token, body)?).await };
        tokio::time::timeout(ANSWER_TIMEOUT, asking).await
    });
    match answer {
        Ok(Ok((StatusCode::OK, body))) => Ok(body),
        Ok(Ok((status, body))) => Err(refusal(admin, status, &body).into()),
        Ok(Err(error)) => Err(unavailable(format!("{error:#}")).into()),
        Err(_) => Err(unavailable("it did not answer within 5s".to_owned()).into()),
    }
}

/// The sentence for an answer that is no success.
fn refusal(admin: &AdminAddr, status: StatusCode, body: &[u8]) -> Stop {
    let said = String::from_utf8_lossy(body.get(..body.len().min(SAID_MAX)).unwrap_or_default());
    let (exit, hint) = match status {
        StatusCode::UNAUTHORIZED => (
            Exit::Refused,
            "; run as the user of the service, or give its --state-dir or unix socket",
        ),
        StatusCode::NOT_FOUND if said.contains("no member") => {
            (Exit::Failed, "; `mainstay status` lists the names")
        }
        StatusCode::SERVICE_UNAVAILABLE => (Exit::TryAgain, ""),
        _ => (Exit::Failed, ""),
    };
    Stop::new(exit, format!("{admin} answered {status}: {}{hint}", said.trim()))
}

fn request(
    method: Method,
    path: &str,
    token: Option<&AdminToken>,
    body: &[u8],
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "mainstay");
    if let Some(token) = token {
        let mut bearer = HeaderValue::from_str(&token.bearer())?;
        bearer.set_sensitive(true);
        request = request.header(AUTHORIZATION, bearer);
    }
    Ok(request.body(Full::new(Bytes::copy_from_slice(body)))?)
}

/// A connection of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to the endpoint.
pub(super) async fn connect(admin: &AdminAddr) -> std::io::Result<Box<dyn Stream>> {
    Ok(match admin {
        AdminAddr::Tcp(addr) => Box::new(TcpStream::connect(addr).await?),
        AdminAddr::Unix(file) => Box::new(UnixStream::connect(file).await?),
    })
}

async fn send(
    admin: &AdminAddr,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let stream = connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?;
        anyhow::Ok((status, body.to_bytes().to_vec()))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}
