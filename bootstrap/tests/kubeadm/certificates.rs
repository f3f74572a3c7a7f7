//! `kubeadm-certs` of the captured clusters, and what is wrong with certificates that are not.

use bootstrap::kubeadm::{
    CertEntry, CertSet, CertificateKey, Defect, OsRandom, OwnerState, SealedCerts,
    SealedCertsError, Secret, Topology, Validity, certs_role, certs_role_binding, owner_reference,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::{
    CLUSTERS, Chosen, as_created, bytes, certs_secret, items, kubectl_json, text,
};

fn key(cluster: &str) -> CertificateKey {
    text(&format!("{cluster}/kubeadm-certs.key")).trim_end().parse().unwrap()
}

fn opened(cluster: &str) -> CertSet {
    SealedCerts::from_secret(&certs_secret(cluster)).unwrap().open(&key(cluster)).unwrap()
}

/// The certificates of a vector cluster with EC keys, with some files replaced.
fn vector_set(replaced: &[(CertEntry, Vec<u8>)]) -> CertSet {
    let secret = Secret::parse(&text("vectors/kubeadm-certs-stacked.json")).unwrap();
    let key = "e6a2eb8581237ab72a4f494f30285ec12a9694d750b9785706a83bfcbbbd2204";
    let set = SealedCerts::from_secret(&secret).unwrap().open(&key.parse().unwrap()).unwrap();
    let files = set.entries().map(|(entry, file)| {
        let other = replaced.iter().find(|(name, _)| *name == entry);
        let file =
            other.map_or_else(|| file.unwrap_or_default().to_vec(), |(_, file)| file.clone());
        (entry, Zeroizing::new(file))
    });
    CertSet::new(Topology::Stacked, files)
}

#[test]
fn the_eight_entries_equal_the_first_masters_files() {
    for cluster in CLUSTERS {
        let certs = opened(cluster);
        assert_eq!(certs.topology(), Topology::Stacked);
        assert_eq!(certs.entries().count(), 8);
        for (entry, file) in certs.entries() {
            let on_disk = entry.file_in_certificates_dir().unwrap();
            assert_eq!(file.unwrap(), bytes(&format!("{cluster}/pki-master0/{on_disk}")));
        }
        assert_eq!(certs.defects(), []);
        let dates = certs.certificates();
        assert_eq!(dates.len(), 3);
        for (now, validity) in [
            ("2026-01-01T00:00:00Z", Validity::NotYet),
            ("2027-01-01T00:00:00Z", Validity::Current),
            ("2037-01-01T00:00:00Z", Validity::Expired),
        ] {
            let now = now.parse().unwrap();
            assert!(dates.iter().all(|dates| dates.validity(now) == validity), "{cluster}");
        }
    }
}

#[test]
fn the_secret_is_sealed_again_to_the_same_bytes() {
    for cluster in CLUSTERS {
        let secret = certs_secret(cluster);
        let saved = text(&format!("{cluster}/kubeadm-certs.secret.json"));
        assert_eq!(kubectl_json(&secret), saved);

        let certs = opened(cluster);
        let value = |entry: CertEntry| secret.data.bytes(entry.data_key()).unwrap();
        let nonces: Vec<u8> =
            certs.entries().flat_map(|(entry, _)| value(entry)[..12].to_vec()).collect();
        let sealed = SealedCerts::seal(&certs, &key(cluster), &mut Chosen::new(nonces)).unwrap();
        let mut again = sealed.to_secret(secret.metadata.owner_references.first().cloned());
        assert_eq!(again.secret_type, None);
        // What the API server adds.
        again.secret_type = Some("Opaque".to_owned());
        let expected = as_created(serde_json::from_str(&saved).unwrap());
        assert_eq!(serde_json::to_value(again).unwrap(), expected);
    }
}

#[test]
fn a_secret_saved_as_yaml_is_read_too() {
    let json: Value =
        serde_json::from_str(&text("kubeadm-1.36/kubeadm-certs.secret.json")).unwrap();
    let data = json["data"].as_object().unwrap();
    let lines: Vec<_> = data
        .iter()
        .map(|(name, value)| format!("  {name}: {}\n", value.as_str().unwrap()))
        .collect();
    let yaml = format!(
        "apiVersion: v1\ndata:\n{}kind: Secret\nmetadata:\n  name: kubeadm-certs\ntype: Opaque\n",
        lines.concat()
    );
    assert_eq!(Secret::parse(&yaml).unwrap().data, certs_secret("kubeadm-1.36").data);
}

#[test]
fn rbac_equals_kubeadms() {
    for cluster in CLUSTERS {
        let list = items(&text(&format!("{cluster}/kubeadm-certs.rbac.json")));
        let ours = [
            serde_json::to_value(certs_role()).unwrap(),
            serde_json::to_value(certs_role_binding()).unwrap(),
        ];
        assert_eq!(list.into_iter().map(as_created).collect::<Vec<_>>(), ours);
    }
}

#[test]
fn the_owner_reference_is_kubeadms_and_tells_the_secrets_fate() {
    for (cluster, owner) in [("kubeadm-1.20", 1), ("kubeadm-1.36", 1)] {
        let tokens = items(&text(&format!("{cluster}/bootstrap-tokens.secretlist.json")));
        let owner: Secret = serde_json::from_value(tokens[owner].clone()).unwrap();
        let certs = certs_secret(cluster);
        let [reference] = certs.metadata.owner_references.as_slice() else { panic!("{cluster}") };
        assert_eq!(owner_reference(&owner).as_ref(), Ok(reference));

        let state = |found: Option<&Secret>, now: &str| {
            OwnerState::of(reference, found, now.parse().unwrap())
        };
        let expires = owner.data.text("expiration").unwrap();
        let expiration = expires.parse().unwrap();
        let before = "2026-11-22T22:00:00Z";
        assert_eq!(state(Some(&owner), before), OwnerState::Live(Some(expiration)));
        assert_eq!(state(Some(&owner), expires), OwnerState::Expired(expiration));
        assert_eq!(state(None, before), OwnerState::Missing);
        assert!(!state(Some(&owner), before).is_doomed() && state(None, before).is_doomed());
        let mut other = owner.clone();
        other.metadata.uid = Some("other".to_owned());
        assert_eq!(state(Some(&other), before), OwnerState::OtherUid);
        let mut garbled = owner.clone();
        garbled.data.insert("expiration", "soon");
        assert_eq!(state(Some(&garbled), before), OwnerState::Unreadable);
        garbled.data.0.remove("expiration");
        assert_eq!(state(Some(&garbled), before), OwnerState::Live(None));
        garbled.metadata.uid = None;
        assert!(owner_reference(&garbled).is_err());
    }
}

#[test]
fn a_wrong_key_a_damaged_entry_and_a_foreign_entry_are_told_apart() {
    let cluster = "kubeadm-1.20";
    let open = |secret: &Secret, key: &CertificateKey| {
        SealedCerts::from_secret(secret).unwrap().open(key).unwrap_err()
    };
    let mut secret = certs_secret(cluster);
    assert_eq!(open(&secret, &key("kubeadm-1.36")), SealedCertsError::WrongKey);

    secret.data.insert("note", "uploaded by hand, in clear");
    let foreign = SealedCertsError::ForeignEntry { name: "note".to_owned() };
    assert_eq!(open(&secret, &key(cluster)), foreign);

    let mut damaged = secret.data.bytes("sa.key").unwrap().to_vec();
    damaged[40] ^= 1;
    secret.data.insert("sa.key", damaged);
    let error = open(&secret, &key(cluster));
    let entry = CertEntry::ServiceAccountKey;
    assert!(matches!(error, SealedCertsError::Open { entry: found, .. } if found == entry));
}

#[test]
fn empty_values_count_as_absent_but_absent_names_do_not() {
    let cluster = "kubeadm-1.36";
    for empty in [json!(null), json!("")] {
        let mut saved: Value =
            serde_json::from_str(&text(&format!("{cluster}/kubeadm-certs.secret.json"))).unwrap();
        saved["data"]["ca.key"] = empty;
        let secret = Secret::parse(&saved.to_string()).unwrap();
        let certs = SealedCerts::from_secret(&secret).unwrap().open(&key(cluster)).unwrap();
        assert_eq!(certs.file(CertEntry::CaKey), None);
        assert_eq!(certs.defects(), [Defect::Absent { entry: CertEntry::CaKey }]);
        let refused = certs.clone().into_upload().unwrap_err();
        assert!(refused.to_string().contains("external CA"));
        // Written by us it is there again, and empty.
        let sealed = SealedCerts::seal(&certs, &key(cluster), &mut OsRandom).unwrap();
        assert_eq!(sealed.to_secret(None).data.bytes("ca.key"), Some([].as_slice()));

        saved["data"].as_object_mut().unwrap().remove("ca.key");
        let error = SealedCerts::from_secret(&Secret::parse(&saved.to_string()).unwrap());
        assert!(matches!(error, Err(SealedCertsError::MissingEntry { .. })));
    }
}

#[test]
fn the_topology_is_found_by_the_etcd_ca() {
    let files = [
        (CertEntry::CaCert, bytes("vectors/ca-ec.crt")),
        (CertEntry::EtcdCaCert, bytes("vectors/etcd-ca.crt")),
    ];
    let files = files.map(|(entry, file)| (entry, Zeroizing::new(file)));
    let external = CertSet::new(Topology::External, files);
    let key = key("kubeadm-1.20");
    let sealed = SealedCerts::seal(&external, &key, &mut OsRandom).unwrap();
    assert_eq!(sealed.sizes().count(), 9);
    let mut secret = sealed.to_secret(None);
    let read = SealedCerts::from_secret(&secret).unwrap();
    assert_eq!(read.topology(), Topology::External);
    assert_eq!(read.open(&key).unwrap(), external);

    secret.data.insert("etcd-ca.crt", []);
    let both = SealedCerts::from_secret(&secret);
    assert_eq!(both, Err(SealedCertsError::BothTopologies));
    secret.data.0.retain(|name, _| !name.contains("etcd"));
    assert_eq!(SealedCerts::from_secret(&secret), Err(SealedCertsError::NoTopology));
    secret.metadata.name = "other".to_owned();
    assert!(matches!(SealedCerts::from_secret(&secret), Err(SealedCertsError::OtherSecret { .. })));
}

/// Of a key that is nowhere else.
const OTHER_PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENJ6asEUmPpYZH79J/sd8CC64HRmk\n\
    7z2Cgli/iN3IF24G3VM1VZSiuThe/UFmQ/oLoJoBMnTtqeqtnXsOMHGjtg==\n\
    -----END PUBLIC KEY-----\n";

#[test]
fn swapped_and_foreign_files_are_found() {
    let (ca, ca_key) = (CertEntry::CaCert, CertEntry::CaKey);
    let defects = |replaced: &[(CertEntry, Vec<u8>)]| vector_set(replaced).defects();
    assert_eq!(defects(&[]), []);
    assert_eq!(
        defects(&[(ca_key, bytes("vectors/etcd-ca.key"))]),
        [Defect::Mismatch { key: ca_key, counterpart: ca }]
    );
    assert_eq!(
        defects(&[(CertEntry::ServiceAccountKey, bytes("vectors/ca-rsa.key"))]),
        [Defect::Mismatch {
            key: CertEntry::ServiceAccountKey,
            counterpart: CertEntry::ServiceAccountPublic
        }]
    );
    // While the key of service accounts is replaced, `sa.pub` has the old and the new one.
    let (other, own) = (OTHER_PUBLIC_KEY.as_bytes(), bytes("vectors/sa.pub"));
    let public = CertEntry::ServiceAccountPublic;
    for both in [[other, &own].concat(), [&own, other].concat()] {
        assert_eq!(defects(&[(public, both)]), []);
    }
    let mismatch = Defect::Mismatch { key: CertEntry::ServiceAccountKey, counterpart: public };
    assert_eq!(defects(&[(public, other.to_vec())]), [mismatch]);
    assert_eq!(defects(&[(ca, b"no PEM".to_vec())]), [Defect::NotPem { entry: ca }]);
    assert_eq!(
        defects(&[(ca, bytes("vectors/ca-ec.key"))]),
        [Defect::WrongContent { entry: ca, found: "EC PRIVATE KEY".to_owned() }]
    );
    let leaf = bytes("kubeadm-1.36/pki-master0/apiserver.crt");
    let leaf_key = bytes("kubeadm-1.36/pki-master0/apiserver.key");
    assert_eq!(
        defects(&[(ca, leaf.clone()), (ca_key, leaf_key.clone())]),
        [Defect::NotAuthority { entry: ca }]
    );
    // A certificate may stand in for the service account's public key.
    let account = (CertEntry::ServiceAccountPublic, leaf);
    assert_eq!(defects(&[account, (CertEntry::ServiceAccountKey, leaf_key)]), []);
}

/// The key of `ca-ec.crt` as `openssl pkcs8 -topk8 -nocrypt` writes it.
const EC_PKCS8: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgz6qZrTH541nrygVb
UwNl7eLAKvrarYYjX3729K3AewuhRANCAATiFohV3zj4qTrmvV/1cjYdyhKXM541
ifGwWZjkimmiXi1DaF4k0TsD+S4zjYdEEhn0aV+nROa1GAMNuyHGGu+e
-----END PRIVATE KEY-----
";

#[test]
fn an_ec_key_in_pkcs8_is_uploaded_in_sec1() {
    let ca_key = CertEntry::CaKey;
    let set = vector_set(&[(ca_key, EC_PKCS8.as_bytes().to_vec())]);
    assert_eq!(set.defects(), []);
    let upload = set.into_upload().unwrap();
    assert_eq!(upload.converted, [ca_key]);
    // OpenSSL's own SEC1 form of this key, byte for byte.
    assert_eq!(upload.certs.file(ca_key).unwrap(), bytes("vectors/ca-ec.key"));
    assert_eq!(upload.certs.into_upload().unwrap().converted, []);
}

#[test]
fn an_rsa_key_is_uploaded_as_it_is() {
    let files = [
        (CertEntry::CaCert, bytes("vectors/ca-rsa.crt")),
        (CertEntry::CaKey, bytes("vectors/ca-rsa.key")),
    ];
    let set = vector_set(&files);
    let upload = set.clone().into_upload().unwrap();
    assert_eq!(upload.converted, []);
    assert_eq!(upload.certs, set);
}

/// `tests/fixtures/keys`, made with OpenSSL: the same key in each form, and its certificate.
fn ca_pair(certificate: &str, key: &str) -> CertSet {
    let pem = |file: &str| bytes(&format!("keys/{file}"));
    vector_set(&[(CertEntry::CaCert, pem(certificate)), (CertEntry::CaKey, pem(key))])
}

#[test]
fn larger_curves_fit_their_certificates_in_each_form() {
    for (curve, other) in [("secp384r1", "secp521r1"), ("secp521r1", "secp384r1")] {
        let certificate = format!("{curve}.crt");
        for form in ["sec1", "pkcs8", "bare"] {
            let set = ca_pair(&certificate, &format!("{curve}.{form}.key"));
            assert_eq!(set.defects(), [], "{curve} {form}");
        }
        let upload = ca_pair(&certificate, &format!("{curve}.pkcs8.key")).into_upload().unwrap();
        let sec1 = bytes(&format!("keys/{curve}.sec1.key"));
        assert_eq!(upload.certs.file(CertEntry::CaKey), Some(sec1.as_slice()));

        let mismatch = ca_pair(&certificate, &format!("{other}.sec1.key")).defects();
        assert!(matches!(mismatch.as_slice(), [Defect::Mismatch { .. }]), "{mismatch:?}");
    }
    // What `openssl ecparam -genkey` writes has a block of parameters before the key.
    assert_eq!(ca_pair("secp384r1.crt", "secp384r1.parameters.key").defects(), []);
}

#[test]
fn an_ed25519_ca_is_refused() {
    let defects = ca_pair("ed25519.crt", "ed25519.key").defects();
    let wrong = |entry, found: &str| Defect::WrongContent { entry, found: found.to_owned() };
    assert_eq!(
        defects,
        [wrong(CertEntry::CaCert, "CERTIFICATE"), wrong(CertEntry::CaKey, "PRIVATE KEY")]
    );
}

#[test]
fn a_certificate_without_end_is_valid() {
    let set = ca_pair("endless.crt", "secp384r1.sec1.key");
    assert_eq!(set.defects(), []);
    let dates = set.certificates();
    assert_eq!(dates[0].entry, CertEntry::CaCert);
    assert_eq!(dates[0].validity("2999-01-01T00:00:00Z".parse().unwrap()), Validity::Current);
}

#[test]
fn the_ca_of_an_external_etcd_need_not_sign() {
    let leaf = Zeroizing::new(bytes("kubeadm-1.36/pki-master0/etcd/server.crt"));
    let set = CertSet::new(Topology::External, [(CertEntry::ExternalEtcdCaCert, leaf)]);
    assert!(set.defects().iter().all(Defect::is_absence));
}
