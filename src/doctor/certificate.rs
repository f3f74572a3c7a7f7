//! What a certificate says of itself: how long it holds and for which names.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::Finding;

/// Days before the end that are worth a word: kubeadm's certificates last a year, and a month is
/// time enough for a maintenance.
const DAYS_LEFT: i64 = 30;

const DAY: i64 = 24 * 3600;

/// From when to when it holds, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dates {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Dates {
    /// Those of the first certificate of a PEM file.
    pub(super) fn of_pem(text: &[u8]) -> Option<Self> {
        let first = CertificateDer::pem_slice_iter(text).next()?.ok()?;
        Self::of_der(&first)
    }

    pub(super) fn of_der(der: &[u8]) -> Option<Self> {
        let validity = X509Certificate::from_der(der).ok()?.1.validity().clone();
        Some(Self { from: validity.not_before.timestamp(), to: validity.not_after.timestamp() })
    }
}

/// What the dates mean now.
pub(super) fn judge_dates(check: String, dates: &Dates, now: Timestamp) -> Finding {
    let left = dates.to - now.as_second();
    let until = Timestamp::from_second(dates.to).map_or_else(|_| "?".to_owned(), |t| t.to_string());
    if left <= 0 {
        let fix = "on that master: kubeadm certs renew all, then restart its apiserver";
        return Finding::fail(check, format!("has expired ({until})"), fix);
    }
    if dates.from > now.as_second() {
        let fix = "set the clock right (`timedatectl`), here or where it was made";
        return Finding::fail(check, "is not valid yet", fix);
    }
    let found = format!("valid until {until}, {} days", left / DAY);
    if left < DAYS_LEFT * DAY {
        let fix = "kubeadm certs renew all, or kubeadm upgrade, which does it too";
        return Finding::warn(check, found, fix);
    }
    Finding::ok(check, found)
}

/// The names and addresses for which a certificate is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(pub(super) Vec<String>);

impl Names {
    pub(super) fn of_der(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::default() };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return Self::default();
        };
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_lowercase()),
            GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
            _ => None,
        };
        Self(extension.value.general_names.iter().filter_map(name).collect())
    }

    /// Whether it is made for this host, a name or an address.
    pub(super) fn include(&self, host: &str) -> bool {
        let host =
            host.parse::<IpAddr>().map_or(host.to_lowercase(), |ip| ip.to_canonical().to_string());
        self.0.contains(&host)
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn dates_are_judged_by_the_day() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let judge = |from: i64, to: i64| {
            let dates = Dates { from: 1_000_000_000 + from * DAY, to: 1_000_000_000 + to * DAY };
            judge_dates("certificate".to_owned(), &dates, now).grade
        };
        assert_eq!(judge(-10, 300), Grade::Ok);
        assert_eq!(judge(-10, 29), Grade::Warn);
        assert_eq!(judge(-10, 0), Grade::Fail);
        assert_eq!(judge(1, 300), Grade::Fail);
    }

    #[test]
    fn names_are_read() {
        let names = ["kube.example.org".to_owned(), "10.0.0.10".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let names = Names::of_der(made.cert.der());
        assert!(names.include("kube.Example.org") && names.include("10.0.0.10"));
        assert!(!names.include("10.0.0.11") && !names.include(""));
        assert!(Dates::of_pem(made.cert.pem().as_bytes()).is_some());
        assert_eq!((Dates::of_pem(b"x"), Names::of_der(b"x")), (None, Names::default()));
    }
}
