//! kubeadm's formats, as a cluster, an operator or a stranger gives them.

use std::str::from_utf8;

use bootstrap::kubeadm::{
    BootstrapToken, CaPin, CertSet, CertificateKey, ClusterAccess, ClusterConfiguration,
    ClusterInfo, ConfigMap, Expiration, SealedCerts, Secret, TokenSecret, Topology, open,
    token_table,
};
use bootstrap::sealing::SealingKey;
use jiff::Timestamp;

/// A line with a key, then sealed bytes. A key that is read is written the same; bytes are opened or
/// refused.
pub(crate) fn certificate_key(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, sealed) = input.split_at(end);
    let Ok(text) = from_utf8(line) else { return };
    if let Ok(key) = text.parse::<CertificateKey>() {
        assert_eq!(key.to_hex().as_str(), text.to_ascii_lowercase());
        open(&key, sealed).ok();
    }
    // Sealed for a joiner: nobody who does not know its key can have made this.
    let opened = SealingKey::generate().unwrap().open("master-1", text);
    assert!(opened.is_err());
}

/// YAML from a cluster or an operator: kubeconfig, `cluster-info`, `kubeadm-config`.
pub(crate) fn kubeconfig(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    ClusterAccess::current(text).ok();
    ClusterAccess::only(text).ok();
    ClusterConfiguration::parse(text).ok();
    if let Ok(map) = ConfigMap::parse(text) {
        ClusterConfiguration::from_config_map(&map).ok();
        ClusterInfo::from_config_map(&map).map(|info| info.pins().is_ok()).ok();
    }
}

/// A Secret in JSON or YAML, as certificates and as a token, down to PEM and DER.
pub(crate) fn secret(input: &[u8]) {
    let Ok(Ok(secret)) = from_utf8(input).map(Secret::parse) else { return };
    SealedCerts::from_secret(&secret).ok();
    if let Ok(token) = TokenSecret::from_secret(&secret) {
        drop(token_table(&[token], Timestamp::UNIX_EPOCH));
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
        CaPin::of_bundle(file.unwrap_or_default()).ok();
    }
    drop(certs.certificates());
    certs.into_upload().ok();
}

/// A token that is read is written the same; expirations and pins keep their meaning.
pub(crate) fn token(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    if let Ok(token) = text.parse::<BootstrapToken>() {
        assert_eq!(token.to_text().as_str(), text);
    }
    if let Ok(pin) = text.parse::<CaPin>() {
        assert_eq!(pin.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(expiration) = text.parse::<Expiration>() {
        let again: Expiration =
            expiration.to_string().parse().expect("what is shown is read again");
        assert_eq!(again.to_string(), expiration.to_string());
    }
}
