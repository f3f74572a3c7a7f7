//! What an operator copies to a new master: where the coordinator is, a token for it, and the pin of
//! its CA. Written like kubeadm's own join command, so that it needs no explanation.

use std::fmt::Write as _;
use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::kubeadm::{BootstrapToken, CaPin, ControlPlaneEndpoint};
use crate::protocol::JOIN_PORT;

/// Most coordinators that a ticket names: two balancers, and one that replaces one of them.
pub const COORDINATORS_MAX: usize = 8;

/// A token of the coordinator. Ours, in kubeadm's form; the cluster knows nothing of it.
pub type JoinToken = BootstrapToken;

/// Everything a master needs to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTicket {
    /// Addresses of the coordinators, at least one, each with a port.
    pub coordinators: Vec<CoordinatorAddr>,
    /// Good at each of them.
    pub token: JoinToken,
    /// Pins of their CAs; each coordinator matches one.
    pub pins: Vec<CaPin>,
}

/// `HOST:PORT` of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CoordinatorAddr {
    host: String,
    port: u16,
}

impl CoordinatorAddr {
    /// The host: an IP address without brackets, or a name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl std::str::FromStr for CoordinatorAddr {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let parsed: ControlPlaneEndpoint = text.parse().map_err(|error| TicketError::Address {
            text: shown(text),
            reason: format!("{error}"),
        })?;
        // One address has one spelling, so that it is one coordinator.
        let ip = parsed.host().parse().map(|ip: IpAddr| ip.to_string());
        let host = ip.unwrap_or_else(|_| parsed.host().to_owned());
        Ok(Self { host, port: parsed.port().unwrap_or(JOIN_PORT) })
    }
}

impl std::fmt::Display for CoordinatorAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl JoinTicket {
    /// Checks the parts of a command line.
    ///
    /// # Errors
    /// [`TicketError`] for an address that is none, none or too many of them, or no pin.
    pub fn new(
        addresses: &[String],
        token: JoinToken,
        pins: Vec<CaPin>,
    ) -> Result<Self, TicketError> {
        let coordinators =
            addresses.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
        if coordinators.is_empty() || coordinators.len() > COORDINATORS_MAX {
            return Err(TicketError::Count { given: coordinators.len() });
        }
        if pins.is_empty() {
            return Err(TicketError::NoPin);
        }
        Ok(Self { coordinators, token, pins })
    }

    /// The arguments that follow `mainstay join` or `mainstay init`. Shows the token.
    #[must_use]
    pub fn to_arguments(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(512 + 96 * self.pins.len()));
        for coordinator in &self.coordinators {
            // Writing to a String cannot fail.
            write!(line, "{coordinator} ").ok();
        }
        line.push_str("--token ");
        line.push_str(&self.token.to_text());
        for pin in &self.pins {
            write!(line, " --ca-cert-hash {pin}").ok();
        }
        line
    }
}

/// At most this much of a wrong text is shown.
const SHOWN_MAX: usize = 60;

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// Why a ticket cannot be used. Wrong input: copy it again, as `mainstay ticket create` prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not `HOST:PORT`.
    #[error("`{text}` is no address of a coordinator: {reason}")]
    Address {
        /// What was given, cut.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// None, or too many.
    #[error("a ticket names 1 to {COORDINATORS_MAX} coordinators, this one {given}")]
    Count {
        /// How many were given.
        given: usize,
    },
    /// No pin.
    #[error("a ticket needs --ca-cert-hash: without it anybody could pose as the coordinator")]
    NoPin,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        "abcdef.0123456789abcdef".parse().unwrap()
    }

    fn pin(digit: char) -> CaPin {
        format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
    }

    #[test]
    fn is_written_like_kubeadms() {
        let addresses = ["192.168.122.170:6445".to_owned(), "fd00::1".to_owned()];
        let ticket = JoinTicket::new(&addresses, token(), vec![pin('a'), pin('b')]).unwrap();
        let expected = format!(
            "192.168.122.170:6445 [fd00::1]:6445 --token abcdef.0123456789abcdef --ca-cert-hash \
             {} --ca-cert-hash {}",
            pin('a'),
            pin('b')
        );
        assert_eq!(*ticket.to_arguments(), expected);
        assert!(!format!("{ticket:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn an_address_has_one_spelling() {
        let addr = |text: &str| text.parse::<CoordinatorAddr>().unwrap();
        assert_eq!(addr("fd00::0:1"), addr("[FD00::1]:6445"));
    }

    #[test]
    fn wrong_parts_are_named() {
        let said = |addresses: &[&str], pins| {
            let addresses: Vec<String> = addresses.iter().map(|&text| text.to_owned()).collect();
            JoinTicket::new(&addresses, token(), pins).unwrap_err().to_string()
        };
        assert!(said(&["lb:0"], vec![pin('a')]).contains("`lb:0` is no address"));
        assert!(said(&[], vec![pin('a')]).contains("1 to 8"));
        assert!(said(&["lb"; 9], vec![pin('a')]).contains("this one 9"));
        assert!(said(&["lb"], Vec::new()).contains("--ca-cert-hash"));
    }
}
