//! Long streams: image layers, large lists, `kubectl cp`.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{RETRY_PAUSE, meter::Meter};
use crate::{
    scenario::Direction,
    wire::{CHUNK_BYTES, ENDLESS, Request},
};

/// Streams for ever; connects again after an error.
pub(super) async fn stream(target: SocketAddr, direction: Direction, meter: Meter) {
    let mut announced = false;
    loop {
        if let Err(error) = run(target, direction, &meter, &mut announced).await {
            meter.failed(&error);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn run(
    target: SocketAddr,
    direction: Direction,
    meter: &Meter,
    announced: &mut bool,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    // The first answer shows that the stream stands, in every direction.
    stream.write_all(&Request::small(1)).await?;
    stream.read_u8().await?;
    if !std::mem::replace(announced, true) {
        meter.ready();
    }
    let request = match direction {
        Direction::Down => Request { body: 0, answer: ENDLESS },
        Direction::Up => Request { body: ENDLESS, answer: 0 },
        Direction::Both => Request { body: ENDLESS, answer: ENDLESS },
    };
    stream.write_all(&request.header()).await?;
    let (mut reader, mut writer) = stream.split();
    match direction {
        Direction::Down => receive(&mut reader, meter).await,
        Direction::Up => send(&mut writer, meter).await,
        Direction::Both => {
            tokio::try_join!(receive(&mut reader, meter), send(&mut writer, meter)).map(|_| ())
        }
    }
}

/// Receives until the stream breaks.
async fn receive(reader: &mut (impl AsyncReadExt + Unpin), meter: &Meter) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => meter.bytes(more),
        }
    }
}

/// Sends until the stream breaks.
async fn send(writer: &mut (impl AsyncWriteExt + Unpin), meter: &Meter) -> io::Result<()> {
    let bytes = vec![0; CHUNK_BYTES];
    loop {
        meter.bytes(writer.write(&bytes).await?);
    }
}
