//! A Secret in JSON or YAML, as certificates and as a token, down to PEM and DER.
#![no_main]

use bootstrap::kubeadm::{CaPin, CertSet, SealedCerts, Secret, TokenSecret, Topology, token_table};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(secret) = Secret::parse(text) else {
        return;
    };
    let _ = SealedCerts::from_secret(&secret);
    if let Ok(token) = TokenSecret::from_secret(&secret) {
        let _ = token_table(&[token], Timestamp::UNIX_EPOCH);
    }
    // The values as if they had been opened, so that the checks of content are reached.
    let entries = Topology::Stacked.entries().iter();
    let certs = CertSet::new(
        Topology::Stacked,
        entries.filter_map(|entry| {
            Some((*entry, secret.data.bytes(entry.data_key())?.to_vec().into()))
        }),
    );
    for (_, file) in certs.entries() {
        let _ = CaPin::of_bundle(file.unwrap_or_default());
    }
    let _ = (certs.certificates(), certs.into_upload());
});
