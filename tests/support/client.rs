//! A client of the balancer: sends, receives, and notices how its connection ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::{DEADLINE, Pattern};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    Eof,
    /// By a reset.
    Reset,
}

/// A client connection. Every wait has a deadline.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Connects and passes a few bytes both ways, so that the session is established.
    pub(crate) fn established(addr: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect(addr)?;
        client.echo(b"ping")?;
        Ok(client)
    }

    /// Sends bytes and reads them back from an echoing backend.
    pub(crate) fn echo(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.0.read_exact(&mut back)?;
        if back == bytes {
            Ok(())
        } else {
            Err(io::Error::new(ErrorKind::InvalidData, "other bytes came back"))
        }
    }

    /// Reads until the connection ends and drops what comes.
    pub(crate) fn ending(&mut self) -> Ending {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ending::Eof,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ending::Reset,
                Err(error) => panic!("the connection did not end: {error}"),
            }
        }
    }

    /// Connects and reads until the connection ends, also if that is before we see it open.
    pub(crate) fn ending_at(addr: SocketAddr) -> Ending {
        match Self::connect(addr) {
            Ok(mut client) => client.ending(),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ending::Reset,
            Err(error) => panic!("the connection did not begin: {error}"),
        }
    }

    /// Sends `length` bytes of the pattern.
    pub(crate) fn send(&mut self, length: u64) -> io::Result<()> {
        let mut pattern = Pattern::new();
        while pattern.passed < length {
            let sent = self.0.write(pattern.next(length - pattern.passed))?;
            pattern.pass(sent);
        }
        Ok(())
    }

    /// Reads up to `most` bytes, which must be the pattern's next; calls `each` after every piece.
    pub(crate) fn receive(&mut self, pattern: &mut Pattern, most: u64, mut each: impl FnMut(u64)) {
        let mut buffer = vec![0; 256 * 1024];
        let goal = pattern.passed + most;
        while pattern.passed < goal {
            let room = buffer.len().min((goal - pattern.passed) as usize);
            match self.0.read(&mut buffer[..room]).unwrap() {
                0 => return,
                count => {
                    let at = pattern.passed;
                    let same = pattern.matches(&buffer[..count]);
                    assert!(same, "a byte after {at} differs");
                    each(pattern.passed);
                }
            }
        }
    }

    /// Says that no more bytes will be sent.
    pub(crate) fn end(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        let linger = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
        linger.unwrap();
    }
}
