//! `fixtures/vectors`: AES-GCM values, keys, pins, signatures, a whole Secret.

use bootstrap::kubeadm::{
    BootstrapToken, CaPin, CertificateKey, CertificateKeyError, ClusterInfo, ConfigMap, Nonce,
    OpenError, SealError, SealedCerts, Secret, Topology, open, seal,
};
use serde_json::Value;

use crate::support::{Chosen, bytes, hex, text};

const V3_KEY: &str = "e6a2eb8581237ab72a4f494f30285ec12a9694d750b9785706a83bfcbbbd2204";

fn vectors() -> Value {
    serde_json::from_str(&text("vectors/vectors.json")).unwrap()
}

fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

#[test]
fn every_sealed_value_opens_and_is_sealed_again_to_the_same_bytes() {
    let vectors = vectors();
    let aead = vectors["aead"].as_array().unwrap();
    assert_eq!(aead.len(), 6);
    for vector in aead {
        let key: CertificateKey = field(vector, "key_hex").parse().unwrap();
        let plaintext = hex(field(vector, "plaintext_hex"));
        let sealed = hex(field(vector, "secret_value_hex"));
        assert_eq!(*open(&key, &sealed).unwrap(), plaintext, "{vector}");

        let nonce = Nonce::generate(&mut Chosen::new(hex(field(vector, "nonce_hex")))).unwrap();
        let again = seal(&key, nonce, &plaintext);
        if key.can_seal() {
            assert_eq!(again.unwrap(), sealed, "{vector}");
        } else {
            assert_eq!(again, Err(SealError::KeySize { bytes: 16 }));
        }
    }
}

#[test]
fn every_bad_value_is_refused() {
    let vectors = vectors();
    for vector in vectors["negative"].as_array().unwrap() {
        let key = field(vector, "key_hex").parse().unwrap();
        let error = open(&key, &hex(field(vector, "value_hex"))).unwrap_err();
        let expected = match field(vector, "name") {
            "11-bytes" => OpenError::ShorterThanNonce { bytes: 11 },
            "truncated-to-20" => OpenError::CutShort { bytes: 20 },
            _ => OpenError::Authentication,
        };
        assert_eq!(error, expected, "{vector}");
    }
}

#[test]
fn keys_are_read_as_kubeadm_reads_them() {
    let key: CertificateKey = V3_KEY.parse().unwrap();
    assert_eq!(V3_KEY.to_uppercase().parse(), Ok(key.clone()));
    assert_eq!(key.to_hex().as_str(), V3_KEY);
    assert!(!V3_KEY[..32].parse::<CertificateKey>().unwrap().can_seal());
    assert!(!V3_KEY[..48].parse::<CertificateKey>().unwrap().can_seal());

    let error = |text: &str| text.parse::<CertificateKey>().unwrap_err();
    assert_eq!(error(""), CertificateKeyError::Empty);
    assert_eq!(error(&V3_KEY[..63]), CertificateKeyError::OddLength { digits: 63 });
    assert_eq!(error(&V3_KEY[..62]), CertificateKeyError::Size { bytes: 31 });
    assert_eq!(error("masterjoin"), CertificateKeyError::NotHex { code: 0x6d, position: 0 });
    assert!(error("masterjoin").to_string().contains("U+006D"));
    // The foreign character is named before the odd length, as Go does.
    assert_eq!(
        error(&format!("{V3_KEY}\n")),
        CertificateKeyError::NotHex { code: 0x0a, position: 64 }
    );
    assert_eq!(
        error(&format!("0x{V3_KEY}")),
        CertificateKeyError::NotHex { code: u32::from('x'), position: 1 }
    );
}

#[test]
fn a_new_key_has_32_bytes_and_stays_out_of_debug() {
    let key = CertificateKey::generate(&mut Chosen::new(hex(V3_KEY))).unwrap();
    assert_eq!(key, V3_KEY.parse().unwrap());
    assert_eq!(format!("{key:?}"), "CertificateKey(32 bytes)");
    assert!(CertificateKey::generate(&mut Chosen::new([0; 31])).is_err());
}

#[test]
fn the_whole_secret_opens_and_is_sealed_again_to_the_same_bytes() {
    let secret = Secret::parse(&text("vectors/kubeadm-certs-stacked.json")).unwrap();
    let key = V3_KEY.parse().unwrap();
    let sealed = SealedCerts::from_secret(&secret).unwrap();
    let certs = sealed.open(&key).unwrap();
    assert_eq!(certs.topology(), Topology::Stacked);
    assert_eq!(certs.defects(), []);

    let nonces: Vec<u8> = (1..=8).flat_map(|number| [number; 12]).collect();
    let again = SealedCerts::seal(&certs, &key, &mut Chosen::new(nonces)).unwrap();
    let owner = secret.metadata.owner_references.first().cloned();
    assert_eq!(again.to_secret(owner).data, secret.data);
}

#[test]
fn pins_are_of_the_public_key_one_for_each_certificate() {
    for (file, expected) in vectors()["ca_pins"].as_object().unwrap() {
        let pins = CaPin::of_bundle(&bytes(&format!("vectors/{file}"))).unwrap();
        let texts: Vec<_> = pins.iter().map(ToString::to_string).collect();
        assert_eq!(serde_json::to_value(&texts).unwrap(), *expected, "{file}");
        for (pin, text) in pins.iter().zip(&texts) {
            assert_eq!(text.to_uppercase().parse(), Ok(*pin));
        }
    }
}

#[test]
fn signatures_equal_the_vectors() {
    let vectors = vectors();
    let signed = vectors["jws"].as_array().unwrap();
    // The one with a secret that no token has is checked next to the code.
    for vector in signed.iter().filter(|vector| vector["token_id"] != "joshua") {
        let token = match vector["token"].as_str() {
            Some(token) => token.parse().unwrap(),
            None => {
                let secret = field(vector, "token_secret");
                BootstrapToken::from_parts(field(vector, "token_id"), secret).unwrap()
            }
        };
        let content = match vector["content_file"].as_str() {
            Some(file) => text(&format!("vectors/{file}")),
            None => field(vector, "content").to_owned(),
        };
        let (name, value) = ClusterInfo::sign(&token, &content);
        assert_eq!(name, "jws-kubeconfig-abcdef");
        assert_eq!(value, field(vector, "value"));
    }
}

#[test]
fn a_signed_kubeconfig_verifies_and_a_changed_one_does_not() {
    let token: BootstrapToken = "abcdef.0123456789abcdef".parse().unwrap();
    let kubeconfig = text("vectors/cluster-info.kubeconfig");
    let (name, signature) = ClusterInfo::sign(&token, &kubeconfig);
    let verified = |kubeconfig: String| {
        let data = serde_json::json!({"kubeconfig": kubeconfig, (name.as_str()): signature});
        let map = serde_json::json!({"kind": "ConfigMap", "data": data});
        let map = ConfigMap::parse(&map.to_string()).unwrap();
        ClusterInfo::from_config_map(&map).unwrap().verify(&token)
    };
    assert_eq!(verified(kubeconfig.clone()), Ok(()));
    assert!(verified(kubeconfig + "# changed").is_err());
}
