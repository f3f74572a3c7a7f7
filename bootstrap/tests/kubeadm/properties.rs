//! For any input: what is sealed opens, what is written is read, and nothing panics.

use bootstrap::kubeadm::{
    BootstrapToken, CaPin, CertEntry, CertSet, CertificateKey, ClusterAccess, ClusterConfiguration,
    ConfigMap, ControlPlaneEndpoint, Expiration, KubernetesVersion, Nonce, OsRandom, SealedCerts,
    Secret, TokenSecret, Topology, open, seal,
};
use proptest::prelude::*;

use crate::support::Chosen;

fn key() -> impl Strategy<Value = CertificateKey> {
    any::<[u8; 32]>().prop_map(|bytes| CertificateKey::generate(&mut Chosen::new(bytes)).unwrap())
}

fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 9)
}

proptest! {
    #[test]
    fn sealed_opens_and_any_flipped_bit_is_noticed(
        key in key(),
        plaintext in proptest::collection::vec(any::<u8>(), 0..200),
        bit in any::<proptest::sample::Index>(),
    ) {
        let mut sealed = seal(&key, Nonce::generate(&mut OsRandom).unwrap(), &plaintext).unwrap();
        prop_assert_eq!(sealed.len(), plaintext.len() + 28);
        prop_assert_eq!(&*open(&key, &sealed).unwrap(), &plaintext);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&key, &sealed).is_err());
    }

    #[test]
    fn any_files_come_back_through_a_secret(key in key(), files in files(), external: bool) {
        let topology = if external { Topology::External } else { Topology::Stacked };
        let entries = topology.entries().iter().copied();
        let certs = CertSet::new(topology, entries.zip(files.into_iter().map(Into::into)));
        let sealed = SealedCerts::seal(&certs, &key, &mut OsRandom).unwrap();
        let text = serde_json::to_string(&sealed.to_secret(None)).unwrap();
        let read = SealedCerts::from_secret(&Secret::parse(&text).unwrap()).unwrap();
        prop_assert_eq!(read.open(&key).unwrap(), certs);
    }

    #[test]
    fn a_key_and_a_token_read_what_they_write(key in key(), token in "[a-z0-9]{6}\\.[a-z0-9]{16}") {
        prop_assert_eq!(key.to_hex().parse(), Ok(key));
        let parsed: BootstrapToken = token.parse().unwrap();
        prop_assert_eq!(&*parsed.to_text(), &token);
    }

    #[test]
    fn an_expiration_keeps_its_second(second in -60_000_000_000_i64..250_000_000_000) {
        let expiration = Expiration::utc(jiff::Timestamp::from_second(second).unwrap());
        // Go's four digits of a year bound what can be read again.
        if (-62_135_596_800..253_402_300_800).contains(&second) {
            prop_assert_eq!(expiration.to_string().parse(), Ok(expiration));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC*|[a-z0-9.:\\[\\]\\-+T]{0,80}|[\\x00-\\x7f]*") {
        let _ = text.parse::<CertificateKey>();
        let _ = text.parse::<BootstrapToken>();
        let _ = text.parse::<CaPin>();
        let _ = text.parse::<Expiration>().map(|expiration| expiration.to_string());
        let _ = text.parse::<ControlPlaneEndpoint>();
        let _ = text.parse::<KubernetesVersion>();
        let _ = Secret::parse(&text);
        let _ = ConfigMap::parse(&text);
        let _ = ClusterAccess::current(&text);
        let _ = ClusterConfiguration::parse(&text);
    }

    #[test]
    fn no_bytes_make_the_checks_panic(
        junk in proptest::collection::vec(any::<u8>(), 0..300),
        label in prop::sample::select(vec![
            "CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY", "X",
        ]),
    ) {
        let pem = format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            data_encoding::BASE64.encode(&junk)
        );
        for file in [junk.clone(), pem.into_bytes()] {
            let _ = CaPin::of_bundle(&file);
            let files = Topology::Stacked.entries().iter().map(|entry| (*entry, file.clone().into()));
            let certs = CertSet::new(Topology::Stacked, files);
            let _ = (certs.defects(), certs.certificates(), certs.into_upload());
        }
        let mut secret = Secret::new(Default::default());
        for name in [CertEntry::CaCert.data_key(), "etcd-ca.crt", "token-id", "expiration"] {
            secret.data.insert(name, junk.clone());
        }
        let _ = (SealedCerts::from_secret(&secret), TokenSecret::from_secret(&secret));
    }

    /// Truncated and flipped real keys and certificates get deep into the DER readers.
    #[test]
    fn no_damaged_certificate_makes_the_checks_panic(
        at in any::<proptest::sample::Index>(),
        flip in 1_u8..,
        file in prop::sample::select(vec!["ca-ec.key", "ca-rsa.key", "sa.key", "sa.pub", "ca-ec.crt"]),
    ) {
        let pem = crate::support::text(&format!("vectors/{file}"));
        let lines: Vec<_> = pem.lines().collect();
        let body = lines[1..lines.len() - 1].concat();
        let mut der = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
        let at = at.index(der.len());
        der[at] ^= flip;
        let pem = format!(
            "{}\n{}\n{}\n", lines[0], data_encoding::BASE64.encode(&der), lines[lines.len() - 1]
        );
        let files = Topology::Stacked.entries().iter().map(|entry| (*entry, pem.clone().into_bytes().into()));
        let certs = CertSet::new(Topology::Stacked, files);
        let _ = (certs.defects(), certs.certificates(), certs.into_upload());
    }
}
