//! The address of the whole control plane, `host[:port]`: ours, if kubeadm is told so.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Longest DNS name (RFC 1123).
const MAX_NAME: usize = 253;

/// kubeadm's `controlPlaneEndpoint`: an IP address or lower-case DNS name, and perhaps a port.
/// Written with brackets around IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneEndpoint {
    host: String,
    port: Option<u16>,
}

impl ControlPlaneEndpoint {
    /// The host, an IPv6 address without brackets. It must be among the names of every apiserver
    /// certificate.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; without one a joiner takes its own `bindPort`, usually 6443.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for ControlPlaneEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = split(text)?;
        let is_v6 = |ip: &IpAddr| ip.is_ipv6();
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) if host.parse().is_ok_and(|ip| is_v6(&ip)) => host,
            Some(_) => return Err(EndpointError::Host),
            None if host.parse::<IpAddr>().is_ok() || is_dns_subdomain(host) => host,
            None => return Err(EndpointError::Host),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ControlPlaneEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

/// Splits host and port; an IPv6 address without brackets has no port.
fn split(text: &str) -> Result<(&str, Option<u16>), EndpointError> {
    if text.ends_with(']') || text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        Some((host, port)) => match port.parse() {
            Ok(number) if number != 0 && !port.starts_with('+') => Ok((host, Some(number))),
            _ => Err(EndpointError::Port),
        },
    }
}

/// Kubernetes' `IsDNS1123Subdomain`: names of nodes and of hosts.
#[must_use]
pub fn is_dns_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.into_iter().all(|end| end.is_some_and(plain))
            && label.bytes().all(|byte| plain(byte) || byte == b'-')
    };
    name.len() <= MAX_NAME && name.split('.').all(label)
}

/// Why a text is no control plane endpoint. Wrong input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The host is neither an address nor a name.
    #[error("the host is neither an IP address (IPv6 in brackets) nor a lower-case DNS name")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}
