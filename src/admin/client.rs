//! Asks the admin endpoint of a running balancer, for the other subcommands.

use std::time::Duration;

use common::config::AdminAddr;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::exit::{Exit, Stop};

/// Longest wait for the whole answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer: a status of 64 backends is below 64 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The body of the answer to `GET path`.
pub(crate) fn get(admin: &AdminAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let unavailable = |reason: String| {
        let hint = "is `mainstay serve` running, and is --admin its address?";
        Stop::new(
            Exit::Unavailable,
            format!("no answer from the balancer at {admin}: {reason}; {hint}"),
        )
    };
    let answer = runtime
        .block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, request(admin, path)).await });
    match answer {
        Ok(Ok((StatusCode::OK, body))) => Ok(body),
        Ok(Ok((status, _))) => Err(Stop::new(
            Exit::Failed,
            format!("{admin} answered {status} to GET {path}"),
        )
        .into()),
        Ok(Err(error)) => Err(unavailable(format!("{error:#}")).into()),
        Err(_) => Err(unavailable("it did not answer within 5s".to_owned()).into()),
    }
}

async fn request(admin: &AdminAddr, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    match admin {
        AdminAddr::Tcp(addr) => exchange(TcpStream::connect(addr).await?, path).await,
        AdminAddr::Unix(file) => exchange(UnixStream::connect(file).await?, path).await,
    }
}

async fn exchange<S>(stream: S, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header("host", "mainstay")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
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
