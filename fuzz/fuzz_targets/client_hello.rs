//! A name that is read from a first flight is one that the DNS could have, and stands in the flight.
#![no_main]

use lb::client_hello::server_name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|flight: &[u8]| {
    if let Some(name) = server_name(flight) {
        assert!(!name.is_empty() && name.len() <= 253 && name.is_ascii());
        assert!(flight.len() > 50 + name.len());
    }
});
