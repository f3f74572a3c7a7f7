//! A key that is read is written the same, and opens or refuses anything.
#![no_main]

use bootstrap::kubeadm::{CertificateKey, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, sealed) = input;
    if let Ok(key) = text.parse::<CertificateKey>() {
        assert_eq!(key.to_hex().as_str(), text.to_ascii_lowercase());
        let _ = open(&key, sealed);
    }
});
