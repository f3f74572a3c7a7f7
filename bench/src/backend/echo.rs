//! The backend of all scenarios without TLS: answers each [`Request`] with the bytes it asks for.
//! Every answer consists of the backend's own number, which is how a client learns who answered.

use std::{io, net::TcpListener, sync::Arc};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    threads::Threads,
    wire::{CHUNK_BYTES, HEADER_BYTES, Request},
};

/// Room for a small request; a longer body is read into a buffer that is made for it.
const REQUEST_ROOM: usize = 256;

/// Serves `listener` as backend `number`.
pub(super) fn start(threads: &Threads, listener: TcpListener, number: u8) -> Result<()> {
    let answer: Arc<[u8]> = vec![number; CHUNK_BYTES].into();
    threads.accept(listener, move |stream, tasks| {
        let answer = Arc::clone(&answer);
        tasks.spawn(async move {
            // A client that goes away in the middle is how most scenarios end.
            serve(stream, &answer).await.ok();
        });
    })
}

async fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut buffer = [0; REQUEST_ROOM];
    let mut have = 0;
    loop {
        let Some(request) = buffer.get(..have).and_then(Request::parse) else {
            let room = buffer.get_mut(have..).unwrap_or_default();
            match stream.read(room).await? {
                0 => return Ok(()),
                more => have += more,
            }
            continue;
        };
        let here = (have - HEADER_BYTES) as u64;
        let used = request.body.min(here);
        exchange(&mut stream, request, request.body - used, answer).await?;
        // What is left belongs to the next request.
        let start = HEADER_BYTES + usize::try_from(used).unwrap_or(REQUEST_ROOM);
        buffer.copy_within(start..have, 0);
        have -= start;
    }
}

/// Reads the `rest` of the body and sends the answer; at the same time if the body is long.
async fn exchange(
    stream: &mut TcpStream,
    request: Request,
    rest: u64,
    answer: &[u8],
) -> io::Result<()> {
    if rest == 0 {
        return pour(stream, request.answer, answer).await;
    }
    let (mut reader, mut writer) = stream.split();
    tokio::try_join!(swallow(&mut reader, rest), pour(&mut writer, request.answer, answer))?;
    Ok(())
}

async fn swallow(reader: &mut (impl AsyncReadExt + Unpin), mut rest: u64) -> io::Result<()> {
    let mut buffer = vec![0; part_of(rest)];
    while rest > 0 {
        match reader.read(buffer.get_mut(..part_of(rest)).unwrap_or_default()).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => rest -= more as u64,
        }
    }
    Ok(())
}

async fn pour(
    writer: &mut (impl AsyncWriteExt + Unpin),
    mut rest: u64,
    answer: &[u8],
) -> io::Result<()> {
    while rest > 0 {
        let part = part_of(rest);
        writer.write_all(answer.get(..part).unwrap_or(answer)).await?;
        rest -= part as u64;
    }
    Ok(())
}

/// As much of `rest` as is moved at once.
fn part_of(rest: u64) -> usize {
    usize::try_from(rest).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)
}
