//! The name that a TLS client asks for (SNI), read from its first bytes.
//!
//! Strict: a hello is taken only if every length in it agrees with every other one, so what is
//! written into a ledger is what a TLS server would have read too. Nothing else of the hello is
//! looked at, and nothing of it is changed: TLS passes through.

/// Record type of a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// Longest fragment of a record (RFC 8446, 5.1).
const FRAGMENT_MAX: usize = 1 << 14;

/// Handshake type of a ClientHello (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;

/// Number of the extension server_name, and in it the type of a host name (RFC 6066, 3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Longest session id (RFC 8446, 4.1.2).
const SESSION_ID_MAX: usize = 32;

/// Longest name in the DNS.
const NAME_MAX: usize = 253;

/// The server name in the first flight of a client; `None` if it is no whole and sound ClientHello
/// or names none. What follows the hello, such as early data, is not looked at.
#[must_use]
pub fn server_name(flight: &[u8]) -> Option<Box<str>> {
    let message = first_message(flight)?;
    let mut message = Reader(&message);
    (message.u8()? == CLIENT_HELLO).then_some(())?;
    let length = message.u24()?;
    let mut hello = Reader(message.take(length)?);
    // Version and random.
    hello.take(2 + 32)?;
    let session = hello.short_vector()?;
    (session.len() <= SESSION_ID_MAX).then_some(())?;
    let ciphers = hello.vector()?;
    (!ciphers.is_empty() && ciphers.len() % 2 == 0).then_some(())?;
    (!hello.short_vector()?.is_empty()).then_some(())?;
    let extensions = hello.vector()?;
    hello.0.is_empty().then_some(())?;
    name_in(extensions)
}

/// The first handshake message, put together from as many records as it takes.
fn first_message(flight: &[u8]) -> Option<Vec<u8>> {
    let mut records = Reader(flight);
    let mut message = Vec::new();
    loop {
        (records.u8()? == HANDSHAKE && records.u8()? == 3).then_some(())?;
        records.u8()?;
        let fragment = records.vector()?;
        // A handshake record carries something (RFC 8446, 5.1).
        (!fragment.is_empty() && fragment.len() <= FRAGMENT_MAX).then_some(())?;
        message.extend_from_slice(fragment);
        let mut header = Reader(&message);
        if let (Some(_), Some(length)) = (header.u8(), header.u24())
            && header.0.len() >= length
        {
            return Some(message);
        }
    }
}

/// The name in the extensions, each of which may stand there once.
fn name_in(extensions: &[u8]) -> Option<Box<str>> {
    let mut extensions = Reader(extensions);
    let mut found = None;
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.u16()?, extensions.vector()?);
        if kind == SERVER_NAME {
            found.is_none().then_some(())?;
            found = Some(host_name(content)?);
        }
    }
    found
}

/// The one host name of a server_name extension.
fn host_name(content: &[u8]) -> Option<Box<str>> {
    let mut content = Reader(content);
    let mut list = Reader(content.vector()?);
    content.0.is_empty().then_some(())?;
    (list.u8()? == HOST_NAME).then_some(())?;
    let name = list.vector()?;
    list.0.is_empty().then_some(())?;
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!name.is_empty() && name.len() <= NAME_MAX && name.iter().all(fits)).then_some(())?;
    std::str::from_utf8(name).ok().map(Into::into)
}

/// Takes bytes from the front; `None` when there are fewer.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Option<usize> {
        let (high, low) = (self.u8()?, self.u16()?);
        Some(usize::from(high) << 16 | usize::from(low))
    }

    /// Bytes behind a length of two bytes.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Bytes behind a length of one byte.
    fn short_vector(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Bytes behind a length of `width` bytes.
    fn behind(width: usize, content: &[u8]) -> Vec<u8> {
        let length = u64::try_from(content.len()).unwrap().to_be_bytes();
        [&length[8 - width..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &behind(2, content)].concat()
    }

    fn name_extension(name: &[u8]) -> Vec<u8> {
        extension(SERVER_NAME, &behind(2, &[&[HOST_NAME][..], &behind(2, name)].concat()))
    }

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &behind(1, &[9; 32]),
            &behind(2, &[0x13, 1]),
            &behind(1, &[0]),
            &behind(2, extensions),
        ];
        [&[CLIENT_HELLO][..], &behind(3, &body.concat())].concat()
    }

    /// A message in records of at most `size` bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &behind(2, part)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn reads_what_a_real_client_sends() {
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let flight = |name: &'static str| {
            let name = name.try_into().unwrap();
            let mut client = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut flight = Vec::new();
            client.write_tls(&mut flight).unwrap();
            flight
        };
        let named = flight("kube.example.org");
        assert_eq!(server_name(&named).as_deref(), Some("kube.example.org"));
        let early = [&named[..], &[23, 3, 3, 0, 1, 0]].concat();
        assert!(server_name(&early).is_some(), "what follows is not looked at");
        assert_eq!(server_name(&flight("192.168.122.10")), None, "an address is not sent");
        for length in 0..named.len() {
            assert_eq!(server_name(&named[..length]), None, "{length} bytes of it");
        }
    }

    #[test]
    fn refuses_what_does_not_agree() {
        let good = name_extension(b"a.b");
        let sound = |extensions: &[u8]| server_name(&records(&hello(extensions), 1 << 14));
        assert!(sound(&good).is_some());
        assert!(sound(&[&extension(16, b"x")[..], &good].concat()).is_some());
        let wrong: [Vec<u8>; 8] = [
            Vec::new(),
            [&good[..], &good].concat(),
            [&good[..], &[0]].concat(),
            name_extension(b""),
            name_extension(b"a b"),
            name_extension("é".as_bytes()),
            name_extension(&[b'a'; 254]),
            extension(SERVER_NAME, &[0, 0]),
        ];
        for extensions in wrong {
            assert_eq!(sound(&extensions), None, "{extensions:?}");
        }
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", &[22, 3, 1, 0, 0], &[22, 2, 1, 0, 1, 1]]
        {
            assert_eq!(server_name(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_in_any_records(
            name in "[a-z0-9]{1,20}(\\.[a-z0-9-]{1,20}){0,4}",
            before in proptest::collection::vec((1u16..60, proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
            size in 1usize..400,
        ) {
            let mut extensions: Vec<u8> =
                before.iter().flat_map(|(kind, content)| extension(*kind, content)).collect();
            extensions.extend(name_extension(name.as_bytes()));
            let flight = records(&hello(&extensions), size);
            let found = server_name(&flight);
            prop_assert_eq!(found.as_deref(), Some(name.as_str()));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let flights = [bytes.clone(), records(&bytes, 100), records(&hello(&bytes), 100)];
            for name in flights.iter().filter_map(|flight| server_name(flight)) {
                prop_assert!(name.is_ascii());
            }
        }

        /// A changed byte changes the name, or ends the reading, or is one that nobody looks at; the
        /// name is always one that the DNS could have.
        #[test]
        fn a_changed_byte_does_no_harm(at in 0usize..120, to in any::<u8>()) {
            let mut flight = records(&hello(&name_extension(b"kube.example.org")), 60);
            if let Some(byte) = flight.get_mut(at) {
                *byte = to;
            }
            if let Some(name) = server_name(&flight) {
                prop_assert!(name.len() == 16 && name.is_ascii());
            }
        }
    }
}
