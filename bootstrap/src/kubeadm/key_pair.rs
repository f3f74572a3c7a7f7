//! Private and public keys of the kinds that kubeadm takes: does one fit the other, and the form in
//! which older kubeadm reads an EC key.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
};
use x509_parser::asn1_rs::{Any, Class, FromDer};
use zeroize::Zeroizing;

use super::pem::{self, PemBlock};

/// rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017).
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480).
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// secp256r1, 1.2.840.10045.3.1.7 (RFC 5480).
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// secp384r1, 1.3.132.0.34 (RFC 5480).
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// secp521r1, 1.3.132.0.35 (RFC 5480).
const OID_P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// DER tags of the universal class.
const INTEGER: u32 = 2;
const BIT_STRING: u32 = 3;
const OCTET_STRING: u32 = 4;
const OID: u32 = 6;
const SEQUENCE: u32 = 16;

/// Label of an EC key in SEC1 form.
pub(super) const SEC1_LABEL: &str = "EC PRIVATE KEY";

/// A public key, as far as it must be compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: Curve, point: Vec<u8> },
}

/// A private key in PKCS#8 form, and of which kind it is.
pub(super) struct Wrapped {
    pub(super) kind: Pkcs8,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// The kinds of keys that can be wrapped: those that `ring` can sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pkcs8 {
    Rsa,
    P256,
    P384,
}

/// A named curve that Kubernetes knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// A private key. `pkcs8` tells whether it was in that form.
pub(super) enum PrivateKey {
    Rsa { public: PublicKey },
    Ec { curve: Curve, scalar: Zeroizing<Vec<u8>>, point: Option<Vec<u8>>, pkcs8: bool },
}

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo; `None` if it is neither RSA nor EC.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        let mut spki = content(der)?;
        let (algorithm, mut parameters) = algorithm(&mut spki)?;
        let (_unused_bits, key) = take(&mut spki, BIT_STRING)?.split_first()?;
        if algorithm == OID_RSA {
            let mut numbers = content(key)?;
            rsa_public(&mut numbers)
        } else {
            let curve = Curve::from_oid(take(&mut parameters, OID)?)?;
            (algorithm == OID_EC).then(|| Self::Ec { curve, point: key.to_vec() })
        }
    }
}

impl PrivateKey {
    /// Reads the first private key of a PEM file in PKCS#1, SEC1 or PKCS#8 form. An `EC PARAMETERS`
    /// block before it is passed over. `None` if there is none of RSA or a known curve.
    pub(super) fn from_blocks(blocks: &[PemBlock]) -> Option<Self> {
        let block = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"))?;
        match block.label.as_str() {
            "RSA PRIVATE KEY" => Self::from_pkcs1(&block.der),
            SEC1_LABEL => Self::from_sec1(&block.der, None, false),
            "PRIVATE KEY" => Self::from_pkcs8(&block.der),
            _ => None,
        }
    }

    fn from_pkcs1(der: &[u8]) -> Option<Self> {
        let mut key = content(der)?;
        take(&mut key, INTEGER)?;
        Some(Self::Rsa { public: rsa_public(&mut key)? })
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let mut info = content(der)?;
        take(&mut info, INTEGER)?;
        let (algorithm, mut parameters) = algorithm(&mut info)?;
        let key = take(&mut info, OCTET_STRING)?;
        if algorithm == OID_RSA {
            return Self::from_pkcs1(key);
        }
        let curve = Curve::from_oid(take(&mut parameters, OID)?)?;
        (algorithm == OID_EC).then(|| Self::from_sec1(key, Some(curve), true)).flatten()
    }

    /// RFC 5915. Inside PKCS#8 the curve usually stands outside only.
    fn from_sec1(der: &[u8], curve: Option<Curve>, pkcs8: bool) -> Option<Self> {
        let mut key = content(der)?;
        take(&mut key, INTEGER)?;
        let scalar = take(&mut key, OCTET_STRING)?;
        let named = take_tagged(&mut key, 0).and_then(|mut named| take(&mut named, OID));
        let curve = curve.or_else(|| Curve::from_oid(named?))?;
        let point = take_tagged(&mut key, 1)
            .and_then(|mut bits| take(&mut bits, BIT_STRING)?.split_first())
            .map(|(_unused_bits, point)| point.to_vec())
            .filter(|point| point.len() == 1 + 2 * curve.scalar_bytes());
        Some(Self::Ec { curve, scalar: curve.padded(scalar)?, point, pkcs8 })
    }

    /// Whether the key is EC in PKCS#8 form, which kubeadm up to 1.21 does not read.
    pub(super) fn is_ec_pkcs8(&self) -> bool {
        matches!(self, Self::Ec { pkcs8: true, .. })
    }

    /// Whether `public` is this key's public half. The answer does not depend on the random numbers
    /// that `ring` wants for signatures, which are never made here. On a curve that `ring` lacks (P-521), a key that
    /// does not carry its public half is taken to fit.
    pub(super) fn fits(&self, public: &PublicKey) -> bool {
        match (self, public) {
            (Self::Rsa { public: own }, other) => own == other,
            (Self::Ec { curve, scalar, point, .. }, PublicKey::Ec { curve: other, point: q }) => {
                curve == other
                    && match curve.signing() {
                        Some(algorithm) => EcdsaKeyPair::from_private_key_and_public_key(
                            algorithm,
                            scalar,
                            q,
                            &SystemRandom::new(),
                        )
                        .is_ok(),
                        None => point.as_ref().is_none_or(|own| own == q),
                    }
            }
            (Self::Ec { .. }, PublicKey::Rsa { .. }) => false,
        }
    }

    /// The same key in PKCS#8 form; `None` for a curve that `ring` lacks. `blocks` is the file that
    /// the key was read from, `public` the half that it fits, which `ring` wants to see inside.
    pub(super) fn to_pkcs8(&self, blocks: &[PemBlock], public: &PublicKey) -> Option<Wrapped> {
        let version = [0x02, 0x01, 0x00];
        let wrap = |algorithm: &[u8], key: &[u8]| {
            let key = tlv(0x04, key);
            tlv(0x30, &Zeroizing::new([&version, algorithm, key.as_slice()].concat()))
        };
        match (self, public) {
            (Self::Rsa { .. }, _) => {
                let block = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"))?;
                let der = if block.label == "PRIVATE KEY" {
                    block.der.clone()
                } else {
                    let algorithm =
                        tlv(0x30, &[tlv(0x06, OID_RSA).as_slice(), &[0x05, 0x00]].concat());
                    wrap(&algorithm, &block.der)
                };
                Some(Wrapped { kind: Pkcs8::Rsa, der })
            }
            (Self::Ec { curve, scalar, .. }, PublicKey::Ec { point, .. }) => {
                let kind = match curve {
                    Curve::P256 => Pkcs8::P256,
                    Curve::P384 => Pkcs8::P384,
                    Curve::P521 => return None,
                };
                let mut key = Zeroizing::new(vec![0x02, 0x01, 0x01]);
                key.extend_from_slice(&tlv(0x04, scalar));
                key.extend_from_slice(&public_half(point));
                let oids = [tlv(0x06, OID_EC).as_slice(), &tlv(0x06, curve.oid())].concat();
                Some(Wrapped { kind, der: wrap(&tlv(0x30, &oids), &tlv(0x30, &key)) })
            }
            (Self::Ec { .. }, PublicKey::Rsa { .. }) => None,
        }
    }

    /// The same EC key as a PEM file in SEC1 form, with the curve named in it as Go requires;
    /// `None` for an RSA key, which needs no other form.
    pub(super) fn to_sec1_pem(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Self::Ec { curve, scalar, point, .. } = self else {
            return None;
        };
        let mut body = Zeroizing::new(vec![0x02, 0x01, 0x01]);
        body.extend_from_slice(&tlv(0x04, scalar));
        body.extend_from_slice(&tlv(0xa0, &tlv(0x06, curve.oid())));
        if let Some(point) = point {
            body.extend_from_slice(&public_half(point));
        }
        Some(pem::encode(SEC1_LABEL, &tlv(0x30, &body)))
    }
}

impl Curve {
    fn from_oid(oid: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.oid() == oid)
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => OID_P256,
            Self::P384 => OID_P384,
            Self::P521 => OID_P521,
        }
    }

    /// Length of a private scalar in bytes.
    fn scalar_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn signing(self) -> Option<&'static ring::signature::EcdsaSigningAlgorithm> {
        match self {
            Self::P256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::P384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
            Self::P521 => None,
        }
    }

    /// The scalar at its full length: old tools drop leading zeros.
    fn padded(self, scalar: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let missing = self.scalar_bytes().checked_sub(scalar.len())?;
        let mut full = Zeroizing::new(Vec::with_capacity(self.scalar_bytes()));
        full.resize(missing, 0);
        full.extend_from_slice(scalar);
        Some(full)
    }
}

/// The modulus and exponent that come next.
fn rsa_public(numbers: &mut &[u8]) -> Option<PublicKey> {
    let modulus = take(numbers, INTEGER)?.to_vec();
    let exponent = take(numbers, INTEGER)?.to_vec();
    Some(PublicKey::Rsa { modulus, exponent })
}

/// The AlgorithmIdentifier that comes next: its OID, and the parameters still to be read.
fn algorithm<'a>(input: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut identifier = take(input, SEQUENCE)?;
    Some((take(&mut identifier, OID)?, identifier))
}

/// What is inside a whole DER SEQUENCE.
fn content(mut der: &[u8]) -> Option<&[u8]> {
    take(&mut der, SEQUENCE)
}

/// Takes the next element if it is of the universal class with this tag.
fn take<'a>(input: &mut &'a [u8], tag: u32) -> Option<&'a [u8]> {
    take_class(input, Class::Universal, tag)
}

/// Takes the next element if it is context-specific with this tag.
fn take_tagged<'a>(input: &mut &'a [u8], tag: u32) -> Option<&'a [u8]> {
    take_class(input, Class::ContextSpecific, tag)
}

fn take_class<'a>(input: &mut &'a [u8], class: Class, tag: u32) -> Option<&'a [u8]> {
    let (rest, element) = Any::from_der(input).ok()?;
    if element.class() != class || element.tag().0 != tag {
        return None;
    }
    *input = rest;
    Some(element.data)
}

/// The public half as it stands inside an EC key: `[1] BIT STRING`.
fn public_half(point: &[u8]) -> Zeroizing<Vec<u8>> {
    tlv(0xa1, &tlv(0x03, &[&[0], point].concat()))
}

/// Writes one DER element of at most 65535 bytes, far more than any key needs.
fn tlv(tag: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut element = Zeroizing::new(Vec::with_capacity(content.len() + 4));
    element.push(tag);
    match (high, low) {
        (0, 0..=0x7f) => element.push(low),
        (0, _) => element.extend_from_slice(&[0x81, low]),
        _ => element.extend_from_slice(&[0x82, high, low]),
    }
    element.extend_from_slice(content);
    element
}
